"""Connections to devices that may break."""
