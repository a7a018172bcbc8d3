"""Training of what guesses: heads and draft layers learn from text that the model itself writes."""
