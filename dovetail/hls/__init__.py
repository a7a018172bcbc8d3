"""HLS C++: is this kernel wrong, where, and with what proof; designs, contracts, checks and proven bugs."""
