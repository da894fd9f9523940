"""Theory against measurement: a simulated recording agrees, a tampered one is caught, failures explain."""

import dataclasses
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from calibration import compare
from calibration.compare._ledgers import QUANTITIES, sums
from calibration.compare._rows import judge
from calibration.compare._trace import _grid_thresholds as grid_thresholds
from calibration.decoding import scheme_of
from calibration.fit import fit_trace
from calibration.trace import Trace
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.payload import printed_bit
from cuhlm_theory.rejection import Line
from tests.recording import VOCAB, record, run_u_hlm


@pytest.fixture(scope="module")
def recorded():
    return record(1)


@pytest.fixture(scope="module")
def calibration(recorded):
    return fit_trace(recorded, name="simulated", num_resamples=200)


@pytest.fixture(scope="module")
def grid(recorded, calibration):
    return grid_thresholds(recorded.tokens(), calibration)


@pytest.fixture(scope="module")
def system(calibration):
    return System(
        link=Link(bandwidth_hz=1e4, snr=3.0),
        codec=Codec(vocab_size=VOCAB),
        latency=Latency(slm_s=calibration.slm_latency_s, llm_s=calibration.llm_latency_s),
    )


@pytest.fixture(scope="module")
def rows(recorded, calibration, system):
    found = compare.compare_trace(
        recorded, calibration, system, numbers={"truncation_budget": 0.05}, num_resamples=400
    )
    return {row.quantity: row for row in found}


def _tampered(recorded, **columns):
    return Trace(recorded.header, {**recorded.columns, **columns})


def _again(recorded, calibration, system):
    found = compare.compare_trace(recorded, calibration, system, num_resamples=300)
    return {row.quantity: row for row in found}


ASSUMED = ("by the line", "line's threshold", "beta law", "verify-on-sync", "server draws", "risk-averse")
"""Quantities whose statement assumes a straight line, a law of u, or i.i.d. drafts: not so in a recording."""


def test_theory_agrees_with_a_recording_that_obeys_it(rows):
    known = [row for row in rows.values() if not any(words in row.quantity for words in ASSUMED)]
    assert {row.category for row in known} == {"identity", "internal"}
    for agreeing, judged in compare.agreement(known).values():
        assert judged > 8
        assert agreeing >= 0.9 * judged
    assert len(known) > 50
    for row in rows.values():
        assert np.isfinite(row.predicted)
        assert np.isfinite(row.measured)
        assert row.agrees is not None
        assert row.basis
        assert row.table == "trace"
        if row.bound:
            assert row.agrees, row
        else:
            inside = row.ci95[0] - 1e-4 <= row.predicted <= row.ci95[1] + 1e-4
            assert row.agrees == inside


def test_rows_hold_the_quantities_that_they_name(rows, recorded, calibration, grid):
    column = {name: values.astype(float) for name, values in recorded.columns.items()}
    row = rows["mean rejection of a draft"]
    assert row.predicted == pytest.approx(column["tv"].mean())
    assert row.measured == pytest.approx(column["rejection"].mean())
    place = recorded.header.threshold_grid.index(grid[1])
    skipped = column["uncertainty"] <= grid[1]
    assert rows[f"skip rate at u_th = {grid[1]:g}"].predicted == pytest.approx(
        column["skip_mass"][:, place].mean()
    )
    assert rows[f"skip rate at u_th = {grid[1]:g}"].measured == pytest.approx(skipped.mean())
    assert rows[f"risk at u_th = {grid[1]:g}"].predicted == pytest.approx(
        column["skip_risk"][:, place].mean()
    )
    assert rows[f"risk at u_th = {grid[1]:g}"].measured == pytest.approx(
        (column["rejection"] * skipped).mean()
    )
    assert rows[f"true skip rate at u_th = {grid[1]:g}"].measured == pytest.approx(
        1.0 - column["rejection"][skipped].mean()
    )
    assert rows[f"true skip rate at u_th = {grid[1]:g}"].predicted == pytest.approx(
        1.0 - column["skip_risk"][:, place].sum() / column["skip_mass"][:, place].sum()
    )
    mean = column["uncertainty"]
    row = rows["variance of u around u-bar at M = 5"]
    assert row.predicted == pytest.approx(np.mean(mean * (1 - mean)) / 5)
    assert row.measured == pytest.approx(np.mean((column["sampled_uncertainty_5"] - mean) ** 2))
    row = rows["rejection of drafts from the top 4"]
    assert row.predicted == pytest.approx(np.mean(column["tv"] + column["tail_mass"][:, 3]))
    assert row.measured == pytest.approx(1.0 - column["truncated_acceptance"][:, 1].mean())
    row = rows["hlm: uplink [bit/token]"]
    assert row.predicted == row.measured == float(printed_bit(VOCAB, VOCAB))
    assert rows["slope on u at M = 1"].predicted < calibration.line.slope


