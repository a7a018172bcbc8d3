"""One policy a file: which tokens of a cache stay."""
