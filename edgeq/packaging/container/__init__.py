"""Packages as bytes: archive, manifest, signature."""
