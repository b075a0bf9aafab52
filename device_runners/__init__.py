"""Installed as `edgeq.device_runners`."""

if __name__ != "edgeq.device_runners":
    # A second import path would make a second copy of every class, unequal to the first.
    raise ImportError("write 'import edgeq.device_runners': that is where this folder is")
