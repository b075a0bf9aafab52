"""The documents about a model: metadata, model card, bill of materials, licence."""
