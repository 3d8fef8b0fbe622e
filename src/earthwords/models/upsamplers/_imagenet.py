"""Upsamplers whose images are normalised as ImageNet's, whatever the backbone wants."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ImageNetGuided(nn.Module):
    """Converts images from the backbone's normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.scale: Sequence[float] = (1.0, 1.0, 1.0)
        self.shift: Sequence[float] = (0.0, 0.0, 0.0)

    def sees(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Images will come normalised with `mean` and `std` instead of ImageNet's; they are converted."""
        wanted = list(zip(mean, std, IMAGENET_MEAN, IMAGENET_STD, strict=True))
        self.scale = [s / own_s for _, s, _, own_s in wanted]
        self.shift = [(m - own_m) / own_s for m, _, own_m, own_s in wanted]

    def converted(self, image: Tensor) -> Tensor:
        """`(batch, 3, H, W)` to the same, normalised as ImageNet's."""
        scale, shift = (image.new_tensor(v)[:, None, None] for v in (self.scale, self.shift))
        return image * scale + shift
