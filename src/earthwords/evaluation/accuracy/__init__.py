"""How sure a map is: samples, accuracy and area with their standard errors, calibration of probabilities."""
