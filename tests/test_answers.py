"""The gate where logits enter, and caches that are tried: damaged, masked, recurrent, windowed models."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from calibration import collect, passes  # noqa: E402
from calibration.accuracy import log_likelihood  # noqa: E402
from calibration.answers import admit, keeps_prefix  # noqa: E402
from calibration.decoding import Clock, Settings, decode, decode_together  # noqa: E402
from calibration.pairs import Pair  # noqa: E402
from calibration.prompts import Prompt  # noqa: E402
from cuhlm_theory.errors import CuhlmError  # noqa: E402
from cuhlm_theory.parameters import Codec, Latency, Link, System  # noqa: E402
from cuhlm_theory.rejection import Line  # noqa: E402
from cuhlm_theory.schemes import SCHEMES  # noqa: E402
from tests import tiny  # noqa: E402

PROMPT = [5, 9, 13, 40, 77, 12, 90]
SMALL, LARGE = tiny.llama(seed=1), tiny.llama(seed=2)


def scheme(name):
    numbers = {"threshold": 0.5, "truncation_budget": 0.02, "offline_k": 8, "num_drafts": 3}
    numbers |= {"skip_rate": 0.4, "num_candidates": 8, "confidence": 0.05, "line": Line(0.8, -0.05)}
    return SCHEMES[name].given(numbers)


def setting(name, **more):
    return Settings(scheme=scheme(name), max_new_tokens=8, **more)


CLOCK = Clock(
    system=System(
        link=Link(bandwidth_hz=1e6, snr=10.0),
        codec=Codec(vocab_size=tiny.SIZE),
        latency=Latency(slm_s=0.01, llm_s=0.05),
    )
)


def decoded(slm, llm, name, *, measure=False, **more):
    return decode(
        (slm, llm), PROMPT, setting(name, **more), CLOCK, rng=np.random.default_rng(3), measure=measure
    )


def damaged(made, value, place=None):
    """Give a copy of a model a head that answers with ``value``, for every token or one."""
    found = tiny.llama(seed=9)
    found.load_state_dict(made.state_dict())
    if place is None:
        found.model.norm.weight.data[3] = value
    else:
        head = found.lm_head.forward
        fill = torch.zeros(tiny.SIZE)
        fill[place] = value
        found.lm_head.forward = lambda hidden: head(hidden) + fill
    return found


# --------------------------------------------------------------------------------------------------- the gate


@pytest.mark.parametrize(
    ("value", "what"),
    [(math.nan, r"not numbers \(nan\)"), (math.inf, r"infinite \(inf\)")],
)
def test_one_bad_logit_is_refused_with_model_and_context(value, what):
    logits = torch.zeros(2, 3, 5)
    logits[1, 1, 4] = value
    with pytest.raises(
        CuhlmError, match=rf"^llm gives logits that are {what} after 12 tokens that end in 7, 8;"
    ):
        admit(logits, 5, "llm", [[1, 2, 3], [7, 8, 9]], [10, 10])
    assert admit(logits, 4, "llm", [[1, 2, 3], [7, 8, 9]]).shape == (
        2,
        3,
        4,
    )  # in the padding it harms nobody


def test_all_minus_infinity_leaves_no_token():
    logits = torch.full((1, 1, 5), -math.inf)
    with pytest.raises(CuhlmError, match=r"slm gives logits that are all -inf \(-inf\) after 1 tokens"):
        admit(logits, None, "slm", [[4]])
    logits[0, 0, 2] = 0.0
    assert torch.equal(admit(logits, None, "slm", [[4]]), logits)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("side", ["slm", "llm"])
@pytest.mark.parametrize("name", list(SCHEMES))
def test_no_scheme_decodes_with_a_damaged_model(name, side, temperature):
    bad = damaged(SMALL, math.nan)
    pair = (bad, LARGE) if side == "slm" else (SMALL, bad)
    rules = scheme(name)
    if (side == "slm" and not rules.draft.present) or (side == "llm" and name == "slm"):
        assert decoded(*pair, name, temperature=temperature).tokens  # that model is not asked
        return
    with pytest.raises(CuhlmError, match=rf"^{side} gives logits that are not numbers \(nan\) after"):
        decoded(*pair, name, temperature=temperature)
    with pytest.raises(CuhlmError, match=rf"^{side} gives logits that are not numbers"):
        decode_together(
            pair, [PROMPT, PROMPT[:3]], setting(name), CLOCK, rngs=[np.random.default_rng(i) for i in (0, 1)]
        )


def pair_of(slm, llm, **more):
    told = {"tokenizer": tiny.tokenizer(), "slm_id": "a", "llm_id": "b", "slm_sha256": "1", "llm_sha256": "2"}
    return Pair(slm=slm, llm=llm, vocab_size=tiny.SIZE, **told | more)


@pytest.mark.parametrize("writer", ["slm", "llm", "hybrid"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_recording_stops_at_the_first_bad_logit_and_leaves_no_trace(tmp_path, writer, value):
    chosen = collect.Settings(max_new_tokens=4, writer=writer, threshold=0.5 if writer == "hybrid" else None)
    pair = pair_of(SMALL, damaged(LARGE, value, 7))
    with pytest.raises(CuhlmError, match=r"^llm gives logits that are"):
        collect.collect(pair, [Prompt("p", "why")], chosen, tmp_path)
    assert not (tmp_path / "trace.parquet").exists()


def test_timing_and_judging_refuse_a_damaged_model():
    bad = damaged(LARGE, math.nan)
    with pytest.raises(CuhlmError, match=r"LlamaForCausalLM gives logits that are not numbers"):
        passes.time_passes(bad, widths=[1, 2], contexts=[4], num_repeats=1)
    with pytest.raises(CuhlmError, match="llm gives logits that are not numbers"):
        log_likelihood(bad, PROMPT, [[1, 2]])


@pytest.mark.parametrize("name", list(SCHEMES))
def test_minus_infinity_is_probability_zero_in_every_scheme(name):
    masked = [damaged(one, -math.inf, slice(100, None)) for one in (SMALL, LARGE)]
    tiny_numbers = [damaged(one, -1e30, slice(100, None)) for one in (SMALL, LARGE)]
    found, wanted = (decoded(*two, name, measure=True) for two in (masked, tiny_numbers))
    assert found.tokens == wanted.tokens
    assert max(found.tokens) < 100
    for column, values in found.columns.items():
        if not column.endswith("measured_s"):
            np.testing.assert_array_equal(values, wanted.columns[column])


@pytest.mark.parametrize("writer", ["slm", "llm", "hybrid"])
def test_masked_tokens_are_recorded_as_those_of_no_probability(writer):
    rng = np.random.default_rng(0)
    small, large = rng.normal(0.0, 2.0, (2, 4, 30)).astype(np.float32)
    chosen = collect.Settings(writer=writer, threshold=0.5 if writer == "hybrid" else None)
    columns = []
    for low in (-np.inf, -1e30):
        z, w = small.copy(), large.copy()
        z[:, 20:] = w[:, 20:] = low
        drafts = {"draft": np.array([1, 2, 3, 4])} if writer == "hybrid" else {}
        told = np.array([1, 5, 3, 8])
        columns.append(collect.describe(z, w, told, chosen, np.random.default_rng(1), **drafts))
    for key, values in columns[0].items():
        np.testing.assert_array_equal(values, columns[1][key], err_msg=key)
        assert np.isfinite(values).all()


def test_the_same_model_on_both_sides_rejects_nothing(tmp_path):
    from calibration import trace

    pair = pair_of(SMALL, SMALL)
    chosen = collect.Settings(max_new_tokens=12, batch_size=3)
    prompts = [
        Prompt(str(i), text) for i, text in enumerate(["why", "the quick brown", "is the sky blue", "x"])
    ]
    found = trace.read(collect.collect(pair, prompts, chosen, tmp_path))
    assert not found.columns["rejection"].any()


# ----------------------------------------------------------------------------------------------------- caches


RECURRENT = [tiny.mamba, tiny.rwkv, tiny.lfm2]
WINDOWED = [tiny.mistral, tiny.gemma3]


@pytest.mark.parametrize("make", [tiny.llama, *WINDOWED, *RECURRENT])
def test_greedy_text_is_that_of_transformers(make):
    made = make(seed=2)
    assert keeps_prefix(made) == (make not in RECURRENT)
    with torch.inference_mode():
        wanted = made.generate(
            torch.tensor([PROMPT]), do_sample=False, max_new_tokens=8, eos_token_id=None, pad_token_id=0
        )
    for name in ("llm", "dsd", "cu-hlm-exact"):
        found = decoded(SMALL, made, name, temperature=0.0)
        if name != "cu-hlm-exact":
            assert found.tokens == wanted[0, len(PROMPT) :].tolist()


@pytest.mark.parametrize("make", [*WINDOWED, *RECURRENT])
@pytest.mark.parametrize("name", ["hlm", "dsd", "verify-on-sync", "cu-hlm-exact"])
def test_every_pass_of_any_model_equals_one_that_reads_the_whole_text(make, name, monkeypatch):
    from calibration.decoding.session import CachedModel

    made, catch_up = make(seed=2), CachedModel.catch_up

    def checked(self, text, keep=1):
        logits = catch_up(self, text, keep)
        with torch.inference_mode():
            whole = self.model(torch.tensor([list(text)]), use_cache=False).logits[0, -keep:].numpy()
        np.testing.assert_allclose(logits, whole, atol=1e-4)
        return logits

    monkeypatch.setattr(CachedModel, "catch_up", checked)
    decoded(make(seed=1), made, name, measure=True)
    prompts, rngs = [PROMPT, PROMPT[:3]], [np.random.default_rng(i) for i in (0, 1)]
    found = decode_together((SMALL, made), prompts, setting(name), CLOCK, rngs=rngs)
    assert [len(one.tokens) for one in found] == [8, 8]


@pytest.mark.parametrize("make", WINDOWED)
def test_text_beyond_a_window_is_recorded_as_it_is_scored(tmp_path, make):
    from calibration import trace

    pair = pair_of(make(seed=1), make(seed=1))
    prompts = [Prompt(str(i), text) for i, text in enumerate(["why", "the quick brown fox", "is"])]
    chosen = collect.Settings(max_new_tokens=8, batch_size=3)
    found = trace.read(collect.collect(pair, prompts, chosen, tmp_path))
    assert found.columns["tv"].max() < 1e-4  # written with a cache, scored without


@pytest.mark.parametrize("make", RECURRENT)
def test_a_recurrent_state_is_not_recorded_or_timed(tmp_path, make):
    made = make(seed=1)
    with pytest.raises(CuhlmError, match="ForCausalLM keeps a recurrent state that cannot be rolled back"):
        collect.collect(pair_of(SMALL, made), [Prompt("p", "why")], collect.Settings(), tmp_path)
    with pytest.raises(CuhlmError, match="cannot be timed"):
        passes.time_passes(made, widths=[1, 2], contexts=[4], num_repeats=1)
    assert not list(tmp_path.iterdir())


def test_a_model_that_looks_ahead_is_refused():
    config = transformers.BertConfig(
        vocab_size=tiny.SIZE, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    ahead = transformers.BertLMHeadModel(config).eval()
    with torch.no_grad():
        ahead.bert.encoder.layer[0].attention.self.value.weight.mul_(40.0)
    with pytest.raises(
        CuhlmError, match="BertLMHeadModel looks at later tokens; use a causal language model"
    ):
        keeps_prefix(ahead)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_of_a_short_number_format_is_no_state(dtype):
    assert keeps_prefix(tiny.llama(seed=4).to(dtype))
    assert keeps_prefix(tiny.mistral(seed=4).to(dtype))
