"""Weights: where they come from, how files of them are read and written."""
