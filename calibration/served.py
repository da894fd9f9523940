"""A model behind an HTTP server, asked by token ids: for whole laws, or for how likely given tokens are.

`ServedModel` runs in llama.cpp's server and answers what this room asks of a causal language model of
transformers: logits after the last tokens of some texts. It keeps no cache of its own; the server keeps the
prefix that two texts share. What it returns are log-probabilities at temperature 1, which are logits up to a
constant; temperatures are applied here, as everywhere.

`ScoringModel` runs in a server of the OpenAI kind that knows ``prompt_logprobs``, such as vLLM's. That tells
the log-probability of each token of a text and of no other, at temperature 1; another temperature would take
the other tokens too.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from pathlib import PurePath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory.errors import CuhlmError

if TYPE_CHECKING:
    import torch

__all__ = ["ScoringModel", "ServedModel", "find_served", "is_address"]

_TIMEOUT_S = 300.0  # a long text is read in one request
_WARM_UP, _TIMED = 1, 5  # requests of a latency measurement
_PROBES = ("def f(x):\n    return x + 1", "Why is the sky blue?", "Größe, naïve, 漢字 🙂", "  \t\n1234567890")
"""Texts that two tokenizers of one vocabulary write alike."""


def is_address(name: str) -> bool:
    """Whether a model's name is the address of a server.

    Parameters
    ----------
    name : str
        What ``--slm`` or ``--llm`` was given.

    Returns
    -------
    bool
        Whether it begins with ``http://`` or ``https://``.

    Examples
    --------
    >>> is_address("http://127.0.0.1:8080"), is_address("org/model")
    (True, False)
    """
    return name.startswith(("http://", "https://"))


def find_served(side: str, address: str) -> ServedModel | ScoringModel:
    """Return the model that a server runs, by what the server can tell of it.

    Parameters
    ----------
    side : str
        Which model it is, ``slm`` or ``llm``, for what is refused.
    address : str
        Where the server listens, such as ``http://127.0.0.1:8080``.

    Returns
    -------
    ServedModel or ScoringModel
        The first where the server has the ``/props`` of llama.cpp's.

    Raises
    ------
    CuhlmError
        If nothing answers there, or not as such a server does.
    """
    import httpx2

    client = httpx2.Client(base_url=address.rstrip("/"), timeout=_TIMEOUT_S)
    with client:
        try:
            known = client.get("/props").status_code != httpx2.codes.NOT_FOUND
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _silent(side, address.rstrip("/"), error) from None
    return ServedModel(side, address) if known else ScoringModel(side, address)


def _silent(side: str, address: str, error: Exception) -> CuhlmError:
    said = " ".join(str(error).split()) or type(error).__name__
    return CuhlmError(f"{side} at {address} does not answer: {said}")


class _Server:
    """A server that is asked in JSON, and the tokenizer it has."""

    reads_anew = True
    """Whether every pass reads its text from the start, as far as the caller can tell."""

    def __init__(self, side: str, address: str) -> None:
        import httpx2
        import torch

        self.side, self.address = side, address.rstrip("/")
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self._client = httpx2.Client(base_url=self.address, timeout=_TIMEOUT_S)
        weakref.finalize(self, self._client.close)
        self.generation_config = SimpleNamespace(eos_token_id=None)

    def check_tokenizer(self, tokenizer: Any) -> int:
        """Return the tokens that a tokenizer shares with the server's; refuse another one.

        Parameters
        ----------
        tokenizer : PreTrainedTokenizer
            Tokenizer of the other model.

        Returns
        -------
        int
            Tokens that both know [token].

        Raises
        ------
        ValueError
            If the two write a text with other tokens.
        """
        for text in _PROBES:
            mine = tokenizer(text, add_special_tokens=False)["input_ids"]
            theirs = self._tokens(text)
            if mine != theirs:
                raise ValueError(
                    f"slm and llm must share a tokenizer; {text!r} is {mine} in one and {theirs} at "
                    f"{self.address}"
                )
        return len(tokenizer)

    def _tokens(self, text: str) -> Any:
        raise NotImplementedError

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        import httpx2

        try:
            answer = self._client.request(method, path, json=body or None)
            answer.raise_for_status()
            return answer.json()
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise _silent(self.side, self.address, error) from None


class ServedModel(_Server):
    """A language model that runs in llama.cpp's server and tells whole laws.

    Parameters
    ----------
    side : str
        Which model it is, ``slm`` or ``llm``, for what is refused.
    address : str
        Where the server listens, such as ``http://127.0.0.1:8080``.

    Raises
    ------
    CuhlmError
        If nothing answers there, or not as llama.cpp's server does.
    """

    def __init__(self, side: str, address: str) -> None:
        super().__init__(side, address)
        told, listed = self._ask("GET", "/props"), self._ask("GET", "/v1/models")
        try:
            model = listed["data"][0]
            self.vocab_size = int(model["meta"]["n_vocab"])
            length = int(told["default_generation_settings"]["n_ctx"])
            self.name = f"{PurePath(str(model['id'])).name}, served"
            self.fingerprint = f"server:{told['build_info']},{model['meta']['n_params']} parameters"
            self.eos_token = str(told["eos_token"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise CuhlmError(
                f"{side} at {address} does not answer as llama.cpp's server does; it lacks {error}"
            ) from None
        self.config = SimpleNamespace(max_position_embeddings=length)

    def get_output_embeddings(self) -> Any:
        """Return what says how many tokens are scored."""
        return SimpleNamespace(out_features=self.vocab_size)

    def check_tokenizer(self, tokenizer: Any) -> int:
        """As of any server, and take over which token ends a text."""
        known = super().check_tokenizer(tokenizer)
        self.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(self.eos_token)
        return min(known, self.vocab_size)

    def _tokens(self, text: str) -> Any:
        return self._ask("POST", "/tokenize", content=text, add_special=False).get("tokens")

    def __call__(
        self,
        input_ids: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        logits_to_keep: int = 1,
        **ignored: Any,
    ) -> Any:
        """Return ``logits`` after the last tokens of each row, shape [B, logits_to_keep, V] [nat]."""
        import torch

        whole = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        length = input_ids.shape[1]
        rows = [
            [
                self._log_law(ids[:end][mask[:end] > 0].tolist())
                for end in range(length - logits_to_keep + 1, length + 1)
            ]
            for ids, mask in zip(input_ids, whole, strict=True)
        ]
        return SimpleNamespace(logits=torch.from_numpy(np.array(rows)))

    def _log_law(self, text: Sequence[int]) -> NDArray[np.float32]:
        """Log-probability of every token after a text, shape [V] [nat]."""
        answer = self._ask(
            "POST",
            "/completion",
            prompt=list(text),
            n_predict=1,
            n_probs=self.vocab_size,
            temperature=1.0,
            cache_prompt=True,
        )
        try:
            entries = answer["completion_probabilities"][0]["top_logprobs"]
            place = np.array([entry["id"] for entry in entries], dtype=np.int64)
            value = [-np.inf if entry["logprob"] is None else entry["logprob"] for entry in entries]
        except (KeyError, IndexError, TypeError, ValueError):
            raise CuhlmError(f"{self.side} at {self.address} gives no log-probabilities") from None
        if len(np.unique(place)) != self.vocab_size or place.min() < 0 or place.max() >= self.vocab_size:
            raise CuhlmError(
                f"{self.side} at {self.address} gives the log-probabilities of {len(np.unique(place))} of "
                f"{self.vocab_size} tokens; all are needed"
            )
        law = np.empty(self.vocab_size, dtype=np.float32)
        law[place] = value
        return law


class ScoringModel(_Server):
    """A language model of a server that tells how likely the tokens of a text are, and no other's law.

    Parameters
    ----------
    side : str
        Which model it is, ``slm`` or ``llm``, for what is refused.
    address : str
        Where the server listens, such as ``http://127.0.0.1:8000``.

    Raises
    ------
    CuhlmError
        If nothing answers there, or not as vLLM's server does.
    """

    def __init__(self, side: str, address: str) -> None:
        super().__init__(side, address)
        listed = self._ask("GET", "/v1/models")
        try:
            model = listed["data"][0]
            self._model = str(model["id"])
            length = int(model["max_model_len"]) - 1  # a request writes a token at least
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise CuhlmError(
                f"{side} at {self.address} answers neither as llama.cpp's server nor as vLLM's; it lacks "
                f"{error}"
            ) from None
        self.name = f"{PurePath(self._model).name}, scored by a server"
        self.fingerprint = f"server:{self._model}"
        self.config = SimpleNamespace(max_position_embeddings=length)

    def refuse(self, *_: Any, **__: Any) -> Any:
        """Refuse to tell a law, whatever was asked."""
        raise CuhlmError(
            f"{self.side} at {self.address} tells the probabilities of given tokens alone; whole laws are "
            "needed here, which llama.cpp's server tells"
        )

    __call__ = get_output_embeddings = refuse

    def _tokens(self, text: str) -> Any:
        asked = {"model": self._model, "prompt": text, "add_special_tokens": False}
        return self._ask("POST", "/tokenize", **asked).get("tokens")

    def log_prob(self, context: Sequence[int], text: Sequence[int]) -> NDArray[np.float64]:
        """Return the log-probability of each token of a text, shape [n] [nat].

        Parameters
        ----------
        context : sequence of int
            What the text follows, at least a token [token].
        text : sequence of int, n entries
            Tokens that are scored [token].

        Returns
        -------
        ndarray of float64, shape [n]
            At temperature 1 [nat].

        Raises
        ------
        CuhlmError
            If the server does not tell them.
        """
        answer = self._complete([*context, *text], prompt_logprobs=0)
        try:
            told = answer["choices"][0]["prompt_logprobs"][len(context) :]
            found = [entry[str(token)]["logprob"] for entry, token in zip(told, text, strict=True)]
            values = np.array(found, dtype=np.float64)
        except (KeyError, IndexError, TypeError, ValueError):
            raise CuhlmError(
                f"{self.side} at {self.address} gives no prompt_logprobs of token ids; vLLM's server does"
            ) from None
        if not np.all(values <= 0.0):  # NaN too
            raise CuhlmError(f"{self.side} at {self.address} gives log-probabilities that are none")
        return values

    def token_latency_s(self, context: Sequence[int]) -> float:
        """Return the median time of one token, the request included [s]."""
        times = []
        for _ in range(_WARM_UP + _TIMED):
            start = time.perf_counter()
            self._complete(context)
            times.append(time.perf_counter() - start)
        return float(np.median(times[_WARM_UP:]))

    def _complete(self, prompt: Sequence[int], **more: Any) -> Any:
        asked = {"model": self._model, "prompt": list(prompt), "max_tokens": 1, "temperature": 1.0}
        return self._ask("POST", "/v1/completions", **asked, **more)
