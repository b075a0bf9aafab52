"""Records: the JSON files that every measuring command writes, read back as values."""
