"""Theory beside decoding that was really run."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.calibration import Calibration
from calibration.compare._rows import (
    ROUNDING,
    Entry,
    Floats,
    Ratios,
    Row,
    judge,
    kept_variance,
    largest_variance,
    needed,
)
from calibration.trace import Trace
from cuhlm_theory import bootstrap
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.parameters import System
from cuhlm_theory.schemes.rounds import recorded_rounds
from cuhlm_theory.schemes.rules import PAYLOAD_RULES, SKIP_RULES
from cuhlm_theory.schemes.table import SCHEMES, Policy, Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedTable:
    """Tokens that hybrid decoding committed, from the runs of `calibration.runs`."""

    header: dict[str, Any]
    """Pair, seed and system; ``runs`` is a list of {name, scheme, threshold, ...}."""
    columns: dict[str, NDArray[Any]]
    """One entry a committed token; ``run`` and ``prompt`` say whose."""


_DECODED = (
    "run",
    "prompt",
    "draft",
    "action",
    "draft_prob",
    "rejection",
    "uncertainty",
    "tv",
    "skip_mass",
    "risk",
    "truncation_tv",
    "k",
    "uplink_bit",
    "llm_calls",
    "latency_s",
    "round",
)


def read_decoded(path: str | Path) -> DecodedTable:
    """Read ``decoded.parquet``.

    Parameters
    ----------
    path : str or Path
        File written by ``python -m calibration.runs``.

    Returns
    -------
    DecodedTable
        Header and columns.

    Raises
    ------
    ValueError
        If the file is missing, damaged, without a header or without a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = Path(path)
    if not file.is_file():
        raise ValueError(f"decoded must be an existing file; got {str(file)!r}")
    try:
        with pq.ParquetFile(file) as opened:  # read_table would import pandas where it is installed
            table = opened.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"decoded {file} is not a whole parquet file: {error}") from None
    try:
        header = json.loads((table.schema.metadata or {})[b"cuhlm"])
        runs = header["runs"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"decoded {file} must have a cuhlm header with its runs") from None
    if missing := [name for name in _DECODED if name not in table.column_names]:
        raise ValueError(f"decoded {file} must have the column {missing[0]!r}; it is missing")
    columns = {name: np.from_dlpack(table.column(name).combine_chunks()) for name in table.column_names}
    if columns["run"].size and not 0 <= columns["run"].min() <= columns["run"].max() < len(runs):
        raise ValueError(f"decoded {file} has tokens of a run that its header does not list")
    return DecodedTable(header=header, columns=columns)


