"""What turns windows and words into maps: CLIP, SAM 3."""
