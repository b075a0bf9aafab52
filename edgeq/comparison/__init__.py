"""Two models or two machines on the same samples: `edgeq eval`, `compare` and `parity`."""
