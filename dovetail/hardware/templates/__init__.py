"""Machines made from a few free parameters instead of a data sheet."""
