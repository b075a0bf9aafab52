"""`edgeq inspect`: what a `.tflite` contains; nothing is run."""
