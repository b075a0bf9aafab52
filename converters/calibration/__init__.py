"""From a float model and a representative dataset to the range of each tensor."""