def test_the_risk_averse_threshold_is_held_to_the_risk_of_zero_that_it_promises(
    recorded, calibration, system
):
    line = dataclasses.replace(calibration, line=Line(0.5, -0.2))
    row = _again(recorded, line, system)["risk at the risk-averse threshold 0.4"]
    column = {name: values.astype(float) for name, values in recorded.columns.items()}
    assert row.predicted == 0.0
    assert row.measured == pytest.approx(np.mean(column["rejection"] * (column["uncertainty"] <= 0.4)))
    assert row.agrees is False


def test_the_throughput_rows_replay_the_drafts_on_the_link(rows, recorded, system):
    column = {name: values.astype(float) for name, values in recorded.columns.items()}
    name = next(q for q in rows if q.startswith("u-hlm") and "throughput" in q)
    value = float(name.split("u_th = ")[1].split(":")[0])
    air, told = (bits / (1e4 * np.log2(4.0)) for bits in (float(printed_bit(VOCAB, VOCAB)), 6))
    sent = column["uncertainty"] > value
    measured = column["slm_latency_s"] + sent * (column["llm_latency_s"] + air) + (1 - sent) * told
    assert rows[name].category == "internal"
    assert rows[name.replace("throughput [token/s]", "uplink [bit/token]")].category == "identity"
    assert rows[name].measured == pytest.approx(1.0 / measured.mean())
    place = recorded.header.threshold_grid.index(value)
    transmit = 1.0 - column["skip_mass"][:, place]
    predicted = system.latency.slm_s + transmit * (system.latency.llm_s + air) + (1 - transmit) * told
    assert rows[name].predicted == pytest.approx(1.0 / predicted.mean())


def test_thresholds_are_tried_where_tokens_are_skipped(recorded, calibration, grid):
    rates = [np.mean(recorded.columns["uncertainty"] <= value) for value in grid]
    assert len(grid) == 3
    np.testing.assert_allclose(rates, [0.05, 0.2, 0.4], atol=0.05)
    assert max(grid) < 1.0
    averse = dataclasses.replace(calibration, line=Line(0.5, -0.006))
    assert grid_thresholds(recorded.tokens(), averse) == [0.01, *grid]


@pytest.mark.parametrize(
    ("name", "change", "quantity"),
    [
        ("rejection", lambda c: 0.75 * c, "mean rejection of a draft"),
        ("sampled_uncertainty_100", lambda c: 0.9 * c, "mean u at M = 100"),
        ("sampled_uncertainty_5", lambda c: np.round(c), "variance of u around u-bar at M = 5"),
        ("sampled_uncertainty_5", lambda c: np.clip(2 * c - 0.5, 0, 1), "slope on u at M = 5"),
        ("skip_mass", lambda c: 0.9 * c, "skip rate at u_th = {high}"),
        ("skip_risk", lambda c: 0.5 * c, "risk at u_th = {high}"),
        ("llm_latency_s", lambda c: 1.5 * c, "hlm: throughput [token/s]"),
        ("truncated_acceptance", lambda c: 0.9 * c, "rejection of drafts from the top V"),
    ],
)
def test_a_tampered_column_is_caught(name, change, quantity, recorded, calibration, system, grid):
    rows = _again(_tampered(recorded, **{name: change(recorded.columns[name])}), calibration, system)
    row = rows[quantity.format(high=f"{grid[-1]:g}")]
    assert row.agrees is False


