"""Arrays of many masks or boxes: suppression, run lengths."""
