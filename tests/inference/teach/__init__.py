"""Teaching by marks."""