def test_a_broken_bound_is_caught_and_named(recorded, calibration, system):
    worse = recorded.columns["output_bias"] + 0.4 * recorded.columns["tv_profile"][:, :1]
    fewer = np.minimum(recorded.columns["k_printed"], recorded.columns["k_exact"] - 1)
    rows = _again(_tampered(recorded, output_bias=worse, k_printed=fewer), calibration, system)
    row = rows["share of contexts where truncation costs more than TV_k"]
    assert row.agrees is False
    assert row.measured > 0.9
    row = rows["share of tokens where the printed rule keeps fewer entries, budget 0.05"]
    assert row.agrees is False
    assert row.measured == 1.0
    agreeing, judged = compare.agreement(list(rows.values()))["internal"]
    assert agreeing < judged


def test_a_row_is_judged_by_its_interval_and_a_bound_by_itself():
    entry = ("q", "internal", False, "basis")
    row = judge(entry, 1.0, 1.3, (0.05, 0.5), "t")
    assert row.agrees is False
    assert row.ci95 == (1.05, 1.5)
    assert row.basis == "basis"
    inside = judge(entry, 1.0, 1.1, (-0.1, 0.3), "t")
    assert inside.agrees is True
    alone = judge(entry, 1.0, 1.1, None, "t")
    assert alone.agrees is None
    undefined = judge(entry, np.nan, 1.1, None, "t")
    assert undefined.agrees is None
    bound = ("q", "internal", True, "b")
    assert judge(bound, 0.2, 0.1, (-0.2, -0.05), "t").agrees is True
    assert judge(bound, 0.2, 0.3, None, "t").agrees is False
    assert judge(bound, 0.2, 0.2 + 1e-6, None, "t").agrees is True
    same = dataclasses.replace(row, category="identity")
    assert compare.agreement([row, same, inside, alone]) == {"identity": (0, 1), "internal": (1, 2)}


def test_a_single_prompt_is_compared_where_theory_knows_its_own_noise(calibration, system):
    rows = compare.compare_trace(record(2, num_prompts=1, length=60), calibration, system, num_resamples=20)
    unknown = [row for row in rows if not row.bound and row.agrees is None]
    assert any("hlm: throughput" in row.quantity for row in unknown)
    known = {row.quantity: row for row in rows if row.agrees is not None}
    assert known["mean u at M = 20"].agrees is True  # the binomial law tells its own noise


def test_a_line_that_falls_leaves_out_only_what_needs_one_that_rises(recorded, calibration, system):
    falling = dataclasses.replace(calibration, line=Line(-0.2, 0.5))
    found, whole = _again(recorded, falling, system), _again(recorded, calibration, system)
    for scheme, kept in (("cu-hlm-online", False), ("cu-hlm-exact", True), ("cu-hlm-offline", True)):
        assert any(scheme in quantity for quantity in whole)
        assert any(scheme in quantity for quantity in found) is kept


def test_a_trace_without_profiles_is_refused(recorded, calibration, system):
    without = {name: values for name, values in recorded.columns.items() if name != "output_bias"}
    with pytest.raises(MissingInputError, match="must hold the column output_bias"):
        compare.compare_trace(Trace(recorded.header, without), calibration, system, num_resamples=20)


def _decoded(*runs):
    parts, listed = [], []
    for number, (columns, description) in enumerate(runs):
        parts.append({**columns, "run": np.full(len(columns["prompt"]), number)})
        listed.append(description)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return compare.DecodedTable(header={"runs": listed}, columns=joined)


SECONDS = ("slm_s", "uplink_s", "llm_s", "other_s")
U_HLM = {"name": "u-hlm 0.4", "scheme": "u-hlm", "threshold": 0.4}


@pytest.fixture(scope="module")
def fixed():
    return System(
        link=Link(bandwidth_hz=1e4, snr=3.0),
        codec=Codec(vocab_size=VOCAB),
        latency=Latency(slm_s=0.01, llm_s=0.05),
    )


