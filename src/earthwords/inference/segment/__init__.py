"""A scene and words to a map of classes."""
