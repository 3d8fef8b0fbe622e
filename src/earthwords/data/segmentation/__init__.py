"""Sets of images with a label for every pixel: rows, preparation, checks, loading, and fakes of all of them."""
