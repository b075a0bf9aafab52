"""`edgeq fit`: whether a model fits a microcontroller, and what an accelerator would run of it."""
