"""Truncation of tensors: against numpy's, whatever the type and the shape."""

import numpy as np
import pytest

from cuhlm_theory import truncation

torch = pytest.importorskip("torch")
from calibration.on_device import exact_k  # noqa: E402

CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
def test_a_tensor_is_truncated_as_an_array_is(device):
    rng = np.random.default_rng(0)
    for concentration in 10.0 ** rng.uniform(-1.5, 1.0, 10):
        x = rng.dirichlet(np.full(300, concentration), size=(3, 4))
        x[0, 0] = np.eye(300)[7]
        x[0, 1] = 1.0 / 300
        for budget in (0.0, 1e-3, 0.05, 0.3, 1.0):
            found = exact_k(torch.tensor(x, device=device), budget)
            assert found.shape == (3, 4)
            np.testing.assert_array_equal(found.cpu(), truncation.exact_k(x, budget))


def test_float32_at_a_real_vocabulary_is_off_by_less_than_it_rounds():
    x = torch.softmax(3.0 * torch.randn(2, 151_936, generator=torch.Generator().manual_seed(0)), -1)
    found = exact_k(x, 0.05)
    exact = np.asarray(x, dtype=np.float64)
    exact /= exact.sum(-1, keepdims=True)
    off = truncation.truncation_tv(exact, found.numpy()) - 0.05
    assert np.all(np.abs(off) < 1e-5)


@pytest.mark.parametrize(
    ("dist", "budget", "text"),
    [
        ([0.5, 0.6], 0.1, "not logits"),
        ([1.5, -0.5], 0.1, "not logits"),
        ([float("nan"), 1.0], 0.1, "not logits"),
        ([0.5, 0.5], 1.1, r"budget must lie in \[0, 1\]; got 1.1"),
    ],
)
def test_what_is_no_distribution_is_refused(dist, budget, text):
    with pytest.raises(ValueError, match=text):
        exact_k(torch.tensor(dist), budget)
