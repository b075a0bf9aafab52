"""Packages for release builds: the model, code around it, golden vectors, and proof of both."""
