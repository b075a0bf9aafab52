"""Golden vectors: real samples with the model's outputs, and how far another machine may differ."""
