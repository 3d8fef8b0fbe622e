"""Formats of annotations, one file each: the file's name is the name users type (`plugins`).

Contract:

* `fits(source) -> bool`: whether a path looks like this format, for `auto`;
* `items(source, how) -> Iterator[Item]`: the images, in an order that is always the same, cheaply;
* `load(item, how) -> Iterator[Annotated]`: the objects of one of them, or of each of its tiles, in a worker process.
"""
