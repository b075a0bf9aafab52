"""`edgeq inspect`: what a `.tflite` contains; nothing is run."""

from edgeq.moved import moved_names

__getattr__ = moved_names("edgeq.inspection", inspect_model="edgeq.inspect_model")
