"""A file for each set; the name of the file is the name that users type."""
