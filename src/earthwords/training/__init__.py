"""Training loops; what to validate is passed in as a function."""
