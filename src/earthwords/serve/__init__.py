"""The web map and its HTTP API: `earthwords serve`."""
