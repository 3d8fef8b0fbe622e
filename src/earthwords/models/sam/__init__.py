"""SAM and SAM 2.1: masks of points, boxes and whole images, as their authors compute them."""