def test_decoding_that_obeys_theory_agrees(fixed):
    decoded = _decoded((run_u_hlm(5, 0.4), U_HLM))
    rows = compare.compare_decoded(decoded, fixed, num_resamples=400)
    found = {row.quantity.removeprefix("u-hlm 0.4: "): row for row in rows}
    assert {name: row.category for name, row in found.items()} == {
        **dict.fromkeys(
            ("skip rate", "risk", "true skip rate", "output bias", "resampled drafts"), "internal"
        ),
        **dict.fromkeys(("uplink [bit/token]", "downlink [bit/token]", "throughput [token/s]"), "identity"),
    }
    assert all(row.table == "u-hlm 0.4" for row in rows)
    assert sum(row.agrees for row in rows) >= 7
    columns = decoded.columns
    assert found["skip rate"].measured == pytest.approx(np.mean(columns["action"] == 0))
    assert found["resampled drafts"].measured == pytest.approx(np.mean(columns["action"] == 2))
    seconds = sum(columns[name] for name in SECONDS)
    assert found["throughput [token/s]"].measured == pytest.approx(1.0 / seconds.mean())


def test_costs_that_do_not_fit_the_transmissions_are_caught(fixed):
    columns = run_u_hlm(5, 0.4)
    columns["uplink_bit"] = 1.2 * columns["uplink_bit"]
    columns |= {name: 1.2 * columns[name] for name in SECONDS}
    decoded = _decoded((columns, U_HLM))
    rows = {row.quantity: row for row in compare.compare_decoded(decoded, fixed)}
    for cost in ("uplink [bit/token]", "throughput [token/s]"):
        assert rows[f"u-hlm 0.4: {cost}"].agrees is False


def test_decoding_with_another_bias_is_caught(fixed):
    decoded = _decoded((run_u_hlm(6, 0.4, bias=1.3), U_HLM))
    rows = {row.quantity: row for row in compare.compare_decoded(decoded, fixed)}
    assert rows["u-hlm 0.4: output bias"].agrees is False
    assert rows["u-hlm 0.4: skip rate"].agrees is True


def test_truncated_decoding_is_held_to_its_bound(fixed):
    columns = run_u_hlm(7, 0.4)
    columns["truncation_tv"] = np.full(len(columns["tv"]), 0.02)
    columns["tv"] = columns["risk"] + 0.01
    exact = {"name": "exact", "scheme": "cu-hlm-exact", "threshold": 0.4, "truncation_budget": 0.02}
    online = {**exact, "name": "online", "scheme": "cu-hlm-online"}
    good = compare.compare_decoded(_decoded((columns, exact)), fixed, num_resamples=200)
    rows = {row.quantity: row for row in good}
    assert rows["exact: output bias"].bound
    assert rows["exact: output bias"].agrees is True
    assert rows["exact: share of tokens with a bias above risk + TV_k"].measured == 0.0
    over = {**columns, "tv": columns["risk"] + 0.03}
    bad = compare.compare_decoded(_decoded((over, exact), (over, online)), fixed, num_resamples=200)
    rows = {row.quantity: row for row in bad}
    assert rows["exact: output bias"].agrees is False
    assert rows["exact: share of tokens with a bias above risk + TV_k"].measured == 1.0
    assert rows["online: output bias"].bound
    assert rows["online: output bias"].agrees is False
    below = compare.compare_decoded(_decoded((columns, online)), fixed, num_resamples=200)
    row = {row.quantity: row for row in below}["online: output bias"]
    assert row.measured < row.predicted
    assert row.agrees is True  # a bias below the bound is no failure
    assert "does not cover" in rows["online: share of tokens with a bias above risk + TV_k"].basis


def test_schemes_without_a_trigger_and_with_several_drafts(fixed):
    columns = run_u_hlm(8, 2.0)
    nothing = 0.0 * columns["tv"]
    everything = {**columns, "llm_calls": 0 * columns["llm_calls"], "uplink_s": nothing, "llm_s": nothing}
    exact = {**columns, "tv": 0.0 * columns["tv"]}
    rows = compare.compare_decoded(
        _decoded(
            (everything, {"name": "slm", "scheme": "slm"}),
            (exact, {"name": "dssd", "scheme": "dssd", "num_drafts": 4}),
            (exact, {"name": "strange", "scheme": "not-a-scheme"}),
        ),
        fixed,
        num_resamples=200,
    )
    found = {row.quantity: row for row in rows}
    assert found["slm: output bias"].agrees is True
    assert found["dssd: output bias"].agrees is True
    assert not any(row.table == "strange" for row in rows)


