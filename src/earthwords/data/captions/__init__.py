"""The data engine of RemoteCLIP (https://arxiv.org/abs/2306.11029): boxes and masks become images with captions.

`readers/` finds images and their objects, `mask_to_box` and `box_to_caption` write the captions, `dedup` finds copies,
`shards` writes the result, and `job` does all of it in parts that survive a kill.
"""
