"""Rewrites of a float flatbuffer before quantization, each exact or with a stated bound."""
