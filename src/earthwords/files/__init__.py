"""Files: names and paths, reading within bounds, writing whole or not at all."""
