"""What is to be said of a scene's mask and colours."""

from __future__ import annotations

from earthwords.errors import Caution
from earthwords.geo.bands import UNLIKE
from earthwords.geo.sources.arrays import ArrayPixels
from earthwords.geo.sources.opening import Pixels
from earthwords.geo.sources.pixels import SAMPLE_SIDE
from earthwords.types import Grid


def mask_notes(pixels: Pixels, native: Grid) -> tuple[str, ...]:
    """How much a mask hides."""
    if pixels.mask is None:
        return ()
    if pixels.hidden is None:
        return (f"The mask {pixels.mask} applies; an overview shows too little to tell how much it hides.",)
    about = "about " if max(native.shape) > SAMPLE_SIDE and not isinstance(pixels, ArrayPixels) else ""
    share = "nothing" if not pixels.hidden else f"{about}{max(0.1, 100 * pixels.hidden):.1f} %"
    return (f"The mask {pixels.mask} hides {share} of what was observed.",)


def colour_notes(pixels: Pixels) -> tuple[str, ...]:
    """A word about bands that are no red, green and blue, as far as the pixels tell; nobody asks about bands known not
    to be."""
    alike = getattr(pixels, "likeness", None)
    if alike is None or alike > UNLIKE or pixels.choice.true_colour is False:
        return ()
    return (
        Caution(
            f"The three bands are not alike enough for red, green and blue (correlation {alike:.2f}): they may be "
            "others, or a picture in false colours; check --bands."
        ),
    )
