"""From real numbers to integers: what calibration sees, formats that hold it, rounded weights, a step for each node."""