def _rounds(recorded, ends, most, bonus, rng):
    """Play rounds of several drafts over the recorded texts, the rejected draft replaced by what follows."""
    beta = recorded.columns["rejection"].astype(float)
    prompt = recorded.columns["prompt"]
    names = ("prompt", "round", "llm_calls", "uplink_bit", "downlink_bit", *SECONDS, "drafted", "kept")
    rows = {name: [] for name in (*names, "draft", "action", "rejection")}
    number = 0
    for text in np.unique(prompt):
        here = np.flatnonzero(prompt == text)
        at = 0
        while at < here.size:
            last = at
            while last + 1 < here.size and not ends[here[last]] and (most is None or last + 1 - at < most):
                last += 1
            drafts = last - at + 1
            kept = 0
            while kept < drafts and rng.uniform() >= beta[here[at + kept]]:
                kept += 1
            committed = min(kept + (kept < drafts or bonus), here.size - at)
            seconds = (0.01 * drafts, drafts * 14 / (1e4 * np.log2(4.0)), 0.05, 0.0)
            answer = 48 * 8 if kept < drafts else 6 if bonus else 1
            for i in range(committed):
                final = i == committed - 1
                rows["draft"].append(0 if i < drafts else -1)
                rows["action"].append(1 if i < kept else 2 if i < drafts else 3)
                rows["rejection"].append(beta[here[at + i]] if i < drafts else np.nan)
                rows["prompt"].append(text)
                rows["round"].append(number)
                rows["llm_calls"].append(int(final))
                rows["uplink_bit"].append(14.0 * drafts * final)
                rows["downlink_bit"].append(answer * final)
                for name, value in zip(SECONDS, seconds, strict=True):
                    rows[name].append(value * final)
                rows["drafted"].append(drafts * final)
                rows["kept"].append(kept * final)
            at += committed
            number += 1
    num = len(rows["prompt"])
    blank = {
        "draft_prob": 0.5,
        "uncertainty": 0.5,
        "tv": 0.0,
        "skip_mass": 0.0,
        "risk": 0.0,
        "truncation_tv": 0.0,
        "k": 0,
    }
    filled = {name: np.full(num, value) for name, value in blank.items()}
    return filled | {name: np.array(values) for name, values in rows.items()}


@pytest.mark.parametrize(
    "run",
    [
        {"scheme": "verify-on-sync", "policy": {"threshold": 0.8}},
        {"scheme": "dssd", "num_drafts": 3},
        {"scheme": "confidence-stop", "policy": {"confidence": 0.5, "max_drafts": 4}},
        {"scheme": "dssd", "num_drafts": 2, "convention": {"bonus": False}},
    ],
)
def test_rounds_of_several_drafts_are_predicted_from_the_trace(run, recorded, fixed):
    rng = np.random.default_rng(46)
    most, bonus = run.get("num_drafts"), True
    ends = np.zeros(len(recorded))
    if run["scheme"] == "verify-on-sync":
        ends, bonus = recorded.columns["uncertainty"] > 0.8, False
    elif run["scheme"] == "confidence-stop":
        ends, most = recorded.columns["max_prob"] < 0.5, 4
    if "convention" in run:
        bonus = False
    played = _rounds(recorded, ends, most, bonus, rng)
    decoded = _decoded((played, {"name": "r", **run}))
    rows = compare.compare_decoded(decoded, fixed, num_resamples=400)
    found = {row.quantity.removeprefix("r: "): row for row in rows}
    assert set(found) == {"output bias", "rejected share of examined drafts"}
    examined = np.isin(played["action"], (1, 2))
    row = found["rejected share of examined drafts"]
    assert row.predicted == pytest.approx(played["rejection"][examined].mean())
    assert row.measured == pytest.approx(np.mean(played["action"][examined] == 2))
    assert all(row.agrees for row in rows)
    scheme, measured = scheme_of(decoded.header["runs"][0]), decoded.ledger(0, fixed)
    predicted = scheme.ledger(recorded.tokens(), fixed)
    told = {quantity.name: quantity for quantity in QUANTITIES if quantity.applies(scheme, predicted)}
    assert {"tokens per round", "uplink [bit/token]", "throughput [token/s]"} <= set(told)
    assert ("drafts per token" in told) == scheme.draft.follows_text
    for name, quantity in told.items():
        expected, happened = (
            np.divide(*(column.sum() for column in sums(quantity, side))) for side in (predicted, measured)
        )
        assert expected == pytest.approx(happened, rel=0.1), name
    assert measured.tokens.mean() > 1.2


