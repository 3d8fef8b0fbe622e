"""What changed between two dates of a scene."""
