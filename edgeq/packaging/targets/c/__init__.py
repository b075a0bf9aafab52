"""`c`: C++ sources for TensorFlow Lite for Microcontrollers, with the arena measured."""

from edgeq.packaging.targets.c.reading import find_models
from edgeq.packaging.targets.c.writing import make_files

__all__ = ["find_models", "make_files"]
