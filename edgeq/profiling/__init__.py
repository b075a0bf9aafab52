"""`edgeq profile`: the time of each operator, and why INT8 is slow."""

from edgeq.moved import moved_names

__getattr__ = moved_names("edgeq.profiling", profile="edgeq.profile")
