"""Training what integers stand for, so that a quantised model says what its dense one says; imported late (torch)."""
