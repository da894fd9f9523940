"""What models answer: logits are checked where they enter, and a cache is tried before it is trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from cuhlm_theory.errors import CuhlmError

if TYPE_CHECKING:
    import torch

__all__ = ["admit", "keeps_prefix", "needs_attention", "reads_anew"]

_PROBE = 6  # tokens that a cache is tried with
# of the largest logit over the median: far beyond rounding, below another text
_SHARE, _ROUNDINGS = 1e-3, 16.0
_TRIED: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def admit(
    logits: torch.Tensor,
    vocab_size: int | None,
    side: str,
    texts: Sequence[Sequence[int]],
    before: Sequence[int] | None = None,
) -> torch.Tensor:
    """Let logits in: float32, cut to the vocabulary, with a finite largest one at every position.

    Any other may be -inf, which is a token of probability zero.

    Parameters
    ----------
    logits : Tensor, shape [B, n, V']
        What the model answered, at the last n positions of each row [nat].
    vocab_size : int or None
        V, tokens to keep; rows of a head beyond them are padding. None keeps all.
    side : str
        Which model this is, ``slm`` or ``llm``.
    texts : sequence of sequences of int, B of them
        Tokens that each row was fed [token].
    before : sequence of int, optional
        Tokens that each row had read before; None is 0 [token].

    Returns
    -------
    Tensor, shape [B, n, V]
        Logits [nat].

    Raises
    ------
    CuhlmError
        If a logit is NaN or +inf, or all of one position are -inf; it names the model and the context.
    """
    import torch

    kept = logits[..., :vocab_size].float()
    top = kept.amax(-1)  # NaN and +inf carry through; -inf where no token is left
    bad = ~torch.isfinite(top)
    if bad.any():
        row, place = bad.nonzero()[0].tolist()
        value = float(top[row, place])
        what = "not numbers" if math.isnan(value) else "infinite" if value > 0.0 else "all -inf"
        read = texts[row][: max(1, len(texts[row]) - (top.shape[1] - 1 - place))]
        length = len(read) + (0 if before is None else before[row])
        raise CuhlmError(
            f"{side} gives logits that are {what} ({value:g}) after {length} tokens that end in "
            f"{', '.join(map(str, read[-4:]))}; its weights are damaged, or overflow in this dtype"
        )
    return kept


def keeps_prefix(model: Any) -> bool:
    """Whether a plain cache of keys and values can be shortened to any prefix of what was fed; tried once.

    Attention can, through a sliding window too, since a plain cache keeps what lies outside the window. A
    recurrent state cannot.

    Parameters
    ----------
    model : PreTrainedModel
        Causal language model of transformers.

    Returns
    -------
    bool
        Whether text that was fed, cut back and continued gives the logits of the same text fed at once.

    Raises
    ------
    CuhlmError
        If the model looks at tokens that come later.
    """
    if model not in _TRIED:
        _TRIED[model] = not reads_anew(model) and _try(model)
    return _TRIED[model]


def reads_anew(model: Any) -> bool:
    """Whether a model is asked with its whole text at every pass, and keeps what it wants by itself.

    Parameters
    ----------
    model : object
        Causal language model of transformers, or `calibration.served.ServedModel`.

    Returns
    -------
    bool
        True of a served model.
    """
    return bool(getattr(model, "reads_anew", False))


def _try(model: Any) -> bool:
    import torch
    from transformers import DynamicCache

    size = model.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(_PROBE, device=model.device)[None] + 3) % size
    cut = _PROBE - 2
    with torch.inference_mode():
        whole = model(input_ids=ids, use_cache=False).logits[0].float()
        slack = max(_SHARE, _ROUNDINGS * torch.finfo(model.dtype).eps)
        slack *= float(whole[-1].max() - whole[-1].median())  # NaN where logits are, which `admit` refuses
        if _apart(model(input_ids=ids[:, :cut], use_cache=False).logits[0, -1], whole[cut - 1], slack):
            raise CuhlmError(f"{type(model).__name__} looks at later tokens; use a causal language model")
        cache = DynamicCache()
        try:
            model(input_ids=ids[:, :cut], past_key_values=cache, use_cache=True)
            cache.crop(-2)
            again = model(input_ids=ids[:, cut - 2 :], past_key_values=cache, use_cache=True).logits[0, -1]
        except Exception:  # models without such a cache raise whatever a missing part makes them raise
            return False
    return not _apart(again, whole[-1], slack)


def _apart(one: torch.Tensor, other: torch.Tensor, slack: float) -> bool:
    return float((one.float() - other).abs().nan_to_num(0.0).max()) > slack  # -inf - -inf is no difference


def needs_attention(model: Any, purpose: str) -> None:
    """Refuse a model whose state cannot be cut back, for a purpose that re-reading the prefix does not serve.

    Parameters
    ----------
    model : PreTrainedModel
        Causal language model of transformers.
    purpose : str
        What the model cannot be used for.

    Raises
    ------
    CuhlmError
        If `keeps_prefix` is false.
    """
    if not keeps_prefix(model) and not reads_anew(model):
        raise CuhlmError(
            f"{type(model).__name__} keeps a recurrent state that cannot be rolled back and so cannot be "
            f"{purpose}; use a model with full attention"
        )
