"""Devices by name, several at the same time, and `edgeq doctor`."""
