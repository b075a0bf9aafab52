"""Installed as `edgeq.converters`."""

if __name__ != "edgeq.converters":
    # A second import path would make a second copy of every class, unequal to the first.
    raise ImportError("write 'import edgeq.converters': that is where this folder is")
