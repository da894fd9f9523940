"""`cuhlm decode` on a tiny pair: what it prints, that a seed repeats it, that refusals are one line."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

import cuhlm_theory as cuhlm
from cuhlm_theory.cli import main
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import Budget, Codec, FixedRate, Latency, Link, System
from cuhlm_theory.schemes import SCHEMES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

KEYS = {
    "text",
    "num_tokens",
    "skip_rate",
    "resample_rate",
    "uplink_bit_per_token",
    "latency_s",
    "throughput_token_per_s",
}


def save_model(folder, seed, vocab, layers):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=vocab,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        eos_token_id=256,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def save_tokenizer(folder, extra=()):
    from tokenizers import decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    fast.add_tokens(list(extra))
    fast.save_pretrained(folder)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    for name, seed, layers in (("slm", 1, 1), ("llm", 2, 2)):
        save_model(folder / name, seed, 257, layers)
        save_tokenizer(folder / name)
    return ["--slm", str(folder / "slm"), "--llm", str(folder / "llm")]


@pytest.fixture
def base(pair):
    given = "--prompt Hello --max-new-tokens 8 --slm-latency-s 0.01 --llm-latency-s 0.1 --threshold 0.99"
    return ["decode", *given.split(), "--num-drafts", "4", *pair]


def run_json(capsys, arguments):
    main([*arguments, "--json"])
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    return json.loads(shown)


def refused(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    shown = list(filter(None, capsys.readouterr().err.splitlines()))
    message = shown[-1]
    assert all("Loading weights" in line for line in shown[:-1])  # a progress bar
    return stop.value.code, message


@pytest.mark.parametrize("scheme", ["slm", "llm", "cu-hlm-exact", "floor", "dssd", "verify-on-sync"])
def test_json_has_the_contract_s_keys_and_the_seed_repeats_it(capsys, base, scheme):
    first = run_json(capsys, [*base, "--scheme", scheme, "--seed", "3", "--bias"])
    assert set(first) >= KEYS
    assert first["num_tokens"] == len(first["tokens"]) <= 8
    assert first["latency_s"] > 0.0
    assert run_json(capsys, [*base, "--scheme", scheme, "--seed", "3", "--bias"]) == first
    if scheme == "llm":
        assert first["bias"] == pytest.approx(0.0, abs=1e-9)
    if scheme in ("dssd", "verify-on-sync"):  # the law that comes down has 8 bits a probability
        assert 0.0 < first["bias"] < 0.1


def test_conventions_reach_the_decoder(capsys, base):
    found = run_json(capsys, [*base, "--scheme", "u-hlm", "--convention", "baseline", "--no-bonus"])
    convention = found["settings"]["convention"]
    assert convention["draft"] == "argmax"
    assert convention["transmit_at_threshold"] is True
    assert convention["bonus"] is False


def test_off_a_terminal_brackets_tell_the_actions_apart(capsys, base):
    main([*base, "--scheme", "hlm", "--seed", "1"])
    shown = capsys.readouterr().out
    assert "[accepted]" in shown
    assert "{resampled}" in shown
    body = shown.split("itself\n", 1)[1]
    assert "[" in body or "{" in body
    assert "uplink_bit_per_token" in shown


def test_on_a_terminal_styles_differ_even_without_colour(monkeypatch):
    from rich.console import Console

    from calibration.cli.decode import _MEANING, _Painter

    class Spelled:
        def decode(self, tokens, **_):
            return "abcdefgh"[: len(tokens)]

    painter = _Painter(Spelled())
    painter.console = Console(file=io.StringIO(), force_terminal=True, no_color=True, highlight=False)
    for action in range(len(_MEANING)):
        painter.show([{"token": 0, "action": action}])
    pieces = painter.console.file.getvalue()
    looks = [pieces.split(letter)[0].rsplit("m", 1)[0].rsplit("\x1b", 1)[-1] for letter in "abcd"]
    assert len(set(looks)) == 4


def test_refusals_are_one_line(capsys, base):
    assert refused(capsys, [*base, "--prompt", " "]) == (2, "cuhlm: --prompt must not be empty; got ' '")
    code, message = refused(capsys, [*base, "--max-new-tokens", "70"])
    assert (code, message) == (2, "cuhlm: --max-new-tokens must be at most 63; got 70")
    code, message = refused(capsys, [*base, "--max-new-tokens", "60"])
    assert (code, "must have at most 4 tokens; got 5" in message) == (2, True)
    code, message = refused(capsys, [*base, "--temperature", "-1"])
    assert (code, "temperature must be at least 0; got -1" in message) == (2, True)
    code, message = refused(capsys, [*base, "--scheme", "nope"])
    assert code == 2
    assert "'nope' is not one of 'slm', 'llm', 'hlm'" in message
    code, message = refused(capsys, [*base, "--seed", "-1"])
    assert (code, "seed must be at least 0" in message) == (2, True)


def test_the_number_of_drafts_is_the_calibration_s_best_or_must_be_given(capsys, base):
    from calibration import load
    from cuhlm_theory.schemes import best_num_drafts

    where = base.index("--num-drafts")
    bare = [*base[:where], *base[where + 2 :], "--scheme", "dssd"]
    message = "cuhlm: --num-drafts is not known; give --num-drafts or --calibration"
    assert refused(capsys, bare) == (1, message)
    found = run_json(capsys, [*bare, "--calibration", "smollm2", "--vocab-size", "257"])
    system = System(
        link=Link(bandwidth_hz=found["inputs"]["link"]["bandwidth_hz"], snr=found["inputs"]["link"]["snr"]),
        codec=Codec(vocab_size=257),
        latency=Latency(slm_s=0.01, llm_s=0.1),
    )
    best = best_num_drafts(SCHEMES["dssd"], load("smollm2").tokens, system)
    assert found["settings"]["numbers"]["num_drafts"] == best


def test_more_entries_than_tokens_are_refused(capsys, base):
    given = [*base, "--scheme", "cu-hlm-offline", "--k", "300"]
    assert refused(capsys, given) == (2, "cuhlm: --k must lie in [1, 257]; got 300")


def test_models_with_different_vocabularies_are_one_line(capsys, base, tmp_path):
    save_model(tmp_path / "other", 1, 258, 1)
    save_tokenizer(tmp_path / "other", extra=["extra"])
    capsys.readouterr()  # the saving's own progress bar
    arguments = [*base]
    arguments[arguments.index("--slm") + 1] = str(tmp_path / "other")
    code, message = refused(capsys, arguments)
    assert code == 2
    assert "slm and llm must share a tokenizer" in message


def test_a_published_line_has_no_operating_point_but_a_threshold_will_do(capsys, base):
    given = [*base, "--calibration", "cu-hlm", "--scheme", "cu-hlm-online"]
    assert run_json(capsys, given)["settings"]["numbers"]["slope"] == 0.815
    where = given.index("--threshold")
    code, message = refused(capsys, given[:where] + given[where + 2 :])
    assert code == 1
    assert "give --threshold" in message


def test_missing_latencies_name_the_remedies(capsys, base):
    where = base.index("--slm-latency-s")
    bare = base[:where] + base[where + 4 :]
    code, message = refused(capsys, bare)
    assert code == 1
    assert "--measured-compute" in message
    found = run_json(capsys, [*bare, "--measured-compute", "--scheme", "llm"])
    assert found["latency_s"] > 1e-6


def test_the_recommended_numbers_are_the_operating_point():
    from calibration.decoding.plan import offline_size, recommended, sizes
    from cuhlm_theory.optimisation import operating_point

    rng = np.random.default_rng(0)
    tokens = Tokens(
        uncertainty=rng.random(50),
        rejection=rng.random(50) * 0.3,
        k_grid=np.array([1, 3, 8]),
        tv_profile=np.tile([0.2, 0.02, 0.0], (50, 1)),
        threshold_grid=np.array([0.2, 0.5, 1.0]),
        skip_mass=np.tile([0.2, 0.5, 1.0], (50, 1)),
        skip_risk=np.tile([0.01, 0.05, 0.15], (50, 1)),
    )
    system = System(
        link=Link(bandwidth_hz=1e3, snr=1.0),
        codec=Codec(vocab_size=8),
        latency=Latency(slm_s=0.01, llm_s=0.1),
    )
    point = operating_point(tokens, system, Budget(bias=0.1))
    numbers = recommended(tokens, system, Budget(bias=0.1))
    assert numbers["threshold"] == point.threshold == 0.5
    assert numbers["truncation_price_s"] == point.truncation_price_s
    assert numbers["skip_rate"] == pytest.approx(0.5)
    assert numbers["truncation_budget"] == pytest.approx(max(point.truncation, 1e-6))
    assert numbers["offline_k"] == (3 if point.truncation >= 0.02 else 8)
    assert sizes(tokens) == (1, 3, 8)
    assert sizes(replace(tokens, k_grid=None, tv_profile=None)) is sizes(None) is None
    lossy = replace(tokens, tv_profile=np.tile([0.2, 0.02, 0.01], (50, 1)))
    assert [offline_size(lossy, budget) for budget in (0.0, 0.01, 0.02, 0.1, 0.2)] == [8, 8, 3, 3, 1]
    with pytest.raises(MissingInputError, match=r"give --threshold, or --calibration smollm2$"):
        recommended(None, system, Budget())


def test_a_kept_law_has_a_threshold_of_its_own():
    """On a slow link CU-HLM spends its bias on truncation, which the kept law does not know."""
    from calibration.decoding.plan import own_threshold, recommended

    known = cuhlm.load("smollm2")
    system = System(
        link=FixedRate(rate_bit_per_s=180e3),
        codec=Codec(vocab_size=known.vocab_size),
        latency=Latency(slm_s=known.slm_latency_s, llm_s=known.llm_latency_s),
    )
    numbers = recommended(known.tokens, system, Budget(bias=0.05)) | {"line": known.line}
    given = {name: row.given(numbers) for name, row in SCHEMES.items()}
    own = {name: own_threshold(row, known.tokens, system, 0.05) for name, row in given.items()}
    ledger = own["kept-law"].ledger(known.tokens, system)
    assert ledger.per_token(ledger.bias) == pytest.approx(0.05, abs=1e-9)
    assert own["kept-law"].skip.threshold > numbers["threshold"]
    faster, as_given = (row["kept-law-exact"].ledger(known.tokens, system) for row in (own, given))
    assert faster.outcome().throughput_token_per_s >= as_given.outcome().throughput_token_per_s
    assert own["cu-hlm-exact"] == given["cu-hlm-exact"]


def test_help_shows_an_example_and_every_scheme(capsys):
    main(["decode", "--help"])
    shown = capsys.readouterr().out
    assert "Example: cuhlm decode" in shown
    assert all(name in shown.replace("\n", "").replace(" ", "") for name in SCHEMES)


def test_help_loads_no_model_library():
    import subprocess

    code = "import sys, calibration.cli.decode; print(bool({'torch', 'cvxpy', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_the_built_in_pair_decodes_at_its_operating_point(capsys):
    from calibration.finding import DATA

    if not (DATA / "smollm2" / "calibration.json").is_file():
        pytest.skip("the built-in calibration is not there")
    found = run_json(capsys, ["decode", "--prompt", "Name three fruits.", "--max-new-tokens", "12", "--bias"])
    assert set(found) >= KEYS
    assert found["settings"]["scheme"] == "cu-hlm-exact"
    assert 0.0 <= found["bias"] <= 0.5
    assert found["text"].strip()
