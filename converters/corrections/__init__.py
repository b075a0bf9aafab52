"""Corrections of a quantized model, without labels."""
