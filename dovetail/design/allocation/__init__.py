"""Bits for each layer, chosen for a target on a machine."""
