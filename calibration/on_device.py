"""Truncation where the distributions lie: tensors by `torch.topk`, without moving V numbers to the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cuhlm_theory._checks import SUM_TOLERANCE, as_probability
from cuhlm_theory.truncation import ROUNDING

if TYPE_CHECKING:
    import torch

__all__ = ["exact_k"]


def exact_k(dist: torch.Tensor, budget: float) -> torch.Tensor:
    r"""Fewest entries that keep the bias of truncation within a budget, on the device of the distributions.

    .. math:: k^*(\theta) = \min\{k : TV_k \le \theta\}

    `cuhlm_theory.truncation.exact_k`, which says where it comes from, for batches that lie on an accelerator:
    the entries above :math:`\theta/V` are found by `torch.topk`, and every size is tried at once.

    Parameters
    ----------
    dist : Tensor, shape [..., V]
        :math:`x`, distributions of the small model, of a floating type [-].
    budget : float
        :math:`\theta`, total variation allowed [-].

    Returns
    -------
    Tensor of int64, shape [...]
        :math:`k^*`, between 1 and V, on the device of ``dist`` [token].

    Raises
    ------
    ValueError
        If ``dist`` holds no distributions or the budget is outside [0, 1].

    Examples
    --------
    >>> import torch
    >>> exact_k(torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05]], dtype=torch.float64), 0.04)
    tensor([2, 1])
    """
    import torch

    theta = float(as_probability("budget", budget))
    vocab_size = dist.shape[-1]
    total = dist.sum(-1, keepdim=True)
    if not bool(torch.all(dist >= 0.0) & torch.all((total - 1.0).abs() <= SUM_TOLERANCE)):
        raise ValueError(f"dist must be probabilities that sum to 1 within {SUM_TOLERANCE:g} (not logits)")
    x = dist / total
    entries = max(int((x > theta / vocab_size).sum(-1).max()), 1)
    top = torch.topk(x, entries).values  # [..., n], falling
    ahead = top.cumsum(-1)
    mass = (1.0 - ahead).clamp(min=0.0)  # [..., n], of the tail behind each size
    sizes = torch.arange(1, entries + 1, device=x.device)
    mean = mass / (vocab_size - sizes).clamp(min=1)
    # entries above the mean, which lie ahead of those at most the mean
    over = torch.searchsorted(-top, -mean, side="left").maximum(sizes)  # [..., n]
    tv = ahead.gather(-1, over - 1) - ahead - (over - sizes) * mean
    fits = tv <= theta + max(ROUNDING, 8.0 * torch.finfo(x.dtype).eps)
    return torch.where(fits.any(-1), fits.int().argmax(-1) + 1, entries)
