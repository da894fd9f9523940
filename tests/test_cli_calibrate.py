"""`cuhlm calibrate` on a tiny pair: what it writes and prints, a repeated seed, refusals in one line."""

import json
import subprocess
import sys

import numpy as np
import pytest

from calibration import load, trace
from cuhlm_theory.cli import main

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

ESTIMATES = ("slope", "intercept", "delta", "correlation", "acceptance", "risk_averse", "risk_prone")


def _save_model(folder, seed, layers):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=257,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        eos_token_id=256,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def _save_tokenizer(folder, more=()):
    from tokenizers import decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    fast.add_tokens(list(more))
    fast.save_pretrained(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    for name, seed, layers in (("slm", 1, 1), ("llm", 2, 2)):
        _save_model(folder / name, seed, layers)
        _save_tokenizer(folder / name)
    (folder / "prompts.txt").write_text(
        "".join(f"say {word}\n" for word in ["one", "two", "three", "four", "five"])
    )
    return folder


@pytest.fixture
def base(world):
    pair = ["--slm", str(world / "slm"), "--llm", str(world / "llm")]
    return ["calibrate", *pair, "--prompts", str(world / "prompts.txt"), "--max-new-tokens", "6"]


def _run(capsys, arguments):
    main([*arguments, "--json"])
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    return json.loads(shown)


def _refused(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    shown = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert shown[-1].startswith("cuhlm: ")
    assert sum(line.startswith("cuhlm: ") for line in shown) == 1
    return stop.value.code, shown[-1]


def test_it_writes_a_trace_and_its_calibration_and_prints_the_fit(capsys, base, tmp_path):
    out = tmp_path / "new" / "pair"
    found = _run(capsys, [*base, "--out", str(out), "--seed", "4", "--temperature", "1.1"])
    names = sorted(path.name for path in out.iterdir())
    assert names[:1] + names[2:] == ["calibration.json", "llm", "slm"]
    (hybrid,) = (trace.read(out / name / "trace.parquet").header for name in names if "hybrid" in name)
    assert names[1] == hybrid.text == f"hybrid-{found['rounds'][0]['threshold']:g}"
    assert set(found["texts"]) == set(names) - {"calibration.json"}
    (promise,) = found["promises"]
    assert (promise["threshold"], promise["num_prompts"]) == (hybrid.threshold, 5)
    assert promise["bias"] < promise["bias_limit95"] <= 1.0
    for name in ESTIMATES:
        assert {name, f"{name}_ci95"} <= set(found)
    fitted = load(out)
    tokens = fitted.tokens
    assert tokens is not None
    assert found["num_tokens"] == len(tokens) == fitted.num_tokens
    assert found["num_prompts"] == fitted.num_prompts == 5
    assert found["slope"] == fitted.line.slope
    assert found["slope_ci95"] == list(fitted.ci95["slope"])
    assert found["slm_latency_s"] > 0.0
    assert found["llm_latency_s"] > 0.0
    assert found["trace"] == str(out / "slm" / "trace.parquet")
    assert found["calibration"] == str(out / "calibration.json")
    header = trace.read(out / "slm" / "trace.parquet").header
    assert (header.seed, header.temperature, header.max_new_tokens) == (4, 1.1, 6)
    assert header.command.split()[0] == "cuhlm"
    assert (fitted.vocab_size, fitted.temperature) == (header.vocab_size, 1.1)
    assert "slm and llm" in fitted.name
    u = trace.read(out / "slm" / "trace.parquet").columns["uncertainty"]
    assert fitted.uncertainty_quantile[0] == pytest.approx(u.min())


def test_texts_are_added_to_those_that_are_there(capsys, base, tmp_path):
    few = [*base, "--out", str(tmp_path), "--num-prompts", "4"]
    assert "must hold a text; record slm or llm" in _refused(capsys, [*few, "--writer", "hybrid"])[1]
    assert set(_run(capsys, [*few, "--texts", "llm,slm"])["texts"]) == {"slm", "llm"}
    found = _run(capsys, [*few, "--writer", "hybrid", "--threshold", "0.4"])
    assert list(found["texts"]) == ["slm", "llm", "hybrid-0.4"]
    assert found["rounds"] == []
    rounds = _run(capsys, [*few, "--texts", "hybrid", "--iterate", "--bias-budget", "0.2"])["rounds"]
    fitted = load(tmp_path)
    assert len(rounds) >= 2
    assert {f"hybrid-{one['threshold']:g}" for one in rounds[:-1]} | {"hybrid-0.4"} == {
        name for name in fitted.texts if "hybrid" in name
    }
    low, high = rounds[-1]["threshold_ci95"]
    assert low <= rounds[-2]["threshold"] <= high
    assert [one.threshold for one in fitted.promises] == sorted(
        float(name.removeprefix("hybrid-")) for name in fitted.texts if "hybrid" in name
    )


def test_what_was_recorded_is_fitted_without_a_model(capsys, base, tmp_path):
    out = tmp_path / "pair"
    made = _run(capsys, [*base, "--out", str(out), "--texts", "slm,llm", "--seed", "2"])
    (out / "calibration.json").rename(tmp_path / "before.json")
    found = _run(capsys, ["fit", str(out), "--seed", "2"])
    assert found["name"] == "pair"
    assert {
        k: v for k, v in made.items() if k not in ("name", "rounds", "missing_columns", "leaves_out")
    } == {k: v for k, v in found.items() if k != "name"}
    assert _run(capsys, ["fit", str(out), "--name", "mine"])["name"] == "mine"
    assert _run(capsys, ["fit", str(out)])["name"] == "mine"
    (tmp_path / "empty").mkdir()
    assert "must hold a text" in _refused(capsys, ["fit", str(tmp_path / "empty")])[1]


def test_every_text_must_be_the_one_that_was_fitted(capsys, base, tmp_path):
    for seed in ("1", "2"):
        _run(capsys, [*base, "--out", str(tmp_path / seed), "--texts", "slm,llm", "--seed", seed])
    (tmp_path / "2" / "llm" / "trace.parquet").replace(tmp_path / "1" / "llm" / "trace.parquet")
    with pytest.raises(ValueError, match=r"was fitted on another trace than .*fit again with `cuhlm fit`"):
        load(tmp_path / "1").text("llm")
    _run(capsys, ["fit", str(tmp_path / "1")])
    assert load(tmp_path / "1").text("llm") is not None


def test_the_same_seed_gives_the_same_fit_and_another_does_not(capsys, base, tmp_path):
    runs = [
        _run(capsys, [*base, "--out", str(tmp_path / str(i)), "--seed", seed])
        for i, seed in enumerate(("1", "1", "2"))
    ]
    fits = [{key: run[key] for key in (*ESTIMATES, "slope_ci95", "num_tokens")} for run in runs]
    assert fits[0] == fits[1]
    assert fits[0] != fits[2]


def test_the_first_prompts_are_used_and_a_table_is_printed(capsys, base, tmp_path):
    main([*base, "--out", str(tmp_path), "--num-prompts", "3", "--writer", "slm"])
    shown = capsys.readouterr().out
    assert "tokens of 3 prompts" in shown
    assert "slope" in shown
    assert "Wrote" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.json", "slm"]
    recorded = trace.read(tmp_path / "slm" / "trace.parquet")
    assert recorded.header.prompt_names == ("prompts.txt/1", "prompts.txt/2", "prompts.txt/3")
    np.testing.assert_array_equal(np.unique(recorded.columns["prompt"]), [0, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--num-prompts", "0"], "--num-prompts must lie in [1, 5], the prompts there are; got 0", 2),
        (["--num-prompts", "6"], "--num-prompts must lie in [1, 5], the prompts there are; got 6", 2),
        (["--max-new-tokens", "0"], "--max-new-tokens must be at least 1; got 0", 2),
        (["--temperature", "0"], "temperature must be positive; got 0", 2),
        (["--texts", "slm,gpt"], "texts must be among slm, llm, hybrid; got 'gpt'", 2),
        (["--threshold", "0.4", "--iterate"], "threshold must be given for hybrid text that is not iter", 2),
        (["--threshold", "0.4", "--writer", "llm"], "threshold must be given for hybrid text", 2),
        (["--threshold", "1.4"], "threshold must lie in [0, 1]; got 1.4", 2),
        (["--seed", "-1"], "seed must be at least 0; got -1", 2),
        (["--max-new-tokens", "60"], "must have at most 4 tokens", 2),
        (["--prompts", "nowhere.txt"], "prompts must be a file that exists; got 'nowhere.txt'", 2),
        (["--device", "tpu"], "device must be one of", 2),
        (["--pair", "smollm2"], "pair must not be given beside slm and llm", 2),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(capsys, base, tmp_path, arguments, message, code):
    out = tmp_path / "out"
    got, line = _refused(capsys, [*base, "--out", str(out), *arguments])
    assert got == code
    assert message in line
    assert not list(out.rglob("*.parquet"))
    assert not list(out.rglob("*.json"))


def test_an_empty_prompts_file_and_a_lone_model_are_refused(capsys, base, tmp_path):
    empty = tmp_path / "none.txt"
    empty.write_text("\n\n")
    assert (
        "must hold at least 1 prompt"
        in _refused(capsys, [*base, "--prompts", str(empty), "--out", str(tmp_path / "out")])[1]
    )
    code, line = _refused(capsys, ["calibrate", "--slm", "x", "--out", str(tmp_path / "out")])
    assert code == 2
    assert "slm and llm must be given together" in line
    assert not (tmp_path / "out").exists()


def test_tokenizers_that_differ_are_refused_with_the_place(capsys, base, world, tmp_path):
    other = tmp_path / "other"
    _save_model(other, 3, 1)
    _save_tokenizer(other, more=["extra"])
    place = base.index("--llm") + 1
    arguments = [*base[:place], str(other), *base[place + 1 :]]
    code, line = _refused(capsys, [*arguments, "--out", str(tmp_path / "out")])
    assert code == 2
    assert "extra" in line or "tokenizer" in line


def test_out_must_be_a_folder(capsys, base, tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    code, line = _refused(capsys, [*base, "--out", str(file)])
    assert code == 2
    assert "out must be a folder; got the file" in line
    assert file.read_text() == "kept"


def test_help_needs_no_torch():
    code = (
        "import sys\nfrom cuhlm_theory.cli import main\n"
        "try:\n    main(['calibrate', '--help'])\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules, 'pyarrow' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.split() == ["False", "False"]
    assert "Example: cuhlm calibrate" in done.stdout
