"""Samples: read from files, folders and functions, preprocessed, fitted to the model's inputs."""
