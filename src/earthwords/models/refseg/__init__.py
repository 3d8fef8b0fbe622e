"""RSRefSeg: encoders, prompter, SAM, and their files."""
