"""RSRefSeg 2's cascaded second-order prompter: two sets of queries from a sentence, one to look, one to point.

Own writing from what https://arxiv.org/abs/2507.06231 and https://github.com/KyanChen/RSRefSeg2 tell: the operations,
their order and widths. Where positions are added (to queries and keys, not to values, as SAM does) and which state of
the queries the losses look at (before they meet the image) are our reading; no checkpoint was at hand to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.models.refseg.prompter import ConvBlock

HEADS, INNER = 8, 512
QUERIES, PROMPTS, LAYERS = 3, 9, 2


class Attend(nn.Module):
    """Attention of `x` to `y`, residual, then layer norm."""

    def __init__(self, dim: int, source: int | None = None) -> None:
        super().__init__()
        source = source or dim
        self.q_proj, self.out_proj = nn.Linear(dim, INNER), nn.Linear(INNER, dim)
        self.k_proj, self.v_proj = nn.Linear(source, INNER), nn.Linear(source, INNER)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, y: Tensor, *, x_at: Tensor | float = 0.0, y_at: Tensor | float = 0.0) -> Tensor:
        """`x` `(batch, n, dim)`, `y` `(batch, m, source)`, and their positions; gives `(batch, n, dim)`."""
        q, k, v = (
            proj(value).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for proj, value in ((self.q_proj, x + x_at), (self.k_proj, y + y_at), (self.v_proj, y))
        )
        found = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.norm(x + self.out_proj(found))


class Feed(nn.Module):
    """A feed-forward network, residual, then layer norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lin1, self.lin2, self.norm = nn.Linear(dim, INNER), nn.Linear(INNER, dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, n, dim)`."""
        return self.norm(x + self.lin2(F.gelu(self.lin1(x))))


class QueryTextAttention(nn.Module):
    """Both sets of queries read the sentence and each other."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.selves = nn.ModuleList(Attend(dim) for _ in range(2))
        self.texts = nn.ModuleList(Attend(dim) for _ in range(2))
        self.others = nn.ModuleList(Attend(dim) for _ in range(2))
        self.feeds = nn.ModuleList(Feed(dim) for _ in range(4))

    def forward(self, first: Tensor, second: Tensor, text: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Queries `(batch, n, dim)`, text `(batch, token, dim)`, positions of the queries `(2, n, dim)`."""
        first = self.selves[0](first, first, x_at=at[0], y_at=at[0])
        second = self.selves[1](second, second, x_at=at[1], y_at=at[1])
        first = self.feeds[0](self.texts[0](first, text, x_at=at[0]))
        second = self.feeds[1](self.texts[1](second, text, x_at=at[1]))
        first = self.feeds[2](self.others[0](first, second, x_at=at[0], y_at=at[1]))
        second = self.feeds[3](self.others[1](second, first, x_at=at[1], y_at=at[0]))
        return first, second


class ImageQueryAttention(nn.Module):
    """The image reads the first queries."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.own, self.image, self.feed = Attend(dim), Attend(dim), Feed(dim)

    def forward(self, image: Tensor, query: Tensor, image_at: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens `(batch, h w, dim)` and queries, as in `QueryTextAttention`."""
        query = self.own(query, query, x_at=at, y_at=at)
        return self.feed(self.image(image, query, x_at=image_at, y_at=at)), query


class PromptAttention(nn.Module):
    """The image reads the second queries, the prompts read both."""

    def __init__(self, dim: int, prompt_dim: int) -> None:
        super().__init__()
        self.own, self.image, self.feed = Attend(dim), Attend(dim), Feed(dim)
        self.prompts, self.from_query = Attend(prompt_dim), Attend(prompt_dim, dim)
        self.from_image = Attend(prompt_dim, dim)
        self.feeds = nn.ModuleList(Feed(prompt_dim) for _ in range(2))

    def forward(
        self, image: Tensor, query: Tensor, prompts: Tensor, image_at: Tensor, at: Tensor, prompts_at: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Image tokens, queries and prompts `(batch, n, *)` with their positions."""
        query = self.own(query, query, x_at=at, y_at=at)
        image = self.feed(self.image(image, query, x_at=image_at, y_at=at))
        prompts = self.prompts(prompts, prompts, x_at=prompts_at, y_at=prompts_at)
        prompts = self.feeds[0](self.from_query(prompts, query, x_at=prompts_at, y_at=at))
        prompts = self.feeds[1](self.from_image(prompts, image, x_at=prompts_at, y_at=image_at))
        return image, query, prompts


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """What the prompter makes of images and sentences."""

    sparse: Tensor
    """Prompts `(text, 1, n, prompt_dim)`."""
    image: Tensor
    """Refined features `(text, dim, h, w)`."""
    first: Tensor
    """Mean of the first queries `(text, dim)`."""
    second: Tensor


class CascadedPrompter(nn.Module):
    """Features and text tokens to sparse prompts and refined features.

    Args:
        dim: of features and text.
        prompt_dim: of SAM's prompts.
        grid: of the features, whose positions are learned.
    """

    def __init__(self, dim: int, prompt_dim: int, grid: tuple[int, int], *, norm: str = "group") -> None:
        super().__init__()
        self.query_at = nn.Parameter(0.02 * torch.randn(2, QUERIES, dim))
        self.image_at = nn.Parameter(0.02 * torch.randn(dim, *grid))
        self.prompts = nn.Parameter(0.02 * torch.randn(PROMPTS, prompt_dim))
        self.prompts_at = nn.Parameter(0.02 * torch.randn(PROMPTS, prompt_dim))
        self.ask = nn.ModuleList(QueryTextAttention(dim) for _ in range(LAYERS))
        self.look = nn.ModuleList(ImageQueryAttention(dim) for _ in range(LAYERS))
        self.point = nn.ModuleList(PromptAttention(dim, prompt_dim) for _ in range(LAYERS))
        self.out = nn.Sequential(nn.Linear(prompt_dim, prompt_dim), nn.GELU(), nn.Linear(prompt_dim, prompt_dim))
        self.dense = nn.Sequential(
            ConvBlock(dim, dim // 2, kernel=3, norm=norm), ConvBlock(dim // 2, dim, kernel=3, norm=None)
        )
        self.contrast_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.contrast_bias = nn.Parameter(torch.tensor(0.5).log())

    def forward(self, visual: Tensor, tokens: Tensor) -> Cascade:
        """Features `(text, dim, h, w)` and text tokens `(text, token, dim)`."""
        first = F.adaptive_avg_pool1d(tokens.transpose(1, 2), QUERIES).transpose(1, 2)
        second = first
        for ask in self.ask:
            first, second = ask(first, second, tokens, self.query_at)
        means = first.mean(dim=1), second.mean(dim=1)
        image, image_at = visual.flatten(2).transpose(1, 2), self.image_at.flatten(1).T
        for look in self.look:
            image, first = look(image, first, image_at, self.query_at[0])
        prompts = self.prompts.expand(len(visual), -1, -1)
        for point in self.point:
            image, second, prompts = point(image, second, prompts, image_at, self.query_at[1], self.prompts_at)
        refined = self.dense(image.transpose(1, 2).unflatten(2, visual.shape[-2:]))
        return Cascade(sparse=self.out(prompts)[:, None], image=refined, first=means[0], second=means[1])


def likeness(image: Tensor, sentence: Tensor, size: tuple[int, int], *, scale: Tensor, bias: Tensor) -> Tensor:
    """Cosine of refined features, on a finer grid, and the sentence, as a mask prompt `(text, 1, *size)`.

    Bilinear with aligned corners, before the cosine, as the authors do.
    """
    fine = F.normalize(F.interpolate(image, size=size, mode="bilinear", align_corners=True), dim=1)
    return scale * torch.einsum("bchw,bc->bhw", fine, F.normalize(sentence, dim=-1))[:, None] + bias
