"""The checker: is this kernel wrong, where, and with what proof."""
