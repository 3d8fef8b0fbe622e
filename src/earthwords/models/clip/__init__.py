"""CLIP: the network, its attention variants, its files."""
