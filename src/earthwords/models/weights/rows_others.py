"""Rows of networks without words: referring, DINO, SAM."""

from __future__ import annotations

from typing import Any

from earthwords.models.weights.spec import WeightSpec

_SAM: dict[str, Any] = {"licence": "Apache-2.0", "paper": "https://arxiv.org/abs/2304.02643", "kind": "masks"}
_SAM_FILES = "https://dl.fbaipublicfiles.com/segment_anything"

OTHERS: tuple[WeightSpec, ...] = (
    WeightSpec(
        name="refseg-tiny",
        source="package",
        file="refseg-tiny",
        licence="research use (see docs/models/refseg-tiny.md)",
        paper="https://arxiv.org/abs/2501.06809",
        kind="referring",
        backbone="tiny",
        note="embedded; trained by us on `tiny`",
    ),
    WeightSpec(
        name="dino-vit-b-16",
        source="facebook/dino-vitb16",
        licence="Apache-2.0",
        paper="https://arxiv.org/abs/2104.14294",
        megabytes=343,
        kind="vision",
        note="no words: `change` compares dates with it",
    ),
    *(
        WeightSpec(
            name=f"dinov2-vit-{size[0]}-14",
            source=f"facebook/dinov2-{size}",
            licence="Apache-2.0",
            paper="https://arxiv.org/abs/2304.07193",
            megabytes=megabytes,
            kind="vision",
            note="no words: `change` compares dates with it, `train change` takes it",
        )
        for size, megabytes in (("small", 88), ("base", 346), ("large", 1218))
    ),
    *(
        WeightSpec(name=f"sam-vit-{size[0]}", source=f"facebook/sam-vit-{size}", megabytes=megabytes, **_SAM)
        for size, megabytes in (("base", 375), ("large", 1250), ("huge", 2565))
    ),
    *(
        WeightSpec(
            name=f"sam-vit-{size}-authors",
            source=f"{_SAM_FILES}/sam_vit_{size}_{mark}.pth",
            sha256=sha256,
            megabytes=megabytes,
            note=f"the same weights as `sam-vit-{size}`, as their authors publish them",
            **_SAM,
        )
        for size, mark, megabytes, sha256 in (
            ("b", "01ec64", 375, "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
            ("l", "0b3195", 1250, "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
            ("h", "4b8939", 2565, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
        )
    ),
    *(
        WeightSpec(
            name=f"sam2.1-hiera-{size}",
            source=f"facebook/sam2.1-hiera-{size}",
            megabytes=megabytes,
            **{**_SAM, "paper": "https://arxiv.org/abs/2408.00714"},
        )
        for size, megabytes in (("tiny", 156), ("small", 184), ("base-plus", 324), ("large", 898))
    ),
)
