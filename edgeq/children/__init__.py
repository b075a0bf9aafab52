"""Child processes, each confined to what its work needs."""
