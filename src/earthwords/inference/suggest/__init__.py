"""What to mark next: published rules on arrays, and their use on scenes and maps."""
