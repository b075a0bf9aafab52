"""The records that a package rests on."""
