"""Tensor functions of neighbourhood attention filtering (NAF): attention to the tokens around a pixel, and what its
images go through before."""
