"""Parts of the map that are looked at: computed by one warm process, kept for the next words."""
