"""Reading and rewriting the operators of a flatbuffer."""
