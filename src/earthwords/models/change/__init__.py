"""Networks that learned what change is: two images of a place in, two maps of logits out."""
