"""Sets for semantic segmentation, one file each: the file's name is the name users type, its `SPEC` the row.

What a row says is from the set's publisher, or from SegEarth-OV's code and paper (https://github.com/likyoo/SegEarth-OV)
or mmsegmentation's (https://github.com/open-mmlab/mmsegmentation); what is only recalled is named in its `unverified`.
"""
