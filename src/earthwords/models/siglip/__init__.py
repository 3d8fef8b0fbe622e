"""SigLIP and SigLIP 2: dual encoders whose joint space begins in a pooling head."""
