"""Recording a trace: tiny random models against brute force, and what a run that stops leaves behind."""

import dataclasses
import itertools
import sys

import numpy as np
import pytest
from scipy.stats import chisquare

from calibration import collect, trace
from calibration.collect import Settings, describe, k_grid
from calibration.prompts import Prompt
from cuhlm_theory import truncation, uncertainty, verification
from cuhlm_theory._workers import Workers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s"]


@pytest.fixture(scope="module")
def pair():
    """Two random Llama models over 20 words; small logits, so that every token occurs."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    from calibration.pairs import Pair

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*WORDS, "."])}, unk_token="."))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token=".", unk_token=".")
    llama = []
    for depth in (1, 2):
        torch.manual_seed(depth)
        config = transformers.LlamaConfig(
            vocab_size=20,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=depth,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=None,
            eos_token_id=19,
            initializer_range=0.6,
        )
        llama.append(transformers.LlamaForCausalLM(config).eval().requires_grad_(False))
    return Pair(
        slm=llama[0],
        llm=llama[1],
        tokenizer=tokenizer,
        slm_id="tiny-1",
        llm_id="tiny-2",
        slm_sha256="1",
        llm_sha256="2",
        vocab_size=20,
    )


PROMPTS = [Prompt(f"p/{i}", text) for i, text in enumerate(["a b c", "d", "e f g h i j", "k l", "m n o p"])]
SETTINGS = Settings(max_new_tokens=7, batch_size=2, seed=3)


def _columns_but_latency(recorded):
    return {name: values for name, values in recorded.columns.items() if not name.endswith("latency_s")}


def _same(first, second):
    left, right = _columns_but_latency(first), _columns_but_latency(second)
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def recorded(pair, tmp_path_factory):
    out = tmp_path_factory.mktemp("trace") / "new" / "folder"
    return trace.read(collect.collect(pair, PROMPTS, SETTINGS, out, command="cuhlm calibrate"))


def test_each_prompt_is_answered_and_numbered_from_0(recorded):
    assert set(recorded.columns["prompt"]) == set(range(len(PROMPTS)))
    for prompt in range(len(PROMPTS)):
        position = recorded.columns["position"][recorded.columns["prompt"] == prompt]
        np.testing.assert_array_equal(position, np.arange(len(position)))
        assert 1 <= len(position) <= SETTINGS.max_new_tokens


def test_an_answer_ends_at_the_stop_token_and_keeps_it(recorded):
    columns = recorded.columns
    last = [np.flatnonzero(columns["prompt"] == prompt)[-1] for prompt in range(len(PROMPTS))]
    stopped = columns["draft"] == 19
    assert not np.any(np.delete(stopped, last))
    for row in last:
        assert stopped[row] or columns["position"][row] == SETTINGS.max_new_tokens - 1


def test_recorded_probabilities_are_those_of_the_models_run_alone_on_each_context(pair, recorded):
    columns = recorded.columns
    for prompt, given in enumerate(PROMPTS):
        rows = np.flatnonzero(columns["prompt"] == prompt)
        context = pair.tokenizer(given.text)["input_ids"]
        for row in rows:
            ids = torch.tensor([context])
            x, y = (
                (model(ids).logits[0, -1].double() / 0.7).softmax(-1).numpy()
                for model in (pair.slm, pair.llm)
            )
            draft = columns["draft"][row]
            assert columns["draft_prob"][row] == pytest.approx(x[draft], abs=1e-5)
            assert columns["llm_prob"][row] == pytest.approx(y[draft], abs=1e-5)
            assert columns["tv"][row] == pytest.approx(verification.total_variation(x, y), abs=1e-5)
            context.append(int(draft))


def test_text_of_the_large_model_is_its_own_and_its_drafts_follow_the_small_one(pair, tmp_path):
    many = [Prompt(f"p/{i}", "a b") for i in range(2000)]
    settings = Settings(max_new_tokens=2, batch_size=500, writer="llm")
    columns = trace.read(collect.collect(pair, many, settings, tmp_path)).columns
    ids = torch.tensor([pair.tokenizer("a b")["input_ids"]])
    x, y = ((model(ids).logits[0, -1].double() / 0.7).softmax(-1).numpy() for model in (pair.slm, pair.llm))
    first = columns["position"] == 0
    draft, kept = columns["draft"][first], columns["kept"][first] == 1.0
    assert chisquare(np.bincount(draft, minlength=20), 2000 * x).pvalue > 1e-3
    assert chisquare(np.bincount(draft[kept], minlength=20), kept.sum() * normalised(x, y)).pvalue > 1e-3
    share = 1.0 - verification.total_variation(x, y)
    assert kept.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 2000))
    np.testing.assert_allclose(columns["tv"][first], 1.0 - share, atol=1e-5)
    second = ~first
    laws = {}
    for token in range(20):
        ids = torch.tensor([[*pair.tokenizer("a b")["input_ids"], token]])
        laws[token] = [
            (model(ids).logits[0, -1].double() / 0.7).softmax(-1).numpy() for model in (pair.slm, pair.llm)
        ]
    distances = {token: float(verification.total_variation(*law)) for token, law in laws.items()}
    ended = y[19]
    expected = sum(y[token] * distances[token] for token in range(19)) / (1.0 - ended)
    error = columns["tv"][second].std() / np.sqrt(second.sum())
    assert columns["tv"][second].mean() == pytest.approx(expected, abs=4 * error + 1e-6)
    assert second.sum() == pytest.approx(2000 * (1 - ended), abs=4 * np.sqrt(2000 * ended * (1 - ended)))


HYBRID = dataclasses.replace(SETTINGS, writer="hybrid", threshold=0.8)


@pytest.fixture(scope="module")
def hybrid(pair, tmp_path_factory):
    return trace.read(collect.collect(pair, PROMPTS, HYBRID, tmp_path_factory.mktemp("hybrid")))


def test_both_models_of_hybrid_text_read_what_was_committed_before(pair, hybrid):
    columns = hybrid.columns
    for prompt, given in enumerate(PROMPTS):
        context = pair.tokenizer(given.text)["input_ids"]
        for row in np.flatnonzero(columns["prompt"] == prompt):
            ids = torch.tensor([context])
            x, y = (
                (model(ids).logits[0, -1].double() / 0.7).softmax(-1).numpy()
                for model in (pair.slm, pair.llm)
            )
            draft, token = columns["draft"][row], columns["token"][row]
            assert columns["draft_prob"][row] == pytest.approx(x[draft], abs=1e-5)
            assert columns["llm_prob"][row] == pytest.approx(y[draft], abs=1e-5)
            assert columns["kept"][row] == pytest.approx(1.0 - columns["rejection"][row], abs=1e-6)
            if columns["uncertainty"][row] <= HYBRID.threshold:
                assert token == draft
            context.append(int(token))
    asked = columns["uncertainty"] > HYBRID.threshold
    assert 0.2 < asked.mean() < 0.95  # both branches were taken
    assert np.any(columns["token"] != columns["draft"])


def test_hybrid_text_says_how_it_was_written(hybrid):
    assert (hybrid.header.writer, hybrid.header.threshold) == ("hybrid", 0.8)


def test_hybrid_text_that_keeps_every_draft_is_the_small_models(pair, recorded, tmp_path):
    settings = dataclasses.replace(HYBRID, threshold=1.0)
    columns = trace.read(collect.collect(pair, PROMPTS, settings, tmp_path)).columns
    for name in ("prompt", "draft", "token"):
        np.testing.assert_array_equal(columns[name], recorded.columns[name])
    np.testing.assert_allclose(columns["tv"], recorded.columns["tv"], atol=1e-5)
    np.testing.assert_array_equal(columns["token"], columns["draft"])


def test_interrupted_hybrid_text_goes_on_in_any_batches(pair, hybrid, tmp_path, monkeypatch):
    record = collect._record

    def stops(pair, batch, *rest):
        if batch[0] == 2:
            raise KeyboardInterrupt
        return record(pair, batch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(collect, "_record", stops)
        with pytest.raises(KeyboardInterrupt):
            collect.collect(pair, PROMPTS, HYBRID, tmp_path)
    assert _same(hybrid, trace.read(collect.collect(pair, PROMPTS, HYBRID, tmp_path)))
    whole = dataclasses.replace(HYBRID, batch_size=5)
    columns = trace.read(collect.collect(pair, PROMPTS, whole, tmp_path / "whole")).columns
    np.testing.assert_array_equal(columns["token"], hybrid.columns["token"])


@pytest.mark.parametrize("skipping", [(), (3,), (0, 2, 5), tuple(range(6))])
def test_a_token_of_hybrid_text_has_the_law_of_the_kept_law_rule(skipping):
    rng = np.random.default_rng(len(skipping))
    x, y = rng.dirichlet(np.ones(6), 2)
    skips = np.isin(np.arange(6), skipping)
    kept = x * skips
    spare = np.maximum(y - kept, 0.0)
    q = kept + (1.0 - kept.sum()) * spare / spare.sum()
    num = 20_000
    drawn = np.array([collect._keep_or_ask(x, y, skips, rng) for _ in range(num)])
    assert chisquare(np.bincount(drawn[:, 0], minlength=6), num * x).pvalue > 1e-3
    present = q > 0.0
    counts = np.bincount(drawn[:, 1], minlength=6)
    assert counts[~present].sum() == 0
    assert chisquare(counts[present], num * q[present]).pvalue > 1e-3
    bias = verification.total_variation(q, y)
    assert bias == pytest.approx(np.maximum(kept - y, 0.0).sum(), abs=1e-12)  # kept_law.converse


def test_hybrid_text_starts_with_the_law_of_the_kept_law_rule(pair, tmp_path):
    many = [Prompt(f"p/{i}", "a b") for i in range(300)]
    settings = Settings(max_new_tokens=1, batch_size=300, writer="hybrid", threshold=0.8)
    token = trace.read(collect.collect(pair, many, settings, tmp_path)).columns["token"]
    ids = torch.tensor([pair.tokenizer("a b")["input_ids"]])
    logits = pair.slm(ids).logits[0, -1].double().numpy()
    x, y = ((model(ids).logits[0, -1].double() / 0.7).softmax(-1).numpy() for model in (pair.slm, pair.llm))
    kept = np.where(uncertainty.mean_uncertainty(logits) <= 0.8, x, 0.0)
    assert 0.1 < kept.sum() < 0.9
    spare = np.maximum(y - kept, 0.0)
    q = kept + (1.0 - kept.sum()) * spare / spare.sum()
    assert chisquare(np.bincount(token, minlength=20), 300 * q).pvalue > 1e-3


def normalised(x, y):
    """Law of a kept draft."""
    return np.minimum(x, y) / np.minimum(x, y).sum()


def test_drafts_are_sampled_from_the_small_model(pair, tmp_path):
    many = [Prompt(f"p/{i}", "a b") for i in range(400)]
    settings = Settings(max_new_tokens=1, batch_size=200)
    got = trace.read(collect.collect(pair, many, settings, tmp_path)).columns["draft"]
    ids = torch.tensor([pair.tokenizer("a b")["input_ids"]])
    law = (pair.slm(ids).logits[0, -1].double() / 0.7).softmax(-1).numpy()
    counts = np.bincount(got, minlength=20)
    standard_error = np.sqrt(400 * law * (1 - law)) + 0.5
    assert np.all(np.abs(counts - 400 * law) < 4 * standard_error)


def test_the_same_seed_gives_the_same_trace_and_another_seed_another(pair, recorded, tmp_path):
    again = trace.read(collect.collect(pair, PROMPTS, SETTINGS, tmp_path / "again"))
    other = trace.read(
        collect.collect(pair, PROMPTS, dataclasses.replace(SETTINGS, seed=4), tmp_path / "other")
    )
    assert _same(recorded, again)
    assert not _same(recorded, other)


def test_the_batch_size_changes_nothing_but_rounding(pair, recorded, tmp_path):
    settings = dataclasses.replace(SETTINGS, batch_size=5)
    whole = trace.read(collect.collect(pair, PROMPTS, settings, tmp_path))
    np.testing.assert_array_equal(recorded.columns["draft"], whole.columns["draft"])
    np.testing.assert_allclose(recorded.columns["tv"], whole.columns["tv"], atol=1e-5)


def test_an_interrupted_run_goes_on_and_gives_the_same_trace(pair, recorded, tmp_path, monkeypatch):
    record = collect._record
    calls = []

    def interrupted(pair, batch, *rest):
        if batch[0] == 2 and "stopped" not in calls:
            calls.append("stopped")
            raise KeyboardInterrupt
        calls.append(batch[0])
        return record(pair, batch, *rest)

    monkeypatch.setattr(collect, "_record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect.collect(pair, PROMPTS, SETTINGS, tmp_path)
    assert not list(tmp_path.rglob("trace.parquet"))
    resumed = trace.read(collect.collect(pair, PROMPTS, SETTINGS, tmp_path))
    assert calls == [0, "stopped", 2, 4]  # the first batch is not run again
    assert _same(recorded, resumed)
    assert [path.name for path in (tmp_path / "slm").iterdir()] == ["trace.parquet"]


def test_two_processes_record_what_one_records(pair, recorded, tmp_path):
    made = collect.collect(pair, PROMPTS, SETTINGS, tmp_path, workers=Workers(jobs=2))
    assert _same(recorded, trace.read(made))
    for name in ("slm_latency_s", "llm_latency_s"):
        assert len(set(trace.read(made).columns[name])) == 1  # timed alone, before


def test_batches_of_another_run_are_not_taken_over(pair, recorded, tmp_path, monkeypatch):
    record = collect._record

    def stops(pair, batch, *rest):
        if batch[0] == 4:
            raise KeyboardInterrupt
        return record(pair, batch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(collect, "_record", stops)
        with pytest.raises(KeyboardInterrupt):
            collect.collect(pair, PROMPTS, dataclasses.replace(SETTINGS, seed=9), tmp_path)
    assert _same(recorded, trace.read(collect.collect(pair, PROMPTS, SETTINGS, tmp_path)))


def test_the_header_says_how_the_trace_was_made(recorded):
    header = recorded.header
    assert (header.slm, header.llm, header.slm_sha256, header.llm_sha256) == ("tiny-1", "tiny-2", "1", "2")
    assert (header.seed, header.temperature, header.vocab_size, header.dtype) == (3, 0.7, 20, "float32")
    assert header.prompt_names == tuple(prompt.name for prompt in PROMPTS)
    assert header.command == "cuhlm calibrate"
    assert header.versions["torch"] == torch.__version__
    assert header.printed_line == (0.815, -0.066)


def test_latencies_are_measured(recorded):
    for name in ("slm_latency_s", "llm_latency_s"):
        assert np.all((recorded.columns[name] > 0) & (recorded.columns[name] < 10))


def test_the_trace_is_what_the_theory_takes(recorded):
    tokens = recorded.tokens()
    assert len(tokens) == len(recorded)
    assert tokens.skip_mass.shape == (len(recorded), len(recorded.header.threshold_grid))
    assert tokens.k_grid[-1] == 20


@pytest.mark.parametrize("text", ["", " ".join(["a"] * 60)])
def test_refuses_a_prompt_that_does_not_fit(pair, tmp_path, text):
    with pytest.raises(ValueError, match=r"prompt bad must have at (least 1|most 57) token"):
        collect.collect(pair, [Prompt("bad", text)], SETTINGS, tmp_path)


def test_refuses_no_prompts(pair, tmp_path):
    with pytest.raises(ValueError, match="at least 1 prompt; got 0"):
        collect.collect(pair, [], SETTINGS, tmp_path)


def test_refuses_a_file_as_the_folder(pair, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="out must be a folder"):
        collect.collect(pair, PROMPTS, SETTINGS, tmp_path / "file")


@pytest.mark.parametrize(
    ("argument", "bad"),
    [("temperature", 0.0), ("temperature", np.nan), ("max_new_tokens", 0), ("seed", -1), ("batch_size", 0)],
)
def test_refuses_bad_settings(argument, bad):
    with pytest.raises(ValueError, match=argument):
        Settings(**{argument: bad})


@pytest.mark.parametrize("threshold", [None, -0.1, 1.1, np.nan])
def test_refuses_hybrid_text_without_a_threshold_that_is_one(threshold):
    with pytest.raises(ValueError, match="threshold must"):
        Settings(writer="hybrid", threshold=threshold)


def test_refuses_what_belongs_to_another_writer():
    with pytest.raises(ValueError, match="threshold must be given for hybrid text and no other"):
        Settings(writer="llm", threshold=0.5)
    with pytest.raises(ValueError, match="writer must be slm, llm or hybrid"):
        Settings(writer="both")
    z, w, draft = _logits(20)
    for settings, drawn in ((HYBRID, None), (SETTINGS, draft)):
        with pytest.raises(ValueError, match="draft must be given for hybrid text and no other"):
            describe(z, w, draft, settings, np.random.default_rng(0), draft=drawn)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are those of POSIX")
def test_a_file_that_does_not_fit_is_one_line_and_leaves_nothing(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # a disk with 10 kB left
    try:
        with pytest.raises(OSError, match=r"^cannot write .*batch.npz: File too large$"):
            collect._save(tmp_path / "batch.npz", {"draft": np.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------- the statistics


def _logits(vocab_size, num_tokens=40, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 3, (num_tokens, vocab_size)).astype(np.float32)
    w = (z + rng.normal(0, 1.5, z.shape)).astype(np.float32)
    z[0], w[0] = 0.0, 0.0  # uniform and equal
    z[1, 0], w[2, 0] = 60.0, 60.0  # nearly certain
    x = _law(z)
    draft = np.array([rng.choice(vocab_size, p=row) for row in x])
    return z, w, draft


def _law(logits, temperature=0.7):
    scaled = logits.astype(float) / temperature
    weight = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("vocab_size", [2, 3, 20, 300])
def test_every_column_agrees_with_the_theory_evaluated_directly(vocab_size):
    z, w, draft = _logits(vocab_size)
    got = describe(z, w, draft, Settings(), np.random.default_rng(0))
    x, y = _law(z), _law(w)
    u = uncertainty.mean_uncertainty(z)
    grid = k_grid(vocab_size)
    coarse = [k for k in (1, 4, 16, 30, 64, 256, 1024) if k < vocab_size] + [vocab_size]
    for i in range(len(draft)):
        d = draft[i]
        beta = np.maximum(0, 1 - y[i] / x[i])
        assert got["rejection"][i] == pytest.approx(beta[d] * (beta[d] >= 2e-5), abs=1e-12)  # else rounding
        assert got["tv"][i] == pytest.approx(x[i] @ beta, abs=1e-12)
        assert got["uncertainty"][i] == u[i, d]
        ordered = np.sort(x[i])[::-1]
        assert got["margin"][i] == pytest.approx(ordered[0] - ordered[1], abs=1e-12)
        assert got["entropy"][i] == pytest.approx(-(x[i] * np.log(np.maximum(x[i], 1e-300))).sum(), abs=1e-9)
        for column, k in enumerate(grid):
            assert got["tail_mass"][i, column] == pytest.approx(ordered[k:].sum(), abs=1e-12)
            assert got["sorted_prob"][i, column] == pytest.approx(ordered[k - 1], rel=1e-12)
            gap = truncation.truncation_tv(x[i], k)
            assert got["tv_profile"][i, column] == pytest.approx(float(gap), abs=1e-12)
        for column, k in enumerate(coarse):
            kept = truncation.drop_tail(x[i], k)
            overlap = 1 - verification.total_variation(kept, y[i])
            assert got["truncated_acceptance"][i, column] == pytest.approx(overlap, abs=1e-12)
            out = verification.output_law(x[i], y[i], verify_with=truncation.reconstruct(x[i], k))
            bias = verification.total_variation(out, y[i])
            assert got["output_bias"][i, column] == pytest.approx(float(bias), abs=1e-12)
        for column, threshold in enumerate(collect._THRESHOLDS):
            skip = (u[i] <= threshold).astype(float)
            assert got["skip_mass"][i, column] == pytest.approx(x[i] @ skip, abs=1e-12)
            assert got["skip_risk"][i, column] == pytest.approx((x[i] * beta) @ skip, abs=1e-12)
            served = verification.server_sampling_law(x[i], y[i], skip)
            bias = verification.total_variation(served, y[i])
            assert got["server_bias"][i, column] == pytest.approx(float(bias), abs=1e-12)


@pytest.mark.parametrize("vocab_size", [3, 20, 300])
def test_the_candidates_are_the_least_uncertain_tokens_and_tell_the_kept_law(vocab_size):
    z, w, draft = _logits(vocab_size)
    z, w, draft = z[1:], w[1:], draft[1:]  # without the row whose tokens are all alike
    got = describe(z, w, draft, Settings(), np.random.default_rng(0))
    x, y, u = _law(z), _law(w), uncertainty.mean_uncertainty(z)
    num = min(16, vocab_size)
    least = np.lexsort((-x, u))[:, :num]
    for name, law, beyond in (("uncertainty", u, 1.0), ("prob", x, 0.0), ("llm_prob", y, 0.0)):
        column = got[f"candidate_{name}"]
        assert column.shape == (len(z), 16)
        np.testing.assert_allclose(column[:, :num], np.take_along_axis(law, least, axis=1), rtol=1e-12)
        np.testing.assert_array_equal(column[:, num:], beyond)
    assert np.all(np.diff(got["candidate_uncertainty"]) >= 0.0)
    for threshold in (0.0, 0.3, 0.5, 0.8, 0.94):
        candidate = got["candidate_uncertainty"] <= threshold
        every = u <= threshold
        np.testing.assert_array_equal(candidate.sum(axis=1), every.sum(axis=1))
        kept = np.where(candidate, got["candidate_prob"], 0.0)
        np.testing.assert_allclose(kept.sum(axis=1), np.where(every, x, 0.0).sum(axis=1), atol=1e-12)
        bias = np.maximum(0.5 * kept - got["candidate_llm_prob"], 0.0).sum(axis=1)
        expected = np.maximum(np.where(every, 0.5 * x, 0.0) - y, 0.0).sum(axis=1)
        np.testing.assert_allclose(bias, expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_fast_order_is_that_of_a_stable_sort(dtype):
    rng = np.random.default_rng(0)
    z = rng.normal(0, 3, (50, 400)).astype(dtype).round(1)  # many are equal, some are zeros of either sign
    z[:, 7] = 300.0
    z[1] -= 400.0
    z[2] = 0.0
    order = collect._falling_order(z)
    np.testing.assert_array_equal(order, np.argsort(-z, axis=1, kind="stable"))
    assert np.any(np.signbit(z) & (z == 0.0))


def test_a_tail_that_holds_nothing_has_the_bias_of_the_theory():
    z, w, _ = _logits(20)
    z[:, 5:] = -3000.0
    got = describe(z, w, z.argmax(axis=1), Settings(), np.random.default_rng(0))
    for i, (x, y) in enumerate(zip(_law(z), _law(w), strict=True)):
        for column, k in enumerate((1, 4, 16, 20)):
            out = verification.output_law(x, y, verify_with=truncation.reconstruct(x, k))
            bias = float(verification.total_variation(out, y))
            assert got["output_bias"][i, column] == pytest.approx(bias, abs=1e-12)


def test_perturbed_draws_do_not_depend_on_the_precision_of_logits_or_the_temperature():
    z, w, _ = _logits(300)
    columns = []
    for dtype, temperature in ((np.float32, 0.7), (np.float64, 0.7), (np.float64, 0.01)):
        likeliest, settings = z.argmax(axis=1), Settings(temperature=temperature)
        got = describe(z.astype(dtype), w, likeliest, settings, np.random.default_rng(3))
        columns.append(got["sampled_uncertainty_100"])
    np.testing.assert_array_equal(columns[0], columns[1])
    np.testing.assert_array_equal(columns[0], columns[2])


def test_sampled_uncertainties_scatter_around_their_mean_binomially():
    z, w, draft = _logits(50, num_tokens=400, seed=2)
    got = describe(z, w, draft, Settings(), np.random.default_rng(5))
    for name, num_draws in (("_1", 1), ("_5", 5), ("", 20), ("_100", 100)):
        u, mean = got[f"sampled_uncertainty{name}"], got["uncertainty"]
        assert np.allclose(u * num_draws, np.round(u * num_draws))
        spread = np.sqrt(np.sum(mean * (1 - mean) / num_draws))
        assert abs(np.sum(u - mean)) < 4 * spread


def test_the_printed_rule_never_keeps_fewer_entries_than_the_exact_one():
    got = describe(*_logits(200), Settings(), np.random.default_rng(0))
    assert np.all(got["k_printed"] >= got["k_exact"])
    assert got["k_exact"].shape == (40, 5)
    assert all(np.all(a >= b) for a, b in itertools.pairwise(got["k_exact"].T))


@pytest.mark.parametrize("vocab_size", [2, 100, 49_152, 151_936])
def test_the_grid_of_sizes_holds_the_sizes_that_others_use_and_ends_with_all(vocab_size):
    grid = k_grid(vocab_size)
    assert grid[-1] == vocab_size
    assert list(grid) == sorted(set(grid))
    assert all(k in grid for k in (1, 2, 4, 8, 16, 30, 64, 256, 832, 1024) if k <= vocab_size)
    assert len(grid) <= 48
