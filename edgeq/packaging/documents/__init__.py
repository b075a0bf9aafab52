"""What a package says about its model: metadata, model card, bill of materials, licence."""
