"""Backbones: from pixels, and words, to features. One file a family."""
