"""The contract that generated code follows: tensors, labels, names, preprocessing."""
