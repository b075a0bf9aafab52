"""Quantization-aware training and distillation of Keras models."""
