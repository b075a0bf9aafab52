"""edgeq computes."""

__version__ = "0.1.0"
