"""Times each operator of a `.tflite` through the C API of ai-edge-litert's `libLiteRt.so`."""

OLDEST = (2, 3)  # release of ai-edge-litert; earlier ones have other signatures
