"""What an exported file really is, read from its bytes."""
