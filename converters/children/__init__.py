"""The parent's end of children that hold a framework or a model."""
