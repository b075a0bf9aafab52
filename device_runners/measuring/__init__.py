"""Jobs on a device: sent, run, read back, and whether the run was sound."""
