"""The golden model: the integers that the hardware must compute, and how well they predict."""
