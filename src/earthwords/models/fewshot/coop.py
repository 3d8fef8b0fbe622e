"""CoOp: vectors in the place of a prompt's words, learned from examples (https://arxiv.org/abs/2109.01134; formulas of
https://github.com/elkhouryk/fewshot_RSVLMs). They pass through the text tower, so features alone are not enough."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.fewshot.taskres import warm_cosine

PLACES = ("end", "middle", "front")
"""Where the class's name stands: behind, amid or before the context."""
CONTEXT = "a satellite photo of a"
"""What the vectors begin as."""
EPOCHS, BATCH, LR, MOMENTUM, WEIGHT_DECAY = 100, 32, 2e-3, 0.9, 5e-4


def assemble(embedded: Tensor, context: Tensor, name_lengths: list[int], place: str = "end") -> Tensor:
    """Prompts `(class, length, dim)` with the context in its place.

    Args:
        embedded: `(class, length, dim)` token embeddings of [start][context's places][name . end][padding].
        context: `(n, dim)`, or `(class, n, dim)` where every class has its own.
        name_lengths: tokens of each class's name.
        place: one of `PLACES`.

    Raises:
        UsageError: an unknown place.
    """
    if place not in PLACES:
        raise UsageError(f"The name stands at one of {', '.join(PLACES)}, not {place!r}.")
    own = context.expand(len(embedded), *context.shape[-2:])
    count = own.shape[1]
    start, rest = embedded[:, :1], embedded[:, 1 + count :]
    before = {"end": count, "middle": count // 2, "front": 0}[place]
    rows = []
    for first, vectors, after, length in zip(start, own, rest, name_lengths, strict=True):
        name = 0 if place == "end" else length
        rows.append(torch.cat([first, vectors[:before], after[:name], vectors[before:], after[name:]]))
    return torch.stack(rows)


class CoOp:
    """One fit of the context; towers stay as they are."""

    def __init__(
        self,
        backbone: ClipBackbone,
        ids: Tensor,
        name_lengths: list[int],
        context: Tensor,
        *,
        place: str = "end",
        epochs: int = EPOCHS,
        class_weights: Tensor | None = None,
    ) -> None:
        """`ids` `(class, length)` with any tokens in the context's places; they also tell where sentences end."""
        self.class_weights = class_weights
        self.backbone, self.ids, self.name_lengths = backbone, ids, name_lengths
        self.place, self.epochs = place, epochs
        self.context = context.clone().requires_grad_()
        self.tokens = backbone.model.text_model.embeddings.token_embedding
        self.embedded = self.tokens(ids).detach()
        self.optimizer = torch.optim.SGD([self.context], lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    def prompts(self) -> Tensor:
        """`(class, length, dim)`."""
        return assemble(self.embedded, self.context, self.name_lengths, self.place)

    def words(self) -> Tensor:
        """`(class, dim)` unit vectors of the classes."""
        prompts = self.prompts()
        hook = self.tokens.register_forward_hook(lambda module, args, found: prompts)
        try:
            return F.normalize(self.backbone.encode_tokens(self.ids), dim=1)
        finally:
            hook.remove()

    def logits(self, features: Tensor) -> Tensor:
        """`(n, class)` of unit features `(n, dim)`."""
        return self.backbone.logit_scale * features @ self.words().T

    def step(self, features: Tensor, labels: Tensor, *, epoch: int) -> float:
        """One batch; the loss before it."""
        self.optimizer.param_groups[0]["lr"] = warm_cosine(epoch, self.epochs, LR)
        loss = F.cross_entropy(self.logits(features), labels, weight=self.class_weights)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())
