"""SAM 3 (https://arxiv.org/abs/2511.16719): a prompt and an image to masks of everything it means."""
