"""Predictions and truth in, numbers out: a file a metric or protocol."""
