"""Which overlay: the one that is predicted to take the least time for a token among those that a budget allows."""
