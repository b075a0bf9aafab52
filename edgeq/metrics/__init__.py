"""Task metrics, their confidence intervals, and which metric suits which labels."""
