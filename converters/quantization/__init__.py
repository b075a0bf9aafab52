"""From a float model and its ranges to a quantized file."""
