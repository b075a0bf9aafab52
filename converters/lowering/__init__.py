"""From a trained model to a float `.tflite`, in a child process that has the framework."""
