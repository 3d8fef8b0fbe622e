"""Components of tokens, against scikit-learn's, and upsampled in place of all channels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.decomposition import PCA
from torch import Tensor

from earthwords.errors import UsageError
from earthwords.inference.features.pca import Components, fit_components, load_components
from earthwords.inference.features.pca_upsampling import is_cheap, upsample_components
from tests.upsamplers import FEED_FORWARD, random_upsampler


def tokens(count: int = 300, dim: int = 24) -> Tensor:
    """Channels of different variances, mixed, and a mean far from 0."""
    torch.manual_seed(5)
    return torch.randn(count, dim) * torch.linspace(3, 0.1, dim) @ torch.linalg.qr(torch.randn(dim, dim)).Q + 2


def test_they_are_those_of_scikit_learn_up_to_sign() -> None:
    rows = tokens()
    found, oracle = fit_components(rows, 5), PCA(5, svd_solver="full").fit(rows.double().numpy())
    np.testing.assert_allclose(found.mean, oracle.mean_, atol=1e-5)
    np.testing.assert_allclose(found.shares, oracle.explained_variance_ratio_, rtol=1e-5)
    signs = np.sign((found.vectors.numpy() * oracle.components_).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found.vectors, signs * oracle.components_, atol=1e-5)
    values = found.project(rows.T[:, :, None])[:, :, 0].T
    np.testing.assert_allclose(values, signs.T * oracle.transform(rows.double().numpy()), atol=1e-4)
    np.testing.assert_allclose(found.low, np.quantile(values, 0.02, axis=0), atol=1e-4)


def test_signs_do_not_depend_on_the_order_of_the_tokens() -> None:
    rows = tokens()
    one, other = fit_components(rows, 6), fit_components(rows.flip(0), 6)
    torch.testing.assert_close(one.vectors, other.vectors, atol=1e-5, rtol=0)
    assert all(float(row[row.abs().argmax()]) > 0 for row in one.vectors)


def test_all_of_them_give_the_features_back() -> None:
    rows = tokens()
    found = fit_components(rows, 24)
    image = rows[:12].T.unflatten(1, (3, 4))
    torch.testing.assert_close(found.back(found.project(image)), image, atol=1e-4, rtol=1e-4)
    assert float(found.shares.sum()) == pytest.approx(1)
    assert len(found.first(2)) == 2
    assert found.stretched(found.project(image)).min() >= 0


def test_equal_tokens_have_no_variance() -> None:
    found = fit_components(torch.ones(4, 6), 2)
    assert bool(torch.isfinite(found.stretched(found.project(torch.ones(6, 1, 1)))).all())
    assert float(found.shares.abs().max()) == 0


def test_saved_and_loaded(tmp_path: Path) -> None:
    found = fit_components(tokens(), 3)
    found.save(tmp_path / "a.pca.safetensors", about={"method": "jbu"})
    again = load_components(tmp_path / "a.pca.safetensors", dim=24)
    assert all(torch.equal(value, getattr(again, name)) for name, value in vars(found).items())
    with pytest.raises(UsageError, match="of features of 24 channels, these have 16"):
        load_components(tmp_path / "a.pca.safetensors", dim=16)
    with pytest.raises(UsageError, match=re.escape(f"There are no components at {tmp_path / 'b'}")):
        load_components(tmp_path / "b", dim=24)
    save_file({"mean": torch.ones(3)}, tmp_path / "c.safetensors")
    with pytest.raises(UsageError, match="does not hold components"):
        load_components(tmp_path / "c.safetensors", dim=24)


@pytest.mark.parametrize("method", FEED_FORWARD)
@pytest.mark.parametrize("size", [(72, 80), (63, 70), (75, 77)], ids=["patch 8", "patch 7", "between"])
@torch.inference_mode()
def test_projected_then_upsampled_is_upsampled_then_projected(method: str, size: tuple[int, int]) -> None:
    module = random_upsampler(method, 24)
    torch.manual_seed(2)
    features, image = torch.randn(2, 24, 9, 10), torch.randn(2, 3, *size)
    components: Components = fit_components(features.permute(0, 2, 3, 1).flatten(0, 2) + 0.5, 3)
    found = upsample_components(module, features, image, size, components)
    expected = components.project(module(features, image, size))
    assert found.shape == (2, 3, *size)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert is_cheap(module) == (method in ("bilinear", "jbu", "simfeatup", "anyup", "naf"))
