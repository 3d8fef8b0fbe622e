"""InstructSAM: numbers of things from a language model, masks, similarities, and the assignment of one to the other."""
