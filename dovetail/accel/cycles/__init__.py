"""Cycles of the overlay predicted: each engine's schedule replayed by blocks, not by cycles."""
