"""`edgeq verify`: whether a package is what was measured."""
