"""`edgeq tune`: the fastest or smallest model inside an accuracy budget."""
