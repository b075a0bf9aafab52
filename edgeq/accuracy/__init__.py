"""Accuracy and output quality of exported files, and the verdict on them."""
