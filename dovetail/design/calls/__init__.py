"""Measured calls of kernels, from a user's table: read, checked, split by shape, fitted to a machine's constants."""
