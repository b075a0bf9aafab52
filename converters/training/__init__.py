"""Functions on the caller's Keras model: training with INT8, distillation, exposed states."""