def compare_decoded(
    decoded: DecodedTable,
    recorded: Trace,
    calibration: Calibration,
    system: System,
    *,
    verified: Trace | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> list[Row]:
    """Set theory beside decoding that was really run, run by run.

    Two predictions are tried. Given the contexts that decoding met, theory claims skip rate, risk, bias,
    resampling and, where every transmission has the same size, bits, latency and throughput. Given only a
    trace, cut at the length of the run's answers, it claims them where the run's text has the law of the
    trace's: the small model's own text for the small model alone, the large model's for every exact scheme
    (`derivations.verification.kept_given_token`). Elsewhere such rows are of kind ``model``. Their interval
    resamples trace and run independently.

    Parameters
    ----------
    decoded : DecodedTable
        What `read_decoded` returns.
    recorded : Trace
        The trace that the calibration was fitted on.
    calibration : Calibration
        Line and latencies.
    system : System
        Link, codec and latencies that the runs simulated.
    verified : Trace, optional
        Trace of the large model's own text; predicts the exact schemes.
    seed : int
        Seed of the bootstrap.
    num_resamples : int
        Resamples.

    Returns
    -------
    list of Row
        All runs; ``table`` names the run.
    """
    runs, timed = decoded.header["runs"], bool(decoded.header.get("measured_compute"))
    lengths = [int(run.get("max_new_tokens") or recorded.header.max_new_tokens) for run in runs]
    traces = {trace.header.writer: trace for trace in (verified, recorded) if trace is not None}
    beginnings = {(w, n): _beginnings(trace, n) for w, trace in traces.items() for n in set(lengths)}
    rows: list[Row] = []
    for number, (run, length) in enumerate(zip(runs, lengths, strict=True)):
        chosen = decoded.columns["run"] == number
        if timed:
            chosen &= decoded.columns["round"] > 0  # the first round also reads the prompt
        if not chosen.any() or run.get("scheme") not in SCHEMES:
            continue
        part = {name: values[chosen] for name, values in decoded.columns.items()}
        name = str(run.get("name", run["scheme"])) + (", timed" if timed else "")
        policy = _policy_of(run, calibration)
        writer = "llm" if "llm" in traces and _is_exact(SCHEMES[run["scheme"]]) else recorded.header.writer
        shared = (policy, beginnings[writer, length], system)
        options = {"timed": timed, "seed": seed, "num_resamples": num_resamples}
        rows += _run_rows(part, run, name, *shared, **options)
        rows += _law_rows(part, run, name, *shared, writer, **options)
    return rows


def _is_exact(scheme: Scheme) -> bool:
    """Whether its text has the law of the large model's."""
    return scheme.drafts_several or scheme.skip == "never"


def _beginnings(recorded: Trace, length: int) -> Tokens:
    """Tokens among the first ``length`` of their answer, because acceptance rises along an answer."""
    early = recorded.columns["position"] < length
    return Trace(recorded.header, {name: values[early] for name, values in recorded.columns.items()}).tokens()


def _run_rows(
    part: Mapping[str, NDArray[Any]],
    run: Mapping[str, Any],
    name: str,
    policy: Policy,
    tokens: Tokens,
    system: System,
    *,
    timed: bool,
    seed: int,
    num_resamples: int,
) -> list[Row]:
    """Predict from the contexts that decoding met."""
    scheme = SCHEMES[run["scheme"]]
    table = Ratios(part["prompt"], name)
    value = {key: np.asarray(column, dtype=np.float64) for key, column in part.items()}
    skipped = (part["action"] == 0).astype(np.float64)
    resampled = (part["action"] == 2).astype(np.float64)
    has_draft = part["draft"] >= 0
    rejection = np.where(has_draft, np.nan_to_num(value["rejection"]), 0.0)
    tv = value["tv"]
    if scheme.draft == "one" and np.isfinite(tv).all():
        met = "given the contexts that decoding met"
        mass, risk = np.nan_to_num(value["skip_mass"]), np.nan_to_num(value["risk"])
        if 0.0 < mass.mean() < 1.0:
            table.add(
                f"{name}: skip rate",
                mass,
                skipped,
                basis=f"sum_d x_d s(d), {met}",
                variance=largest_variance(mass),
            )
            table.add(
                f"{name}: risk",
                risk,
                rejection * skipped,
                basis=f"sum_d x_d s(d) beta_d, {met}",
                variance=largest_variance(risk),
            )
            table.add(
                f"{name}: true skip rate",
                mass - risk,
                skipped * (1.0 - rejection),
                over=mass,
                measured_over=skipped,
                basis=f"share of skips that verification would have kept, {met}",
                variance=kept_variance(mass, risk),
            )
        if scheme.verification == "received-law":
            bound = risk + np.nan_to_num(value["truncation_tv"])
            if scheme.payload == "full":
                table.add(f"{name}: output bias", risk, tv, basis="bias is the rejection risk (THEORY 7.1)")
                table.add(
                    f"{name}: resampled drafts",
                    rejection * (1.0 - skipped),
                    resampled,
                    basis="a transmitted draft is rejected with beta_d [SD]",
                    variance=largest_variance(rejection * (1.0 - skipped)),
                )
            else:
                dependent = scheme.payload == "online"
                table.add(
                    f"{name}: output bias",
                    bound,
                    tv,
                    kind="model bound" if dependent else "bound",
                    basis="at most risk + TV_k (THEORY 8.2)"
                    + (", which does not cover a k that depends on the draft" if dependent else ""),
                )
                table.add(
                    f"{name}: share of tokens with a bias above risk + TV_k",
                    0.0,
                    tv > bound + ROUNDING,
                    kind="model bound" if dependent else "bound",
                    basis="data processing, context by context (THEORY 8.2)",
                    failing="the printed k depends on the draft, so the bound does not apply (THEORY 8.1)",
                )
        elif scheme.verification == "none":
            table.add(f"{name}: output bias", risk, tv, basis="all drafts are kept: TV(x, y)")
        transmit = np.zeros_like(mass) if scheme.verification == "none" else 1.0 - mass
        table.add(
            f"{name}: transmission rate = LLM calls [1/token]",
            transmit,
            value["llm_calls"],
            basis="one a transmission",
            variance=largest_variance(mass),
        )
        if scheme.payload in ("full", "offline") and scheme.verification != "none":
            bit = PAYLOAD_RULES[scheme.payload](tokens, system, policy).bit[0]
            _cost_rows(table, name, transmit, value, float(bit), system, timed)
    elif scheme.drafts_several and np.isfinite(tv).all():
        table.add(f"{name}: output bias", 0.0, tv, basis="prefix verification is exact [SD]")
        if scheme.payload in ("full", "index-and-probability"):
            examined = (has_draft & np.isin(part["action"], (1, 2))).astype(np.float64)
            table.add(
                f"{name}: rejected share of examined drafts",
                rejection * examined,
                resampled * examined,
                over=examined,
                basis="a draft that the server reaches is rejected with beta_d [SD]",
                variance=largest_variance(rejection * examined),
            )
    return table.rows(seed=seed, num_resamples=num_resamples)


def _cost_rows(
    table: Ratios,
    name: str,
    transmit: Floats,
    value: Mapping[str, Floats],
    bit: float,
    system: System,
    timed: bool,
) -> None:
    """Predict bits and time from the chance of a transmission, all of which have one size."""
    each = float(packet_latency_s(system.link, bit)) + system.latency.llm_s + system.latency.round_trip_s
    latency = system.latency.slm_s + transmit * each
    coin = largest_variance(transmit)
    basis = "P_tx times the cost of a transmission, given the contexts that decoding met"
    table.add(
        f"{name}: uplink [bit/token]",
        transmit * bit,
        value["uplink_bit"],
        basis=basis,
        variance=coin * bit**2,
    )
    clock: Any = {"kind": "model", "failing": _TIMED} if timed else {}
    table.add(
        f"{name}: latency [s/token]",
        latency,
        value["latency_s"],
        basis=basis,
        variance=coin * each**2,
        **clock,
    )
    table.add(
        f"{name}: throughput [token/s]",
        1.0,
        1.0,
        over=latency,
        measured_over=value["latency_s"],
        basis="E[N]/E[D] (THEORY 11), given the contexts that decoding met",
        variance=coin * (each / latency.mean()) ** 2,
        **clock,
    )


def _law_rows(
    part: Mapping[str, NDArray[Any]],
    run: Mapping[str, Any],
    name: str,
    policy: Policy,
    tokens: Tokens,
    system: System,
    writer: str,
    *,
    timed: bool,
    seed: int,
    num_resamples: int,
) -> list[Row]:
    """Predict from a trace: what `cuhlm optimize` does before anything is decoded."""
    scheme = SCHEMES[run["scheme"]]
    if scheme.draft == "none":
        return []
    sides = _single_sides if scheme.draft == "one" else _several_sides
    pairs = sides(part, scheme, run, policy, tokens, system)
    both = _two_samples(
        [(a, b) for _, a, b, _, _ in pairs],
        needed(tokens, "prompt"),
        [(c, d) for _, _, _, c, d in pairs],
        part["prompt"],
        seed=seed,
        num_resamples=num_resamples,
    )
    rows = []
    for (what, *_), (predicted, measured, gap, error) in zip(pairs, both, strict=True):
        told = _model_reason(scheme, writer, what)
        if timed and what.startswith(("latency", "throughput")):
            told = told or _TIMED
        entry: Entry = (
            f"{name}: {what}, from the trace",
            "model" if told else "equal",
            f"contexts of the {_WRITERS[writer]} model's own text, as far as the run's answers go",
            told,
        )
        rows.append(judge(entry, predicted, measured, gap, error, name))
    return rows


_WRITERS = {"slm": "small", "llm": "large"}
_TIMED = (
    "a pass over several tokens, or beside the decoder's own work, takes more than the one that was timed"
)


def _model_reason(scheme: Scheme, writer: str, what: str) -> str:
    """Why a trace only models what a run does; empty where the run's text has the law of the trace's."""
    alike = _is_exact(scheme) if writer == "llm" else scheme.verification == "none"
    if not alike:
        return "hybrid text has other contexts than the trace: the LLM corrects it as it runs"
    if scheme.payload == "conformal-lattice":
        return "its threshold starts anew with each answer; the lattice is charged a bound on what it rejects"
    if scheme.payload == "lattice":
        return "the lattice is charged a bound on what it rejects"
    if scheme.payload not in ("nothing", "full", "index-and-probability"):
        return "whether a draft of the truncated law is kept is taken to say nothing of the contexts after it"
    if scheme.draft in ("trigger", "confidence") and what not in ("tokens per round", "LLM calls [1/token]"):
        return (
            "where a run ends after a draft that will be rejected is taken from text that goes on otherwise"
        )
    return ""


def _policy_of(run: Mapping[str, Any], calibration: Calibration) -> Policy:
    """Return the free numbers of a run: its whole policy, or what its row tells."""
    if isinstance(run.get("policy"), Mapping):
        return Policy(**run["policy"])
    told = {
        "threshold": run.get("threshold"),
        "offline_k": run.get("k") or None,
        "truncation_budget": run.get("truncation_budget"),
        "skip_rate": run.get("skip_probability"),
        "num_drafts": run.get("num_drafts"),
    }
    return Policy(
        slope=calibration.line.slope,
        intercept=calibration.line.intercept,
        **{key: item for key, item in told.items() if item is not None},
    )


Side = tuple[str, Floats, Floats, Floats, Floats]  # name, trace: sum over sum, run: sum over sum


def _single_sides(
    part: Mapping[str, NDArray[Any]],
    scheme: Scheme,
    run: Mapping[str, Any],
    policy: Policy,
    tokens: Tokens,
    system: System,
) -> list[Side]:
    carried = PAYLOAD_RULES[scheme.payload](tokens, system, policy)
    trigger = SKIP_RULES[scheme.skip](tokens, policy, carried.draft_dependent)
    air = packet_latency_s(system.link, carried.bit)
    each = system.latency.llm_s + system.latency.round_trip_s
    alone = scheme.verification == "none"
    transmit = np.zeros(len(tokens)) if alone else trigger.transmit
    latency = system.latency.slm_s + transmit * np.where(transmit > 0.0, air + each, 0.0)
    one = np.ones(len(tokens))
    value = {key: np.asarray(column, dtype=np.float64) for key, column in part.items()}
    skipped, ones = (part["action"] == 0).astype(np.float64), np.ones(len(part["action"]))
    sent = (value["k"] > 0).astype(np.float64)
    pairs: list[Side] = [
        ("rejection of a draft", tokens.rejection, one, np.nan_to_num(value["rejection"]), ones),
        ("uplink [bit/token]", transmit * carried.bit, one, value["uplink_bit"], ones),
        ("latency [s/token]", latency, one, value["latency_s"], ones),
        ("throughput [token/s]", one, latency, ones, value["latency_s"]),
    ]
    if scheme.skip == "threshold":
        pairs = [
            ("skip rate", 1.0 - transmit, one, skipped, ones),
            ("risk", trigger.risk, one, np.nan_to_num(value["risk"]), ones),
            *pairs,
        ]
    if carried.size is not None and sent.any():
        pairs.append(("entries a transmission", transmit * carried.size, transmit, value["k"], sent))
    return pairs


def _several_sides(
    part: Mapping[str, NDArray[Any]],
    scheme: Scheme,
    run: Mapping[str, Any],
    policy: Policy,
    tokens: Tokens,
    system: System,
) -> list[Side]:
    carried = PAYLOAD_RULES[scheme.payload](tokens, system, policy)
    keep = tokens.acceptance if carried.acceptance is None else carried.acceptance
    ends, most, bonus = np.zeros(len(tokens)), policy.num_drafts or run.get("num_drafts"), True
    if scheme.draft == "trigger":
        ends, most, bonus = (tokens.uncertainty > policy.threshold).astype(np.float64), None, policy.bonus
    elif scheme.draft == "confidence":
        ends, most = (needed(tokens, "max_prob") < policy.confidence).astype(np.float64), policy.max_drafts
    told = (run.get("convention") or {}).get("bonus")
    rounds = recorded_rounds(
        keep,
        ends,
        needed(tokens, "prompt"),
        carried.bit,
        max_drafts=most,
        bonus=bonus if told is None else bool(told),
    )
    air = packet_latency_s(system.link, rounds.draft_bit)
    seconds = rounds.num_drafts * system.latency.slm_s + air
    seconds = seconds + system.latency.llm_s + system.latency.round_trip_s
    weight, gained = rounds.weight, rounds.weight * rounds.num_tokens
    value = {key: np.asarray(column, dtype=np.float64) for key, column in part.items()}
    ones = np.ones(len(part["round"]))
    prompt, number = np.asarray(part["prompt"]), np.asarray(part["round"])
    opens = np.concatenate([[True], (number[1:] != number[:-1]) | (prompt[1:] != prompt[:-1])])
    pairs: list[Side] = [
        ("tokens per round", gained, weight, ones, opens.astype(np.float64)),
        ("LLM calls [1/token]", weight, gained, value["llm_calls"], ones),
        ("uplink [bit/token]", weight * rounds.draft_bit, gained, value["uplink_bit"], ones),
        ("latency [s/token]", weight * seconds, gained, value["latency_s"], ones),
        ("throughput [token/s]", gained, weight * seconds, ones, value["latency_s"]),
    ]
    if "drafted" in value:
        pairs.insert(1, ("drafts per token", weight * rounds.num_drafts, gained, value["drafted"], ones))
    return pairs


def _two_samples(
    first: Sequence[tuple[Floats, Floats]],
    first_prompt: ArrayLike,
    second: Sequence[tuple[Floats, Floats]],
    second_prompt: ArrayLike,
    *,
    seed: int,
    num_resamples: int,
) -> list[tuple[float, float, tuple[float, float] | None, float]]:
    """Ratio of sums in two independent samples: (first, second, interval of second - first, its error)."""

    def ratios(num: int) -> Callable[[Floats], Floats]:
        return lambda sums: sums[..., :num] / sums[..., num:]

    results = []
    for stream, (pairs, prompt) in enumerate(((first, first_prompt), (second, second_prompt))):
        columns = np.column_stack([*(a for a, _ in pairs), *(b for _, b in pairs)])
        results.append(
            bootstrap.of_sums(
                ratios(len(pairs)),
                columns,
                prompt,
                num_resamples=num_resamples,
                rng=np.random.default_rng([seed, stream]),
                method="percentile",
            )
        )
    predicted, measured = results
    gaps = measured.replicates - predicted.replicates  # [B, pairs]
    low, high = bootstrap.percentile_interval(gaps)
    out = []
    for i in range(len(first)):
        known = predicted.interval(i) is not None and measured.interval(i) is not None
        gap = (float(low[i]), float(high[i])) if known else None
        error = float(np.std(gaps[:, i])) if known else 0.0
        out.append((float(predicted.estimate[i]), float(measured.estimate[i]), gap, error))
    return out
