"""An archive of images, indexed and searched by words, images, place and day."""
