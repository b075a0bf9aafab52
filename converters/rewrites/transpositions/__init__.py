"""Takes out transpositions, which converters leave between layouts."""
