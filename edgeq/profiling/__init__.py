"""`edgeq profile`: the time of each operator, and why INT8 is slow."""
