"""Verbs: one file each, one typed documented function that is the Python API and the command.

The modules are light: heavy libraries are imported inside the functions.
"""
