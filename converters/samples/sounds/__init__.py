"""Sounds: WAV files, and the front end that makes features of them."""
