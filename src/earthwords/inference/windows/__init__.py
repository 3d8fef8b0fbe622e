"""The walk over a scene in windows that all products share."""
