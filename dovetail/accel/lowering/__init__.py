"""From real numbers to integers: what calibration sees, formats that hold it, weights rounded, one step for each node."""
