"""Examples in: data sets, their samples, and synthetic scenes with known truth."""
