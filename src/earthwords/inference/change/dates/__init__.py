"""Two dates as a pair of scenes: opened on the same pixels, compared block by block, written."""
