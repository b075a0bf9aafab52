"""What code around a model must know: tensors, labels, names, preprocessing."""