def test_a_finite_downlink_is_predicted_as_it_is_charged(fixed):
    slow = dataclasses.replace(fixed, latency=dataclasses.replace(fixed.latency, downlink_bit_per_s=50.0))
    columns = run_u_hlm(5, 0.4)
    columns["other_s"] = columns["downlink_bit"] / 50.0
    decoded = _decoded((columns, U_HLM))
    row, free = (
        {row.quantity: row for row in compare.compare_decoded(decoded, system)}[
            "u-hlm 0.4: throughput [token/s]"
        ]
        for system in (slow, fixed)
    )
    assert row.agrees is True
    assert free.agrees is False
    assert row.predicted == pytest.approx(row.measured, rel=0.06)
    assert free.predicted > 1.3 * row.predicted


def test_rounds_are_told_apart_by_text_wherever_their_rows_stand(recorded, fixed):
    rng = np.random.default_rng(47)
    run = {"name": "r", "scheme": "dssd", "num_drafts": 3}
    played = _rounds(recorded, np.zeros(len(recorded)), 3, True, rng)
    first = np.unique(played["prompt"], return_index=True)[1]
    for place, text in zip(first, played["prompt"][first], strict=True):  # every text counts from 0
        played["round"][played["prompt"] == text] -= played["round"][place]
    order = rng.permutation(len(played["prompt"]))
    mixed = {name: values[order] for name, values in played.items()}

    def told(columns):
        found = compare.compare_decoded(_decoded((columns, run)), fixed, num_resamples=100)
        return {row.quantity: row.measured for row in found}

    assert told(mixed) == pytest.approx(told(played))


def test_rows_of_single_drafts_may_stand_in_any_order(fixed):
    columns = run_u_hlm(5, 0.4)
    order = np.random.default_rng(48).permutation(len(columns["round"]))
    first, again = (
        compare.compare_decoded(_decoded((table, U_HLM)), fixed, num_resamples=100)
        for table in (columns, {name: values[order] for name, values in columns.items()})
    )
    assert [row.quantity for row in again] == [row.quantity for row in first]
    for row, other in zip(first, again, strict=True):
        assert (other.predicted, other.measured) == pytest.approx((row.predicted, row.measured))
        assert other.ci95 is None or other.ci95 == pytest.approx(row.ci95, abs=1e-9)


def test_a_ledger_of_a_run_has_a_row_a_round(fixed):
    columns = run_u_hlm(5, 0.4, num_prompts=3)
    found = _decoded((columns, U_HLM)).ledger(0, fixed)
    assert len(found) == len(columns["round"])
    assert found.seconds.sum() == pytest.approx(sum(columns[name].sum() for name in SECONDS))
    assert found.outcome().bias == pytest.approx(columns["tv"].mean())
    assert found.outcome().skip_rate == pytest.approx(np.mean(columns["action"] == 0))
    assert np.unique(found.prompt).tolist() == [0, 1, 2]


def test_no_row_rests_on_a_book_that_is_not_here(rows, fixed):
    from derivations.registry import statements

    known = {statement.name for statement in statements()}
    decoded = _decoded((run_u_hlm(5, 0.4), U_HLM))
    told = [
        *rows.values(),
        *compare.compare_decoded(decoded, fixed, num_resamples=100),
    ]
    cited = {name for row in told for name in re.findall(r"[a-z]+\.[a-z_]{4,}", row.basis)}
    assert not any("section" in row.basis for row in told)
    assert cited <= known
    assert len(cited) > 8


