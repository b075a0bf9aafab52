"""Records as text for people; computes nothing."""
