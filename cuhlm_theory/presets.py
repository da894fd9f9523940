"""Settings and figures of the published systems, each with its source and its provenance.

``printed`` was read in the paper, ``reconstructed`` follows from what it prints, ``assumed`` is ours, because
nothing was published where it could be read. Whatever shows a preset shows its provenance.
"""

from dataclasses import dataclass
from typing import Literal

from cuhlm_theory._fields import quantities
from cuhlm_theory.parameters import Codec, Latency, Link

Provenance = Literal["printed", "reconstructed", "assumed"]

_CU = "CU-HLM, arXiv:2505.11788v1"
_U = "U-HLM, arXiv:2412.12687"
_CODEC, _LATENCY, _LINK = quantities(Codec), quantities(Latency), quantities(Link)


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
        delta=_preset("Delta [-]", 0.301, f"{_U}, Sec. IV"),
        risk_averse=_preset("risk-averse threshold [-]", 0.073, f"{_U}, Sec. IV"),
        risk_prone=_preset(
            "risk-prone threshold [-]", 0.431, f"{_U}, Sec. IV; its rounded a, b and Delta give 0.440"
        ),
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
        "tau_SLM [s]", _LATENCY["slm_latency_s"].assumed, f"{_U}, Sec. IV: TinyLlama-1.1B"
    ),
    "llm_latency_s": _preset("tau_LLM [s]", _LATENCY["llm_latency_s"].assumed, f"{_U}, Sec. IV: Llama2-7B"),
    "bandwidth_hz": _preset("W [Hz]", _LINK["bandwidth_hz"].assumed, f"{_U}, Sec. IV"),
    "tx_power_dbm": _preset("P [dBm]", 23.0, f"{_U}, Sec. IV"),
    "noise_dbm": _preset("N [dBm]", -104.0, f"{_U}, Sec. IV"),
    "path_loss_exponent": _preset("n [-]", 4.0, f"{_U}, Sec. IV"),
    "distance_m": _preset("d [m]", 2500.0, f"{_U}, Sec. IV"),
    "mean_snr_db": _preset(
        "mean SNR [dB]",
        _LINK["snr_db"].assumed,
        f"{_U}: from its link budget, unit gain at 1 m",
        "reconstructed",
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
    "u_hlm_accuracy": _preset(
        "accuracy relative to the LLM [-]", 0.9754, f"{_U}, abstract: mean of the ratios in its Table I"
    ),
    "u_hlm_speedup": _preset("speed-up over HLM, up to [-]", 2.54, f"{_U}, abstract"),
    "follow_up_throughput_low": _preset("throughput [token/s]", 0.36, "arXiv:2508.12590"),
    "follow_up_throughput_high": _preset("throughput [token/s]", 0.40, "arXiv:2508.12590"),
}
"""Headline figures to compare with; accuracies are similarities of sentence embeddings."""

TABLE_I = {
    "llm": (0.6231, 0.5104, 0.4862, 0.6023),
    "slm": (0.5077, 0.2577, 0.2436, 0.3091),
    "hlm": (0.5634, 0.5093, 0.5040, 0.5785),
    "rand-hlm": (0.5285, 0.4638, 0.4663, 0.5735),
    "u-hlm": (0.5585, 0.4943, 0.5130, 0.5913),
}
"""U-HLM's Table I: cosine similarity to the reference answer on Alpaca, QED, CREAK and StrategyQA [-]."""


def _link(rate_bit_per_s: float, round_trip_s: float, source: str) -> dict[str, Preset]:
    """Describe a network by its uplink rate and round trip: typical values, not measured here."""
    return {
        "rate_bit_per_s": _preset("uplink rate [bit/s]", rate_bit_per_s, source, "assumed"),
        "round_trip_s": _preset("round trip [s]", round_trip_s, source, "assumed"),
    }


_U_HLM = {
    "bandwidth_hz": SETTINGS["bandwidth_hz"],
    "snr_db": SETTINGS["mean_snr_db"],
    "slm_latency_s": SETTINGS["slm_latency_s"],
    "llm_latency_s": SETTINGS["llm_latency_s"],
    "prob_bits": _preset("b_prob [bit]", 16, f"{_U}, Sec. IV: 32 or 16"),
    "index_bits": _preset("index [bit]", 0, f"{_U}, Sec. II: V b_prob, no indices"),
    "charge_resync": _preset("re-synchronisation charged [-]", False, f"{_U}: neglected"),
}

SCENARIOS: dict[str, dict[str, Preset]] = {
    "u-hlm": _U_HLM,
    "cu-hlm": {
        **{
            key: _preset(
                _U_HLM[key].name, _U_HLM[key].value, "not published; the same lab's U-HLM", "assumed"
            )
            for key in ("bandwidth_hz", "snr_db", "slm_latency_s", "llm_latency_s")
        },
        "prob_bits": SETTINGS["prob_bits"],
        "charge_resync": _preset("re-synchronisation charged [-]", False, f"{_CU}: neglected"),
    },
    "5g": _link(50e6, 0.008, "ITU-R M.2410: user experienced rate up, twice 4 ms over the air"),
    "wifi": _link(
        30e6,
        0.02,
        "half of 802.11n's 65 Mbit/s at one stream; median hop of Pei et al., INFOCOM 2016",
    ),
    "satellite": _link(10e6, 0.04, "amid the 5 to 20 Mbit/s and 25 to 60 ms that Starlink states"),
    "nb-iot": _link(62.5e3, 1.6, "3GPP Release 13, category NB1, multi-tone; TR 45.820: 1.6 to 10 s"),
}
"""Settings under the keys of the options, by the name of the preset: the papers' own, and typical networks.

The published fading is Rayleigh, over which no mean latency exists (`capacity.rate_adaptive_divergence`), so
the published mean SNR is taken as that of a Gaussian channel; ``fading rayleigh-arq`` stands beside it.
"""
