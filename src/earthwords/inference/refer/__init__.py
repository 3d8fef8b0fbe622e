"""A sentence to the pixels it means."""
