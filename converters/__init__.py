"""Installed as `edgeq.converters`."""

if __name__ != "edgeq.converters":
    # A second import path would make a second copy of every class, unequal to the first.
    raise ImportError("this folder is the package edgeq.converters: write 'import edgeq.converters'")
