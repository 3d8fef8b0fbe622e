"""A segmenter on a set: counts by image that add up, what remembers them, figures, pictures and tables."""
