"""Sums of bits and their conversions in C++: one conversion is a few ANDs and counts."""
