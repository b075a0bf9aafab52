"""`edgeq verify`: check that a package has the measured model."""
