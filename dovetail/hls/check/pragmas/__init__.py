"""Pragmas against the code they stand in: a small schedule of loops, ports, banks and bursts, and the rules over it."""
