"""Settings and figures of the published systems, each with its source and its provenance.

``printed`` was read in the paper, ``reconstructed`` follows from what it prints, ``assumed`` is ours because
nothing was published where it could be read. Whatever shows a preset shows its provenance.
"""

from dataclasses import dataclass
from typing import Literal

from cuhlm_theory._fields import quantities
from cuhlm_theory.ladder import Ladder
from cuhlm_theory.parameters import Codec, Latency

Provenance = Literal["printed", "reconstructed", "assumed"]

_CU = "CU-HLM, arXiv:2505.11788v1"
_U = "U-HLM, arXiv:2412.12687"
_CODEC, _LATENCY = quantities(Codec), quantities(Latency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One published or assumed number."""

    name: str
    """What it is, with its unit."""
    value: float
    """The number, SI units, linear."""
    source: str
    """Where it is printed, what it was reconstructed from, or why it was assumed."""
    provenance: Provenance
    """`printed`, `reconstructed` or `assumed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLine:
    """A published rejection line beta(u) = clip(a u + b, 0, 1) and the thresholds printed with it."""

    name: str
    """Scheme the line belongs to."""
    slope: Preset
    """a [-]."""
    intercept: Preset
    """b [-]."""
    delta: Preset
    """Delta = P(y_d < x_d) [-]."""
    risk_averse: Preset
    """Printed threshold -b/a [-]."""
    risk_prone: Preset
    """Printed threshold (Delta - b)/a [-]."""


def _preset(name: str, value: float, source: str, provenance: Provenance = "printed") -> Preset:
    return Preset(name=name, value=value, source=source, provenance=provenance)


PUBLISHED_LINES = {
    "cu-hlm": PublishedLine(
        name="cu-hlm",
        slope=_preset("a [-]", 0.815, f"{_CU}, rejection line"),
        intercept=_preset("b [-]", -0.066, f"{_CU}, rejection line"),
        delta=_preset(
            "Delta [-]", 0.5955, f"{_CU}: from its printed risk-prone threshold 0.8117", "reconstructed"
        ),
        risk_averse=_preset("risk-averse threshold [-]", 0.0810, f"{_CU}, Theorem 1"),
        risk_prone=_preset("risk-prone threshold [-]", 0.8117, _CU),
    ),
    "u-hlm": PublishedLine(
        name="u-hlm",
        slope=_preset("a [-]", 0.82, f"{_U}, rejection line"),
        intercept=_preset("b [-]", -0.06, f"{_U}, rejection line"),
        delta=_preset(
            "Delta [-]", 0.2926, f"{_U}: from its printed risk-prone threshold 0.43", "reconstructed"
        ),
        risk_averse=_preset("risk-averse threshold [-]", 0.0732, _U),
        risk_prone=_preset("risk-prone threshold [-]", 0.43, _U),
    ),
}
"""The two published rejection lines, by scheme name."""

SETTINGS = {
    "vocab_size": _preset(
        "V [token]", _CODEC["vocab_size"].assumed, f"{_CU} and {_U}: the Llama-2 tokenizer"
    ),
    "prob_bits": _preset("b_prob [bit]", _CODEC["prob_bits"].default, f"{_CU}, eq. (5)"),
    "num_samples": _preset("M [-]", 20, f"{_CU}, eqs. (8)(9)"),
    "max_temperature": _preset("theta_max [-]", 2.0, f"{_CU}, eqs. (8)(9)"),
    "offline_k": _preset("k* offline [token]", 30, f"{_CU}, offline truncation"),
    "slm_latency_s": _preset(
        "tau_SLM [s]",
        _LATENCY["slm_latency_s"].assumed,
        "not published; a 1.1 B model at 50 token/s on the device",
        "assumed",
    ),
    "llm_latency_s": _preset(
        "tau_LLM [s]",
        _LATENCY["llm_latency_s"].assumed,
        "not published; a 7 B model at 25 token/s on the server",
        "assumed",
    ),
    "full_payload_byte": _preset("payload of V entries [byte]", 92_000, _CU),
}
"""Payload and uncertainty settings of the published systems."""

FIGURES = {
    "cu_hlm_speedup": _preset("speed-up over HLM, up to [-]", 206.0, f"{_CU}, abstract"),
    "cu_hlm_skip_rate": _preset("skipped transmissions [-]", 0.748, f"{_CU}, abstract"),
    "cu_hlm_compression": _preset("compression of the payload [-]", 0.974, f"{_CU}, abstract"),
    "cu_hlm_accuracy": _preset("accuracy relative to HLM [-]", 0.974, f"{_CU}, abstract"),
    "u_hlm_skip_rate": _preset("skipped transmissions [-]", 0.4593, f"{_U}, abstract"),
    "u_hlm_accuracy": _preset("accuracy relative to the LLM [-]", 0.9754, f"{_U}, abstract"),
    "u_hlm_speedup": _preset("speed-up over HLM, up to [-]", 2.54, f"{_U}, abstract"),
    "follow_up_throughput_low": _preset("throughput [token/s]", 0.36, "arXiv:2508.12590"),
    "follow_up_throughput_high": _preset("throughput [token/s]", 0.40, "arXiv:2508.12590"),
}
"""Headline figures to compare with; accuracies are similarities of sentence embeddings."""

DEFAULT_LINK = Ladder({}).link()
"""Assumed: no bandwidth or SNR was published. One 180 kHz resource block at 3 dB carries 285 kbit/s, so the
736 000 bit of an untruncated 32 000-token distribution take 2.6 s: at most 0.39 token/s, within the 0.36 to
0.40 token/s that the same group reports (arXiv:2508.12590). The link dominates, as in the papers."""
