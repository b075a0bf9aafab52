"""From a float model and ranges to the quantized flatbuffer, in numpy."""
