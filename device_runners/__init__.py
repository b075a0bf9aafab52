"""Installed as `edgeq.device_runners`."""

if __name__ != "edgeq.device_runners":
    # A second import path would make a second copy of every class, unequal to the first.
    raise ImportError("this folder is the package edgeq.device_runners: write 'import edgeq.device_runners'")
