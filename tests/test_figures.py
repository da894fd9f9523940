"""Figures are judged by the numbers they draw, on a pair of small models that is enumerated exactly."""

import json
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

from cuhlm_theory.errors import CuhlmError, MissingInputError
from cuhlm_theory.ladder import Ladder
from figures import catalogue, frame, fronts, idea, samples, style, throughput
from figures.frame import Source, read_csv, write_csv
from tests.exact_pair import record

FEW = {
    "rejection_line": {"num_points": 21, "num_cells": 10},
    "estimators": {"num_points": 21, "num_resamples": 30},
    "truncation_rules": {"num_points": 30},
    "throughput": {"num_points": 4},
    "fronts": {"num_points": 4},
    "skip_rates": {"num_points": 21, "num_resamples": 40},
    "whose_text": {"num_windows": 3, "num_resamples": 40},
    "policy_map": {"num_points": 5},
    "phase_diagram": {"num_points": 5, "max_drafts": 2},
    "channel": {"num_points": 12},
    "headline": {"num_points": 15},
    "attenuation": {"num_points": 12, "num_resamples": 40},
    "u_hlm": {"num_points": 5, "num_resamples": 40},
    "run_length": {"num_runs": 40, "longest": 2000},
}


def source_of(**options):
    recording = record(**options)
    return Source(calibration=recording, system=Ladder({}, {"calibration": recording}).system())


@pytest.fixture(scope="module")
def source():
    return source_of()


@pytest.fixture(scope="module")
def tables(source):
    return {name: compute(name, source) for name in catalogue.NAMES}


def compute(name, source):
    return catalogue.figure(name).compute(source, **FEW.get(name, {}))


def increases(values, *, by=1e-12):
    return np.all(np.diff(values) >= -by)


def test_every_figure_names_what_it_answers_and_its_status():
    for name in catalogue.NAMES:
        one = catalogue.figure(name)
        assert one.name == name
        assert one.status in ("reproduced", "reconstructed", "new")
        assert one.title
        assert one.caption.endswith(".")
        assert one.answers


