"""Dense features of a scene, upsampled to its pixels."""
