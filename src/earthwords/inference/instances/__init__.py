"""Instances of a scene: where things are, and how many."""