def test_every_module_that_draws_is_in_the_catalogue():
    folder = Path(frame.__file__).parent
    scripts = {path.stem for path in folder.glob("*.py") if "FIGURE = Figure(" in path.read_text()}
    assert scripts == set(catalogue.NAMES)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_the_same_tokens_give_the_same_csv(name, source, tables, tmp_path):
    write_csv(tables[name], tmp_path / "one.csv")
    write_csv(compute(name, source), tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_csv_column_says_its_unit(name, tables):
    texts = {
        "scheme",
        "text",
        "threshold",
        "estimator",
        "point",
        "shown",
        "tokens",
        "M",
        "quantity",
        "verdict",
    }
    for table in tables[name].values():
        lengths = {len(np.atleast_1d(column)) for column in table.values()}
        assert len(lengths) == 1
        assert all(column.endswith("]") or column in texts for column in table)


def test_a_csv_reads_back_as_it_was_written(tables, tmp_path):
    write_csv(tables["rejection_line"], tmp_path / "it.csv")
    again = read_csv(tmp_path / "it.csv")
    assert list(again) == list(tables["rejection_line"])
    np.testing.assert_allclose(
        again["line"]["fitted line [-]"], tables["rejection_line"]["line"]["fitted line [-]"], rtol=1e-8
    )


@pytest.mark.parametrize("name", ["attenuation"])
def test_a_figure_is_written_in_three_formats_with_its_caption(name, tables, tmp_path):
    files = catalogue.figure(name).write(tables[name], tmp_path)
    assert [file.suffix for file in files] == [".pdf", ".png", ".csv", ".txt"]
    pdf, png, _, caption = (file.read_bytes() for file in files)
    assert catalogue.figure(name).caption.encode() in caption
    assert pdf.startswith(b"%PDF")
    assert png.startswith(b"\x89PNG")
    assert b"/Type3" not in pdf  # fonts are embedded as vectors of type 42
    width = int.from_bytes(png[16:20], "big")
    assert width == round(style.WIDTH_IN * 300)


@pytest.mark.parametrize(("name", "smallest", "largest"), [("nature", 5.0, 7.0), ("slides", 12.0, 15.0)])
def test_a_look_has_its_width_and_its_size_of_text(name, smallest, largest, tables, tmp_path):
    from matplotlib.text import Text

    look, one = style.LOOKS[name], catalogue.figure("attenuation")
    png = one.write(tables["attenuation"], tmp_path, look)[1].read_bytes()
    assert int.from_bytes(png[16:20], "big") == int(look.width_in * 300)
    with style.applied("attenuation", look):
        canvas = one.canvas(tables["attenuation"], look)
        sizes = [text.get_fontsize() for text in canvas.findobj(Text) if text.get_text().strip()]
    assert smallest <= min(sizes)
    assert max(sizes) <= largest


def test_the_words_of_a_figure_do_not_overlap_or_leave_it(tables):
    """Titles, axis labels and legends of neighbouring panels keep apart; nothing is cut off."""
    for name in ("estimators",):
        with style.applied(name):
            canvas = catalogue.figure(name).canvas(tables[name])
            whole = canvas.bbox
            boxes = []
            for ax in canvas.axes:
                box = ax.get_tightbbox()
                assert box.x0 >= -1
                assert box.y0 >= -1
                assert box.x1 <= whole.x1 + 1
                assert box.y1 <= whole.y1 + 1
                boxes.append((box.y0, box.y1))
                assert ax.get_xlabel().endswith("]")
                assert ax.get_ylabel().endswith("]") or not ax.get_ylabel()
                texts = [ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]
                assert min(text.get_fontsize() for text in texts) >= 7.0
            boxes.sort()
            assert all(low[1] <= high[0] + 1 for low, high in pairwise(boxes))


def test_the_rejection_line_is_clipped_and_bins_lie_in_their_intervals(tables):
    line, bins = tables["rejection_line"]["line"], tables["rejection_line"]["bins"]
    for column in ("fitted line [-]", "cu-hlm [-]", "u-hlm [-]"):
        assert increases(line[column])
        assert line[column].min() >= 0.0
        assert line[column].max() <= 1.0
    isotonic = line["isotonic [-]"]
    assert increases(isotonic[np.isfinite(isotonic)])
    known = np.isfinite(bins["rejection low [-]"])
    assert np.all(bins["rejection low [-]"][known] <= bins["rejection [-]"][known] + 1e-12)
    assert np.all(bins["rejection [-]"][known] <= bins["rejection high [-]"][known] + 1e-12)
    assert tables["rejection_line"]["cells"]["tokens"].sum() == bins["tokens"].sum() == 120


def test_no_estimator_reaches_below_the_genie(tables):
    curves = tables["estimators"]["coverage"]
    genie = curves["genie [-]"]
    assert increases(genie[1:])
    for name, curve in curves.items():
        if name != "skip rate [-]":
            assert np.all(curve[1:] >= genie[1:] - 1e-12)
            assert curve[-1] == pytest.approx(genie[-1])


@pytest.mark.parametrize("panel", ["probability", "distance"])
def test_quantiles_are_nested_and_profiles_fall(panel, tables):
    table = tables["concentration"][panel]
    bands = [table[f"quantile {level:g} [-]"] for level in samples.QUANTILES]
    for low, high in pairwise(bands):
        assert np.all(low <= high + 1e-15)
    for band in bands:
        assert increases(-band)


def test_the_printed_rule_never_keeps_fewer_entries_than_the_exact_one(tables):
    table = tables["truncation_rules"]
    share = table["distribution"]
    assert np.all(share["printed k [token]"] >= share["exact k [token]"])
    assert increases(share["exact k [token]"])
    assert np.all(table["ratio"]["printed over exact, quantile 0.1 [-]"] >= 1.0)
    assert increases(-table["offline"]["exact k [token]"])  # a larger budget needs fewer


def test_the_true_bias_stays_below_both_bounds(tables):
    table = tables["bound_tightness"]["quantiles"]
    for level in (*(f"quantile {q:g}" for q in samples.QUANTILES), "mean"):
        bias, bound, printed = (table[f"{name} {level} [-]"] for name in ("bias", "TV_k", "printed U"))
        assert np.all(bias <= bound + 1e-12)
        assert np.all(2.885 * bound <= printed + 1e-9)
        assert np.all(printed <= 6.386 * bound + 1e-9)
    cells = tables["bound_tightness"]["cells"]
    assert np.all(cells["bias [-]"] <= cells["TV_k [-]"] * 1.0001)


def test_throughput_grows_with_the_snr_and_never_crosses_the_floor(tables):
    table = tables["throughput"]
    for panel in ("single", "bandwidth"):
        floor = table[panel]["floor [token/s]"]
        for name, rate in table[panel].items():
            unbounded = (*throughput.UNBOUNDED, "verify-on-sync")  # no draft, none named, several
            if name.endswith("[token/s]") and not name.startswith(unbounded):
                known = np.isfinite(rate)
                assert known.any()
                assert np.all(rate[known] <= floor[known] * (1.0 + 1e-9)), name
    for panel in ("single", "several"):
        for name, rate in table[panel].items():
            if name.endswith("[token/s]") and not name.startswith(
                "cu-hlm"
            ):  # these change their rule with it
                assert increases(rate[np.isfinite(rate)], by=1e-9), name
    assert increases(table["single"]["cu-hlm-exact [token/s]"], by=1e-9)


def test_no_front_crosses_the_floor(tables):
    table, floor = tables["fronts"]["bias"], tables["fronts"]["floor"]
    assert increases(floor["throughput [token/s]"], by=1e-9)
    best = np.interp(table["bias [-]"], floor["bias [-]"], floor["throughput [token/s]"])
    of = table["scheme"] == "u-hlm"  # the floor is computed at each of its biases
    assert np.all(table["throughput [token/s]"][of] <= best[of] * (1.0 + 1e-9))
    for scheme in ("rand-hlm", "u-hlm"):
        of = table["scheme"] == scheme
        assert increases(table["bias [-]"][of], by=1e-9)
        assert increases(table["throughput [token/s]"][of], by=1e-9)


@pytest.mark.parametrize("name", ["u-hlm", "cu-hlm-offline", "cu-hlm-exact", "kept-law"])
def test_between_two_thresholds_a_front_is_what_a_randomised_threshold_reaches(name, source, tables):
    """The last two are far apart: the straight line between them is reached by nothing."""
    table, best = tables["fronts"]["bias"], source.question().answer()
    thresholds = best.tokens.thresholds()
    if name == "kept-law":
        thresholds = thresholds[thresholds < 1.0]  # its front ends where its set may be the whole vocabulary
    low, high = (float(t) for t in thresholds[-2:])
    of = table["scheme"] == name
    along = table["bias [-]"][of], table["throughput [token/s]"][of]
    for mix in fronts._SHARES[[4, 9, 14]]:
        ((_, ledger),) = best.beside((name,), threshold=low, upper_threshold=high, mix=float(mix))[0]
        row = ledger.outcome()
        place = int(np.argmin(np.abs(along[0] - row.bias)))
        assert along[0][place] == pytest.approx(row.bias)
        assert along[1][place] == pytest.approx(row.throughput_token_per_s)
    at = slice(-len(fronts._SHARES) - 1, None)
    bias, rate = along[0][at], along[1][at]
    straight = np.interp(bias[5], bias[[0, -1]], rate[[0, -1]])
    assert rate[5] <= straight


def test_the_marks_are_the_recommendation_and_the_models_alone(source, tables):
    marks, best = tables["fronts"]["marks"], source.question().answer()
    assert marks["point"][0] == "recommended"
    assert marks["scheme"][0] == best.scheme
    assert marks["throughput [token/s]"][0] == pytest.approx(best.throughput.value)
    assert {"slm", "llm"} <= {*marks["scheme"]}


def test_skip_rate_and_risk_grow_with_the_threshold(tables):
    table = tables["skip_rates"]
    assert increases(table["rates"]["skip rate [-]"])
    assert increases(table["risk"]["risk [-]"])
    np.testing.assert_allclose(table["rates"]["skip rate [-]"] + table["rates"]["TR [-]"], 1.0)
    measured = table["measured"]
    assert increases(measured["skip rate [-]"])
    assert increases(measured["risk [-]"])
    for name in ("skip rate", "TSR", "risk"):
        known = np.isfinite(measured[f"{name} low [-]"])
        assert known.any()
        assert np.all(measured[f"{name} low [-]"][known] <= measured[f"{name} [-]"][known] + 1e-9)
        assert np.all(measured[f"{name} [-]"][known] <= measured[f"{name} high [-]"][known] + 1e-9)


def test_the_diagram_of_links_names_all_winners_and_a_bias_never_slows(tables):
    table = tables["phase_diagram"]
    fastest = {}
    for panel in catalogue.figure("phase_diagram").panels:
        rates = {name: rate for name, rate in table[panel].items() if name.endswith("[token/s]")}
        fastest[panel] = np.max([*rates.values()], axis=0)
        for rate in rates.values():
            assert np.any(rate == fastest[panel])
        by_link = fastest[panel].reshape(5, 5)
        assert increases(by_link.T)  # over the rate
        assert increases(-by_link)  # over the round trip
    for downlink in ("free downlink", "downlink as uplink"):
        assert np.all(fastest[f"biased, {downlink}"] >= fastest[f"exact, {downlink}"] - 1e-12)
    assert np.all(fastest["exact, free downlink"] >= fastest["exact, downlink as uplink"] - 1e-12)


def test_a_faster_link_never_raises_the_threshold_nor_shrinks_k(tables):
    table = tables["policy_map"]["map"]
    shape = (5, 5)
    threshold, size = (table[name].reshape(shape) for name in ("threshold [-]", "mean k [token]"))
    for axis in (0, 1):
        assert np.all(np.diff(threshold, axis=axis) <= 1e-12)
        assert np.all(np.diff(size, axis=axis) >= -1e-9)


def test_shannon_is_never_pessimistic(tables):
    latency = tables["channel"]["latency"]
    for model in ("short-packet", "rayleigh-ergodic", "rayleigh-arq", "rayleigh-outage"):
        assert np.all(latency[f"{model} [s]"] >= latency["awgn [s]"])
        assert increases(latency[f"{model} [s]"])
    for name, excess in tables["channel"]["excess"].items():
        if name != "k [token]":
            assert np.all(excess > 0.0)
            assert increases(-excess)
    arq = tables["channel"]["arq"]
    assert np.all(arq["goodput [bit/s/Hz]"] <= arq["R* [bit/s/Hz]"])
    assert np.all(arq["R* [bit/s/Hz]"] <= arq["ergodic capacity [bit/s/Hz]"])


def test_the_headline_cannot_hold_at_its_own_skip_rate_and_compression(tables):
    points = tables["headline"]["points"]
    ceiling = dict(zip(points["point"], points["largest speed-up [-]"], strict=True))
    assert ceiling["CU-HLM, abstract"] == pytest.approx(152.6, abs=0.05)
    assert ceiling["U-HLM, abstract"] == pytest.approx(1.849, abs=5e-4)
    assert ceiling["CU-HLM, k* = 30"] > 206.0
    assert np.all(tables["headline"]["rate"]["97.4 % compressed [-]"] < 152.7)
    assert np.all(tables["headline"]["average"]["mean tokens over mean time, E[N]/E[D] [-]"] < 1.85)


def test_exact_schemes_send_something_and_floor_sends_least(tables):
    table = tables["bits_and_bias"]["bits"]
    floor = table["uplink [bit/token]"][table["scheme"] == "floor"].max()
    for scheme in ("u-hlm", "cu-hlm-exact"):
        of = table["scheme"] == scheme
        assert np.all(table["uplink [bit/token]"][of] > 0.0)
        assert table["uplink [bit/token]"][of].max() > floor
    assert np.all(tables["bits_and_bias"]["exact"]["uplink [bit/token]"] > 0.0)


def test_attenuation_approaches_the_line_without_sampling(tables):
    for panel in ("slope", "correlation"):
        table = tables["attenuation"][panel]
        assert increases(table["predicted [-]"])
        assert np.all(table["predicted [-]"] <= table["without sampling [-]"])
    measured = tables["attenuation"]["measured"]
    assert list(measured["M"]) == [1, 5, 20, 100]


@pytest.mark.parametrize(
    ("options", "most_refused"),
    [
        ({"num_prompts": 1, "tokens_per_prompt": 24}, 0),
        ({"vocab_size": 16, "num_prompts": 4, "tokens_per_prompt": 8}, 0),
        ({"certain": False, "num_prompts": 4, "tokens_per_prompt": 8}, 4),  # its line may fall
        ({"num_prompts": 2, "tokens_per_prompt": 1}, 13),
    ],
    ids=["one prompt", "a vocabulary of 16", "no token may be skipped", "two tokens"],
)
def test_odd_calibrations_give_a_picture_or_a_sentence(options, most_refused):
    odd = source_of(**options)
    reasons = {}
    for name in catalogue.NAMES:
        one = catalogue.figure(name)
        try:
            found = compute(name, odd)
        except (CuhlmError, ValueError) as refusal:
            reasons[name] = str(refusal)
            continue
        with style.applied(name):  # drawn, but not laid out: that takes a second a figure
            shown = [panel for panel in one.panels if panel in found]
            axes = Canvas().subplots(len(shown), 1, squeeze=False)[:, 0]
            one.draw(dict(zip(shown, axes, strict=True)), found)
    assert all(len(reason.splitlines()) == 1 for reason in reasons.values())
    assert len(reasons) <= most_refused, reasons


def test_a_published_line_gets_what_needs_no_tokens_and_a_reason_for_the_rest():
    line = frame.load("cu-hlm")
    assert compute("headline", line)
    with pytest.raises(MissingInputError, match="cuhlm calibrate"):
        compute("rejection_line", line)


def test_a_trace_without_a_column_is_told_which(source):
    assert source.tokens is not None
    poor = replace(
        source, calibration=replace(source.calibration, _tokens=replace(source.tokens, output_bias=None))
    )
    with pytest.raises(MissingInputError, match="output_bias"):
        compute("bound_tightness", poor)


def test_decoding_that_was_really_run_is_drawn_beside_theory(source, tmp_path):
    (tmp_path / "front.csv").write_text(
        "# seed: 0\n"
        "run,scheme,threshold,skip_rate,tsr,risk,throughput_token_per_s,cosine_to_llm,cosine_to_llm_ci95_half\n"
        "llm,llm,,0,,0,40,1,0\n"
        "llm-again,llm,,0,,0,40,0.8,0.1\n"
        "b,u-hlm,0.1,0.2,0.9,0.02,50,0.9,0.05\n"
        "c,u-hlm,0.5,0.6,,0.1,80,0.7,\n"
    )
    run = replace(source, decoded=tmp_path)
    accuracy = compute("fronts", run)["accuracy"]
    assert list(accuracy["scheme"]) == ["llm", "u-hlm", "u-hlm"]
    assert accuracy["cosine similarity to the LLM's answer [-]"][0] == 0.8  # not the reference itself
    assert np.isnan(accuracy["threshold [-]"][0])
    assert list(compute("skip_rates", run)["decoded"]["risk [-]"]) == [0.02, 0.1]
    described = json.dumps({"link": asdict(run.system.link), "latency": asdict(run.system.latency)})
    text = (tmp_path / "front.csv").read_text()
    (tmp_path / "front.csv").write_text(f"# prompts: 2; system: {described}\n{text}")
    assert "accuracy" in compute("fronts", run)
    link = replace(run.system.link, bandwidth_hz=2.0 * run.system.link.bandwidth_hz)
    elsewhere = replace(run, system=replace(run.system, link=link))
    assert "accuracy" not in compute("fronts", elsewhere)  # the answers were not decoded over this link
    with style.applied("fronts"):
        for name in ("fronts", "skip_rates"):
            found, one = compute(name, run), catalogue.figure(name)
            axes = Canvas().subplots(len(one.panels), 1)
            one.draw(dict(zip(one.panels, axes, strict=True)), found)


def test_what_u_hlm_transmits_is_what_lies_above_the_threshold(source, tables):
    drawn = tables["u_hlm"]
    assert drawn["threshold"]["TR [-]"] == pytest.approx(1.0 - np.cumsum(drawn["law"]["share of tokens [-]"]))
    u, beta = source.columns["sampled_uncertainty"], source.tokens.rejection
    below = u < 0.0731  # 20 draws give multiples of 0.05
    rows = drawn["scheme"]
    averse = list(rows["scheme"]).index("u-hlm, averse")
    assert rows["TR [-]"][averse] == pytest.approx(1.0 - below.mean())
    assert rows["TSR [-]"][averse] == pytest.approx(1.0 - beta[below].mean())


def test_throughput_over_printed_fading_falls_with_the_run(tables):
    drawn = tables["run_length"]
    for name, column in drawn["throughput"].items():
        if name.endswith("[token/s]"):
            assert np.all(np.diff(column) < 0.0) or "simulated" in name
    simulated, limit = (drawn["latency"][f"{kind} 0.5 [s]"] for kind in ("simulated", "limit"))
    assert simulated == pytest.approx(limit, rel=0.25)


def test_an_unknown_figure_is_told_its_nearest_neighbour():
    with pytest.raises(ValueError, match="the nearest is 'throughput'"):
        catalogue.figure("thruput")


def test_the_page_of_figures_is_the_one_that_the_catalogue_gives():
    written = catalogue.PAGE.read_text(encoding="utf-8")
    assert catalogue.page() == written, "run: python -m figures.catalogue"
    pictures = {part.split('"')[0] for part in written.split('src="')[1:]}
    assert pictures == {
        f"gallery/{file.name}" for file in catalogue.GALLERY.glob("*.png") if file.stem != idea.NAME
    }


def test_the_readme_leads_to_the_page_of_figures_and_shows_the_idea():
    readme = (catalogue.PAGE.parent.parent / "README.md").read_text(encoding="utf-8")
    assert "(figures/README.md)" in readme
    assert "figures/gallery/idea.png" in readme


def test_a_small_picture_is_drawn_from_the_built_in_pair(monkeypatch, source, tmp_path):
    monkeypatch.setattr(catalogue, "load", lambda pair: source)
    catalogue.draw(["rejection_line"], out=tmp_path)
    assert (tmp_path / "rejection_line.png").read_bytes().startswith(b"\x89PNG")


def test_the_idea_is_the_same_every_time_and_every_word_is_inside(tmp_path):
    first, second = (idea.write(tmp_path / name) for name in ("one", "two"))
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    with style.applied(idea.NAME):
        canvas = Canvas(figsize=idea.SIZE_IN, dpi=300)
        ax = canvas.add_axes((0.0, 0.0, 1.0, 1.0))
        idea.draw(ax)
        canvas.draw_without_rendering()
        ends = canvas.bbox
        for text in ax.texts:
            box = text.get_window_extent()
            assert ends.x0 <= box.x0, text.get_text()
            assert box.x1 <= ends.x1, text.get_text()


def test_equal_values_share_a_bin():
    place = samples.equal_count_bins(np.repeat([0.0, 1.0], [30, 10]), 5)
    assert set(place[:30]) == {0}
    assert set(place[30:]) == {1}
