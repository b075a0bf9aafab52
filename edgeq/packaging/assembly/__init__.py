"""`edgeq package`: from a `.tflite` and its records to a package."""
