"""Reads an exported file back: what it is, and what each operator costs."""
