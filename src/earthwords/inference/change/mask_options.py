"""What the methods of `change` by masks may be told, looked at before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from earthwords.errors import UsageError

ANYCHANGE, MCI, IMC = "anychange", "dynamicearth-mci", "dynamicearth-imc"
BY_MASKS = (ANYCHANGE, MCI, IMC)
REGIONS = "regions"
"""Masks without a segmenter: connected regions of what words say."""
SAM, CLIP = "sam", "clip"
"""Features of the segmenter that makes the masks, and of the preset's own image tower."""
NAMED = {"dino": "dino-vit-b-16", "dinov2": "dinov2-vit-b-14"}
"""Short names of weights of `models.dino`."""
WEIGHTS = "sam-vit-b"
"""Weights of SAM where none are named: of AnyChange's three the best by F1 on four sets (https://arxiv.org/abs/2402.01188,
table 1), and the smallest."""
THETA, CLIP_THETA = 145.0, 160.0
"""Degrees: what the authors take for most sets, and for features of a CLIP, which differ less."""


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """How masks are made and compared; None: the method's own."""

    segmenter: str | None = None
    """Who draws the masks: weights of a SAM, or `regions`."""
    comparer: str | None = None
    """Whose features tell whether a mask changed: `clip`, `dino`, `dinov2`, or weights of a DINO."""
    theta: float | None = None
    """Degrees; larger keeps more."""
    instances: bool = True
    """At its own date a mask must show a class that was asked for."""

    def checked(self, method: str) -> MaskOptions:
        """The same, if the method takes it.

        Raises:
            UsageError: it does not.
        """
        if method not in BY_MASKS:
            given = {"--segmenter": self.segmenter, "--comparer": self.comparer, "--theta": self.theta}
            given |= {"--no-instances": None if self.instances else True}
            wrong = [name for name, value in given.items() if value is not None]
            if wrong:
                raise UsageError(f"{wrong[0]} is for the methods by masks ({', '.join(BY_MASKS)}), not for {method}.")
            return self
        if self.theta is not None and not 0 <= self.theta <= 180:
            raise UsageError(f"--theta must be between 0 and 180 degrees, got {self.theta:g}.")
        if method == ANYCHANGE and self.segmenter == REGIONS:
            raise UsageError(
                "anychange compares SAM's masks by SAM's features: name one by --segmenter, such as sam-vit-b."
            )
        if method == ANYCHANGE and self.comparer not in (None, SAM):
            raise UsageError("anychange compares by SAM's own features; --comparer is for the dynamicearth methods.")
        if method != ANYCHANGE and self.comparer == SAM:
            raise UsageError("SAM's own features are those of --method anychange; name clip, dino or dinov2.")
        if method != MCI and not self.instances:
            raise UsageError(f"--no-instances belongs to {MCI}, not to {method}.")
        return self

    def of(self, method: str) -> MaskOptions:
        """With the method's own where nothing is said."""
        if method not in BY_MASKS:
            return self
        comparer = SAM if method == ANYCHANGE else self.comparer or "dinov2"
        theta = self.theta if self.theta is not None else CLIP_THETA if comparer == CLIP else THETA
        return MaskOptions(
            segmenter=self.segmenter or WEIGHTS,
            comparer=NAMED.get(comparer, comparer),
            theta=theta,
            instances=self.instances,
        )

    def tags(self, method: str) -> dict[str, str]:
        """For settings."""
        if method not in BY_MASKS:
            return {}
        whole = self.of(method)
        rule = {"instances": "yes" if whole.instances else "no"} if method == MCI else {}
        named = {"segmenter": str(whole.segmenter), "comparer": str(whole.comparer), "theta": f"{whole.theta:g}"}
        return {**named, **rule}
