"""Formats with masks, one file each, for referring expressions: the file's name is the name users type (`plugins`).

Contract, beside that of `readers`, whose names and options are the same:

* `fits(source) -> bool`: whether a path looks like this format, for `auto`;
* `items(source, how) -> Iterator[Item]`: the images, in an order that is always the same, cheaply;
* `load(item, how) -> Iterator[Things | Marked]`: masks that expressions are made for, or expressions of people.

Formats of `readers` that are not here have boxes only, which become masks (`of_boxes`).
"""
