"""Products of packed integer weights on the CPU: our own kernels, compiled at install, loaded with ctypes."""
