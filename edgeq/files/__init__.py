"""Files: read without trust, written whole or not at all, removed when a run is killed."""
