"""`edgeq convert`: plan, calibrate, quantize, select, prove, write."""
