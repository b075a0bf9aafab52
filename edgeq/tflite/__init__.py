"""The `.tflite` format and its arithmetic: flatbuffers, operators, affine quantization."""
