"""Calibrated methods: decoder layers in memory one at a time, with what the calibration text makes of their inputs."""