def test_a_run_s_whole_policy_is_used(recorded, fixed):
    by_price = {"threshold": 0.4, "truncation_price_s": 1e-4}
    run = {"name": "priced", "scheme": "cu-hlm-exact", "policy": by_price, "truncation_budget": 0.5}
    found = scheme_of(run).ledger(recorded.tokens(), fixed).outcome()
    assert found.k_mean == pytest.approx(1.0)  # TV costs next to nothing, so one entry is the cheapest


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("draft", "np"),
        ("draft", "Tokens"),
        ("draft", "Draft"),
        ("skip", "nothing"),
        ("rounds", "Rounds"),
        ("os", "x"),
    ],
)
def test_a_file_names_rules_and_nothing_else(part, name):
    with pytest.raises(ValueError, match=r"rules(\.\w+)? must"):
        scheme_of({"scheme": "hlm", "rules": {part: name}})


def _write(path, header, columns):
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    if header is not None:
        table = table.replace_schema_metadata({b"cuhlm": header})
    pq.write_table(table, path)


def test_a_decoded_file_is_read_back(tmp_path):
    made = _decoded((run_u_hlm(9, 0.4, num_prompts=3), U_HLM))
    _write(tmp_path / "decoded.parquet", json.dumps(made.header).encode(), made.columns)
    read = compare.read_decoded(tmp_path / "decoded.parquet")
    assert read.header == made.header
    for name, values in made.columns.items():
        np.testing.assert_array_equal(read.columns[name], values)


def test_a_decoded_file_that_is_none_is_refused(tmp_path):
    file = tmp_path / "decoded.parquet"
    with pytest.raises(ValueError, match="decoded must be an existing file"):
        compare.read_decoded(file)
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match="is not a whole parquet file"):
        compare.read_decoded(file)
    columns = _decoded((run_u_hlm(9, 0.4, num_prompts=2), U_HLM)).columns
    for header in (None, b"{", b"[]", b"{}"):
        _write(file, header, columns)
        with pytest.raises(ValueError, match="must have a cuhlm header with its runs"):
            compare.read_decoded(file)
    for header, said in (
        (b'{"runs": [], "runs": []}', "the key 'runs' is there twice"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"runs": [], "format": "cuhlm-decoded/9"}', "its format is 'cuhlm-decoded/9'"),
    ):
        _write(file, header, columns)
        with pytest.raises(ValueError, match=said):
            compare.read_decoded(file)
    good = json.dumps({"runs": [U_HLM]}).encode()
    _write(file, good, {name: values for name, values in columns.items() if name != "tv"})
    with pytest.raises(ValueError, match="must have the column 'tv'; it is missing"):
        compare.read_decoded(file)
    for strange in (["x"] * len(columns["tv"]), [None] * len(columns["tv"]), [[0.1]] * len(columns["tv"])):
        _write(file, good, {**columns, "tv": strange})
        with pytest.raises(ValueError, match="must have numbers and no nulls in 'tv'"):
            compare.read_decoded(file)
    _write(file, good, {**columns, "run": columns["run"] + 1})
    with pytest.raises(ValueError, match="has tokens of a run that its header does not list"):
        compare.read_decoded(file)


def test_the_front_is_read_with_its_intervals(tmp_path):
    file = tmp_path / "front.csv"
    file.write_text("# note\nrun,scheme,k_mean,cosine,cosine_ci95_half\na,hlm,3,0.5,0.1\nb,slm,,0.25,\n")
    assert compare.read_front(file) == [
        {"run": "a", "scheme": "hlm", "k_mean": 3.0, "cosine": 0.5, "cosine_ci95": (0.4, 0.6)},
        {"run": "b", "scheme": "slm", "k_mean": None, "cosine": 0.25, "cosine_ci95": None},
    ]
    file.write_text("run,scheme,k_mean\na,hlm,many\n")
    with pytest.raises(ValueError, match=r"front .*front\.csv must hold numbers; .*'many'"):
        compare.read_front(file)
    with pytest.raises(ValueError, match=r"front must be an existing file; got 'nowhere\.csv'"):
        compare.read_front("nowhere.csv")
