"""`edgeq debug`: which layer of a quantized model loses how much, why, and what helps."""
