"""The version of edgeq, in a module that imports nothing."""

# It names what `verify` can make again: a change of generated code or words needs a new one.
VERSION = "0.2.0.dev0"
