"""A policy applied to records: which budgets a model keeps, misses, or cannot be judged by."""
