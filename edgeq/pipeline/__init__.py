"""`edgeq run`: what an `edgeq.toml` describes, done stage by stage, skipping what is unchanged."""
