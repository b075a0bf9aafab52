"""Live models of Keras and TensorFlow, and their traced graphs before the converter sees them."""
