"""Other outputs of a float model: parts of a joined one, or tensors at which it is cut off."""
