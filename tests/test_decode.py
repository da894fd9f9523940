"""The decoder: caches that are exact, a law that is exact, costs that add up, refusals that are one line."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import chisquare

from calibration.decoding import (
    CONVENTIONS,
    Clock,
    Convention,
    Opening,
    ServerText,
    Settings,
    batch,
    decode,
    decode_together,
    laws,
    loop,
    records,
)
from calibration.decoding.session import CachedModel, drive
from calibration.decoding.stage import Stage
from cuhlm_theory import truncation, verification
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError, MissingInputError
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import NEVER_SKIP, SCHEMES, KeepShare
from cuhlm_theory.schemes.draft import UntilRisky, UntilRiskyOrTrigger
from cuhlm_theory.schemes.payload import round_to_lattice
from cuhlm_theory.schemes.skip import Below

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SINGLE = [name for name, row in SCHEMES.items() if not row.draft.several]
MULTI = [name for name, row in SCHEMES.items() if row.draft.several]
EXACT = ["llm", "hlm", *(name for name in MULTI if SCHEMES[name].verification.exact)]
FINE_BITS = 44  # so many that what a law loses on its way down does not show
PROMPT = [1, 2, 0]
CACHE_ROUNDING = 5e-5  # of float32 logits that are summed in another order; 2e-5 fails by 2e-8 on some CPUs


def tiny(seed: int, vocab: int, layers: int) -> Any:
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=vocab,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=48,
        initializer_range=0.6,
    )
    return transformers.LlamaForCausalLM(config).eval()


def tiny_mistral(seed: int) -> Any:
    """Make a model that looks through a window of 4 tokens, so that texts cannot share its passes."""
    torch.manual_seed(seed)
    config = transformers.MistralConfig(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=48,
        initializer_range=0.6,
        sliding_window=4,
    )
    return transformers.MistralForCausalLM(config).eval()


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    return tiny(1, 12, 1), tiny(2, 12, 2)


@pytest.fixture(scope="module")
def small_pair() -> tuple[Any, Any]:
    return tiny(3, 3, 1), tiny(4, 3, 2)


def system(vocab: int, prob_bits: int = 8, **latency: Any) -> System:
    return System(
        link=Link(bandwidth_hz=1e3, snr=3.0),
        codec=Codec(vocab_size=vocab, prob_bits=prob_bits),
        latency=Latency(**({"slm_s": 0.01, "llm_s": 0.1} | latency)),
    )


NUMBERS = {
    "threshold": 0.6,
    "skip_rate": 0.4,
    "line": Line(0.8, -0.05),
    "offline_k": 3,
    "truncation_budget": 0.2,
    "num_drafts": 2,
    "num_candidates": 2,
    "lattice_levels": 9,
    "confidence": 0.6,
    "max_drafts": 2,
}


def setting(scheme: str, convention: Convention | None = None, **numbers: Any) -> Settings:
    return Settings(
        scheme=SCHEMES[scheme].given(NUMBERS | numbers),
        temperature=0.9,
        max_new_tokens=12,
        convention=convention or Convention(),
    )


def full_logits(model: Any, text: Sequence[int]) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.tensor([list(text)])).logits[0].double().numpy()


# ----------------------------------------------------------------------------------------------------- caches


@budget(max_examples=20)
@given(
    steps=st.lists(
        st.one_of(
            st.lists(st.integers(0, 11), min_size=1, max_size=5),  # skipped or drafted tokens, then a pass
            st.integers(0, 6),  # tokens to roll back
        ),
        max_size=12,
    )
)
def test_cached_logits_equal_a_full_pass_after_any_skips_acceptances_and_rollbacks(pair, steps):
    session, text = CachedModel(pair[1]), list(PROMPT)
    for step in [[], *steps]:
        if isinstance(step, int):
            text = text[: max(len(text) - step, 1)]
            session.rollback(len(text) - 1)
            text[-1] = (text[-1] + 1) % 12  # the server's own token takes the place of the rejected one
        else:
            text = (text + step)[:48]
        fed = len(text) - len(session.held)
        if fed == 0:
            continue
        np.testing.assert_allclose(
            session.catch_up(text, keep=fed), full_logits(pair[1], text)[-fed:], atol=CACHE_ROUNDING
        )
        assert session.held == text


class Watched(CachedModel):
    """Checks every pass of a real decoding against a pass without a cache."""

    def catch_up(self, text: Sequence[int], keep: int = 1) -> np.ndarray:
        assert list(text[: len(self.held)]) == self.held
        logits = super().catch_up(text, keep)
        np.testing.assert_allclose(logits, full_logits(self.model, text)[-keep:], atol=CACHE_ROUNDING)
        return logits


def run(
    sessions: tuple[Any, Any], chosen: Settings, draws: laws.Draws, *, measure: bool, stop=(), prob_bits=8
) -> Stage:
    here = system(sessions[1].vocab_size, prob_bits)
    told = {"scheme": chosen.scheme, "system": here}
    stage = Stage(PROMPT, chosen.max_new_tokens, stop, measure=measure, **told)
    opening, _ = Opening.of(PROMPT, chosen, here.codec, np.random.default_rng(0))
    server = ServerText(opening, sessions[1], draws)
    drive(loop(sessions[0], server, chosen, Clock(system=here), draws, stage))
    return stage


@pytest.mark.parametrize("bonus", [None, True])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_pass_of_every_scheme_equals_one_without_a_cache(pair, scheme, bonus):
    chosen = setting(scheme, Convention(bonus=bonus))
    for seed in range(1):
        sessions = Watched(pair[0], 12), Watched(pair[1], 12)
        stage = run(sessions, chosen, laws.Draws(np.random.default_rng(seed)), measure=True)
        assert len(stage.text) == len(PROMPT) + 12
        assert not np.isnan([row["tv"] for row in stage.rows]).any()


@pytest.mark.parametrize("scheme", ["cu-hlm-exact", "verify-on-sync"])
def test_decodings_in_step_say_what_each_says_alone(pair, scheme):
    prompts = [PROMPT, [4, 5], [6, 7, 8, 9, 10, 11]]
    clock, stop = Clock(system=system(12)), [2]
    rngs = [np.random.default_rng(row) for row in range(3)]
    found = decode_together(pair, prompts, setting(scheme), clock, rngs=rngs, stop_tokens=stop)
    for row, prompt in enumerate(prompts):
        rng = np.random.default_rng(row)
        alone = decode(pair, prompt, setting(scheme), clock, rng=rng, stop_tokens=stop)
        assert found[row].tokens == alone.tokens
        np.testing.assert_allclose(found[row].columns["tv"], alone.columns["tv"], atol=1e-5)


@budget(max_examples=15)
@given(st.integers(0, 10**6))
def test_a_shared_batch_gives_each_row_the_logits_of_a_full_pass(pair, seed):
    rng = np.random.default_rng(seed)
    model = batch.RowModel(pair[1], 4, 30, 12)
    texts: list[list[int]] = [[] for _ in range(4)]
    for _ in range(5):
        rows = [row for row in range(4) if rng.random() < 0.7] or [0]
        for row in rows:  # roll some back
            cut = int(rng.integers(0, 3))
            texts[row] = texts[row][: max(len(texts[row]) - cut, 0)]
            model.length[row] = len(texts[row])
        new = [rng.integers(0, 12, rng.integers(1, 5)).tolist() for _ in rows]
        keep = min(map(len, new))
        logits = model.feed(rows, new, keep)
        for row, more, found in zip(rows, new, logits, strict=True):
            texts[row] += more
            np.testing.assert_allclose(found, full_logits(pair[1], texts[row])[-keep:], atol=CACHE_ROUNDING)


def test_a_pass_that_fails_leaves_every_row_as_it_was(pair):
    model = batch.RowModel(pair[1], 2, 30, 12)
    rows = [batch.RowSession(model, row) for row in range(2)]
    texts = [[1, 2], [3]]
    batch.make_pass([(session, text, 1) for session, text in zip(rows, texts, strict=True)])
    with pytest.raises(IndexError):
        batch.make_pass([(rows[0], [1, 2, 5], 1), (rows[1], [3, 99], 1)])  # a token that is none
    np.testing.assert_array_equal(model.length, [2, 1])
    for session, text in zip(rows, texts, strict=True):
        assert session.held == text
        found = session.catch_up([*text, 7])
        np.testing.assert_allclose(found, full_logits(pair[1], [*text, 7])[-1:], atol=CACHE_ROUNDING)


def test_models_that_cannot_share_a_pass_decode_the_prompts_one_by_one(pair):
    windowed = tiny_mistral(5)
    assert batch.takes_rows(pair[0])
    assert not batch.takes_rows(windowed)
    prompts, rngs = [PROMPT, [4, 5]], [np.random.default_rng(row) for row in range(2)]
    chosen, clock = setting("u-hlm"), Clock(system=system(12))
    told = {"stop_tokens": [2], "measure": False}
    found = decode_together((pair[0], windowed), prompts, chosen, clock, rngs=rngs, **told)
    for row, prompt in enumerate(prompts):
        rng = np.random.default_rng(row)
        alone = decode((pair[0], windowed), prompt, chosen, clock, rng=rng, **told)
        assert found[row].tokens == alone.tokens
        for name, column in alone.columns.items():
            if "measured" not in name:
                np.testing.assert_array_equal(found[row].columns[name], column)


def test_a_text_longer_than_the_context_is_refused(pair):
    with pytest.raises(ValueError, match="fit the context of 48 tokens; got 49"):
        CachedModel(pair[0]).catch_up([1] * 49)
    with pytest.raises(ValueError, match="fit the 30 tokens of a row; got 31"):
        batch.RowSession(batch.RowModel(pair[0], 1, 30), 0).catch_up([1] * 31)


@pytest.mark.parametrize("keep", [0, 3])
def test_more_logits_than_tokens_that_are_fed_are_refused(pair, keep):
    for session in (CachedModel(pair[0]), batch.RowSession(batch.RowModel(pair[0], 1, 30), 0)):
        session.catch_up([1, 2])
        with pytest.raises(ValueError, match=rf"keep must lie in \[1, 2\], the tokens to feed; got {keep}"):
            session.catch_up([1, 2, 3, 4], keep)
        assert len(session.catch_up([1, 2, 3, 4], 2)) == 2


# ------------------------------------------------------------------------------------- the law of one context


def example_laws(seed: int, vocab: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, 1.5, vocab), softmax(rng.normal(0.0, 1.5, vocab))


class Fixed:
    """Stands for a cached model: the same logits after every text."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits, self.seconds = logits, 0.0

    def catch_up(self, text: Sequence[int], keep: int = 1) -> np.ndarray:
        return np.tile(self.logits, (keep, 1))

    def rollback(self, num_tokens: int) -> None: ...


def one_context(chosen: Settings, logits: np.ndarray, y: np.ndarray, num: int, seed: int) -> Stage:
    """Many rounds of one context, from request to reply."""
    sessions = Fixed(logits), Fixed(chosen.temperature * np.log(np.maximum(y, 1e-300)))
    here = system(len(y))
    chosen = replace(chosen, max_new_tokens=num)
    stage = Stage([0], num, (), measure=False, scheme=chosen.scheme, system=here)
    opening, own = Opening.of([0], chosen, here.codec, np.random.default_rng(seed))
    device, server = sessions[0], ServerText(opening, sessions[1])
    drive(loop(device, server, chosen, Clock(system=here), laws.Draws(own), stage))
    return stage


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_rounds_of_one_context_follow_the_exact_law_under_every_convention(convention):
    logits, y = example_laws(12)
    chosen = setting("cu-hlm-offline", replace(CONVENTIONS[convention], bonus=None))
    here = laws.Context(logits, chosen, system(6))
    rows = one_context(chosen, logits, y, 1000, seed=11).rows
    expected = laws.output(here, y)
    assert expected.sum() == pytest.approx(1.0)
    seen = np.bincount([row["token"] for row in rows], minlength=6)
    possible = expected > 0.0
    assert seen[~possible].sum() == 0
    assert chisquare(seen[possible], expected[possible] * 1000).pvalue > 1e-3
    skip_mass = here.draft_law @ here.skip()
    share = np.mean([row["action"] == records.SKIPPED for row in rows])
    assert share == pytest.approx(skip_mass, abs=4 * np.sqrt(skip_mass * (1 - skip_mass) / 1000) + 1e-12)


@pytest.mark.parametrize("scheme", ["kept-law", "kept-law-exact"])
def test_rounds_of_a_kept_law_follow_the_exact_law_where_uncertainties_are_drawn(scheme):
    logits, y = example_laws(12)
    chosen = setting(scheme, replace(CONVENTIONS["printed"], num_samples=3))
    here = laws.Context(logits, chosen, system(6))
    rows = one_context(chosen, logits, y, 1000, seed=11).rows
    expected = y if scheme == "kept-law-exact" else laws.output(here, y)
    seen = np.bincount([row["token"] for row in rows], minlength=6)
    assert chisquare(seen, expected * 1000).pvalue > 1e-3


def test_the_law_is_the_theory_s_where_the_theory_speaks():
    logits, y = example_laws(3)
    for scheme in ("slm", "hlm", "rand-hlm", "u-hlm", "cu-hlm-offline", "cu-hlm-exact"):
        here = laws.Context(logits, setting(scheme), system(6))
        x, size = here.x, here.kept_entries(np.array([0]))[0]
        np.testing.assert_allclose(x, laws.next_law(logits, 0.9), atol=1.0 / 255)
        sent = truncation.reconstruct(x, int(size)) if 0 < size < 6 else x
        expected = verification.output_law(x, y, skip=here.skip(), verify_with=sent)
        np.testing.assert_allclose(laws.output(here, y), expected, atol=1e-12)
    here = laws.Context(logits, setting("floor"), system(6))
    np.testing.assert_allclose(laws.output(here, y), verification.server_sampling_law(here.x, y, here.skip()))


@pytest.mark.parametrize("scheme", ["slm", "hlm", "rand-hlm", "u-hlm", "cu-hlm-offline", "cu-hlm-exact"])
def test_bias_is_within_risk_and_truncation(scheme):
    for seed in range(20):
        logits, y = example_laws(seed)
        here = laws.Context(logits, setting(scheme), system(6))
        draft = int(np.argmax(here.draft_law))
        facts = laws.measure(here, y, draft)
        assert facts["tv"] <= facts["risk"] + facts["truncation_tv"] + 1e-12
        if scheme in ("slm", "hlm", "rand-hlm", "u-hlm"):
            assert facts["tv"] == pytest.approx(facts["risk"], abs=1e-12)


def test_linspace_skips_by_the_law_of_its_own_temperatures():
    logits = example_laws(5)[0]
    convention = replace(CONVENTIONS["linspace"], num_samples=3)
    here = laws.Context(logits, setting("u-hlm", convention), system(6))
    chance = here.disagreement(np.arange(6))
    brute = np.zeros(6)
    for outcome in np.ndindex(2, 2, 2):
        if sum(outcome) / 3 <= 0.6:
            flips = np.array(outcome)[:, None]
            brute += np.prod(np.where(flips, chance, 1.0 - chance), axis=0)
    np.testing.assert_allclose(here.skip(), brute)
    some = np.array([3, 1, 3])
    np.testing.assert_allclose(here.drafts(some).draft_uncertainty(), chance.mean(axis=0)[some])


@pytest.mark.parametrize("temperatures", ["mean", "draws", "linspace"])
@pytest.mark.parametrize("at_threshold", [False, True])
def test_the_threshold_itself_transmits_only_by_convention(temperatures, at_threshold):
    convention = Convention(temperatures=temperatures, num_samples=4, transmit_at_threshold=at_threshold)
    logits = np.array([0.0, 0.0, 0.0, 0.0])  # u-bar is 3/4 for every token
    here = laws.Context(logits, setting("u-hlm", convention, threshold=0.75), system(4))
    draws = laws.Draws(np.random.default_rng(2))
    proposal = laws.propose(here, draws, 4000)
    at = np.abs(proposal.uncertainty - 0.75) < 1e-6
    assert at.any()
    assert np.all(proposal.skipped[at] == (not at_threshold))
    assert proposal.skipped.mean() == pytest.approx(float(here.draft_law @ here.skip()), abs=0.03)


def test_a_randomised_threshold_mixes_two():
    logits, y = example_laws(9)
    low, high = (laws.Context(logits, setting("u-hlm", threshold=t), system(6)).skip() for t in (0.5, 0.9))
    here = laws.Context(logits, setting("u-hlm", threshold=0.5, upper_threshold=0.9, mix=0.25), system(6))
    np.testing.assert_allclose(here.skip(), 0.75 * low + 0.25 * high)
    seen = [row["token"] for row in one_context(here.settings, logits, y, 1000, seed=4).rows]
    assert chisquare(np.bincount(seen, minlength=6), laws.output(here, y) * 1000).pvalue > 1e-3


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 40))
def test_lattice_laws_sum_to_one_on_the_lattice_and_stay_near(seed, size, levels):
    law = truncation.drop_tail(softmax(np.random.default_rng(seed).normal(0, 2, 8)), size)
    rounded = round_to_lattice(law, levels)
    assert rounded.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(rounded * levels, np.round(rounded * levels), atol=1e-9)
    assert np.all(law[rounded > 0] > 0)
    assert verification.total_variation(rounded, law) <= size / (4 * levels) + 1e-12


# ----------------------------------------------------------------------- the law of the loops, by enumeration


class Script(laws.Draws):
    """Takes given decisions, then the first of each; remembers what there was to choose from."""

    def __init__(self, decisions: Sequence[int]) -> None:
        self.decisions = list(decisions)
        self.trail: list[tuple[int, int]] = []  # choice, number of choices
        self.probability = 1.0

    def _choose(self, chances: Sequence[float]) -> int:
        place = len(self.trail)
        choice = self.decisions[place] if place < len(self.decisions) else 0
        self.trail.append((choice, len(chances)))
        self.probability *= chances[choice]
        return choice

    def token(self, law: np.ndarray, num: int = 1) -> np.ndarray:
        assert num == 1
        options = np.flatnonzero(law > 1e-14)
        return options[[self._choose(law[options] / law[options].sum())]]

    def event(self, probability: np.ndarray) -> np.ndarray:
        def happens(p: float) -> bool:
            return bool(p >= 1.0 - 1e-14 or (p > 1e-14 and self._choose([1.0 - p, p])))

        out = np.zeros(np.shape(probability), dtype=bool)
        for place, p in enumerate(np.ravel(probability)):
            out.flat[place] = happens(p)
            if out.ndim == 2 and out.flat[place]:
                break  # a run of drafts: what comes after its first rejection is never looked at
        return out


def outcomes(play: Any) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Every way a random procedure can go, with its probability."""
    decisions: list[int] = []
    while True:
        script = Script(decisions)
        result = play(script)
        yield script.probability, result
        trail = script.trail
        while trail and trail[-1][0] + 1 == trail[-1][1]:
            trail.pop()
        if not trail:
            return
        decisions = [choice for choice, _ in trail]
        decisions[-1] += 1


class Remembering:
    """Stands for a cached model: the logits of a real one, kept by text."""

    known: dict[tuple[int, ...], np.ndarray]

    def __init__(self, model: Any) -> None:
        self.model, self.vocab_size, self.seconds = model, model.config.vocab_size, 0.0
        self.known = {}

    def catch_up(self, text: Sequence[int], keep: int = 1) -> np.ndarray:
        ends = range(len(text) - keep + 1, len(text) + 1)
        for end in ends:
            if tuple(text[:end]) not in self.known:
                self.known[tuple(text[:end])] = full_logits(self.model, text[:end])[-1]
        return np.stack([self.known[tuple(text[:end])] for end in ends])

    def rollback(self, num_tokens: int) -> None: ...


def joint_law(step: Any, length: int, vocab: int) -> dict[tuple[int, ...], float]:
    """Law of the first tokens from the law of each, ``step(text)``."""
    law = {(): 1.0}
    for _ in range(length):
        law = {
            (*text, token): p * q
            for text, p in law.items()
            for token, q in enumerate(step([*PROMPT, *text]))
            if q > 0.0
        }
    return law


def enumerated(
    sessions: tuple[Any, Any], chosen: Settings, prob_bits: int = 8
) -> dict[tuple[int, ...], float]:
    found: dict[tuple[int, ...], float] = {}

    def play(draws: laws.Draws) -> tuple[int, ...]:
        stage = run(sessions, chosen, draws, measure=False, prob_bits=prob_bits)
        return tuple(stage.text[len(PROMPT) :])

    for probability, text in outcomes(play):
        found[text] = found.get(text, 0.0) + probability
    return found


def assert_same_law(found: dict[tuple[int, ...], float], expected: dict[tuple[int, ...], float]) -> None:
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-9)
    for text in found.keys() | expected.keys():
        assert found.get(text, 0.0) == pytest.approx(expected.get(text, 0.0), abs=1e-9), text


@pytest.mark.parametrize("scheme", SINGLE)
def test_two_tokens_of_a_single_draft_loop_follow_the_product_of_exact_laws(small_pair, scheme):
    sessions = Remembering(small_pair[0]), Remembering(small_pair[1])
    chosen = replace(setting(scheme), max_new_tokens=2)

    def step(text: list[int]) -> np.ndarray:
        y = laws.next_law(sessions[1].catch_up(text)[0], 0.9)
        if scheme == "llm":
            return y
        return laws.output(laws.Context(sessions[0].catch_up(text)[0], chosen, system(3)), y)

    assert_same_law(enumerated(sessions, chosen), joint_law(step, 2, 3))


@pytest.mark.parametrize("scheme", [*sorted({*EXACT} - {"asymspec"}), "verify-on-sync with bonus"])
def test_the_joint_law_of_exact_schemes_is_the_llm_s_own(small_pair, scheme):
    sessions = Remembering(small_pair[0]), Remembering(small_pair[1])
    length = 2 if scheme == "hlm" else 3
    chosen = replace(setting(scheme.split()[0], bonus="bonus" in scheme, offline_k=2), max_new_tokens=length)

    def step(text: list[int]) -> np.ndarray:
        return laws.next_law(sessions[1].catch_up(text)[0], 0.9)

    bits = FINE_BITS if chosen.scheme.verification.on_device else 8
    assert_same_law(enumerated(sessions, chosen, bits), joint_law(step, length, 3))


def test_the_likeliest_token_alone_may_stand_for_a_law(small_pair):
    sessions = Remembering(small_pair[0]), Remembering(small_pair[1])
    chosen = replace(setting("ids-only", greedy=True), max_new_tokens=2)
    law = joint_law(lambda text: laws.next_law(sessions[1].catch_up(text)[0], 0.9), 2, 3)
    assert_same_law(enumerated(sessions, chosen), law)
    table = decode(small_pair, PROMPT, chosen, Clock(system=system(3)), rng=np.random.default_rng(0)).columns
    for place, draft in enumerate(table["draft"]):
        if draft >= 0:
            logits = full_logits(small_pair[0], [*PROMPT, *table["token"][:place]])[-1]
            assert draft == np.argmax(logits)


MOVING = {"conformal_step": 0.5, "conformal_target": 0.1}


@pytest.mark.parametrize("start", [0.05, 0.4])
def test_the_joint_law_under_a_threshold_that_moves_is_the_llm_s_own(small_pair, start):
    sessions = Remembering(small_pair[0]), Remembering(small_pair[1])
    numbers = MOVING | {"conformal_start": start, "lattice_levels": 3}
    chosen = replace(setting("c-sqs", **numbers), max_new_tokens=3)
    law = joint_law(lambda text: laws.next_law(sessions[1].catch_up(text)[0], 0.9), 3, 3)
    assert_same_law(enumerated(sessions, chosen), law)


def test_the_threshold_follows_the_text_that_is_committed(pair):
    """Drafts after a rejection move nothing, nor does a token that the server adds."""
    rule = setting("c-sqs", **MOVING, conformal_start=0.2).scheme
    chosen = replace(setting("c-sqs"), scheme=rule)
    wanted = {records.ACCEPTED, records.RESAMPLED, records.SAMPLED}
    rngs = map(np.random.default_rng, range(20))
    tables = (decode(pair, PROMPT, chosen, Clock(system=system(12)), rng=rng).columns for rng in rngs)
    table = next(found for found in tables if wanted <= set(found["action"].tolist()))
    threshold = 0.2
    for place, size in enumerate(table["k"]):
        if table["draft"][place] < 0:
            continue
        law = laws.next_law(full_logits(pair[0], [*PROMPT, *table["token"][:place]])[-1], 0.9)
        above = max(int(np.sum(law >= threshold)), 1)
        assert size == np.count_nonzero(round_to_lattice(truncation.drop_tail(law, above), 9))
        threshold -= 0.5 * (1.0 - np.sort(law)[-above:].sum() - 0.1)


@pytest.mark.parametrize("survival", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("keeps", [Below(0.6), Below(0.5, 0.7, 0.3), KeepShare((0.5, 0.7), (0.8, 0.3))])
def test_shares_and_runs_that_end_by_their_survival_follow_the_llm(small_pair, keeps, survival):
    sessions = Remembering(small_pair[0]), Remembering(small_pair[1])
    rule = UntilRiskyOrTrigger(survival, Line(0.8, -0.05))
    scheme = SCHEMES["kept-law-exact"].keeping(keeps).drafting(rule)
    chosen = replace(setting("kept-law-exact"), scheme=scheme, max_new_tokens=2)
    law = joint_law(lambda text: laws.next_law(sessions[1].catch_up(text)[0], 0.9), 2, 3)
    assert_same_law(enumerated(sessions, chosen), law)


def test_shares_of_a_single_draft_follow_the_exact_law_and_have_the_bias_of_their_excess(small_pair):
    sessions = Remembering(small_pair[0]), Remembering(small_pair[1])
    scheme = SCHEMES["kept-law"].keeping(KeepShare((0.5, 0.7), (0.8, 0.3)))
    chosen = replace(setting("kept-law"), scheme=scheme, max_new_tokens=1)
    here = laws.Context(sessions[0].catch_up(PROMPT)[0], chosen, system(3))
    y = laws.next_law(sessions[1].catch_up(PROMPT)[0], 0.9)
    law = laws.output(here, y)
    assert_same_law(enumerated(sessions, chosen), {(token,): chance for token, chance in enumerate(law)})
    bias = verification.total_variation(law, y)
    assert bias == pytest.approx(np.maximum(here.kept - y, 0.0).sum(), abs=1e-12)
    excess = here.x @ scheme.skip.skips(here.drafts(y=y)).excess
    assert excess - 3 / 255 <= bias <= excess  # what is kept was rounded down


@pytest.mark.parametrize("survival", [0.6, 0.9])
def test_a_run_ends_with_the_draft_that_takes_its_survival_below_the_limit(pair, survival):
    scheme = SCHEMES["dssd"].drafting(UntilRisky(survival, Line(0.8, -0.05), adds_bonus=False))
    chosen = replace(setting("dssd"), scheme=scheme)
    table = decode(pair, PROMPT, chosen, Clock(system=system(12)), rng=np.random.default_rng(3)).columns
    last = np.append(np.diff(table["round"]) > 0, True)
    text = list(PROMPT)
    for drafted, whole in zip(table["drafted"][last][:-1], table["kept"][last][:-1], strict=True):
        rows = table["token"][len(text) - len(PROMPT) :][: int(whole)]
        chance = 1.0
        for place, token in enumerate(rows):
            logits = full_logits(pair[0], text)[-1]
            here = laws.Context(logits, chosen, system(12))
            chance *= 1.0 - float(Line(0.8, -0.05)(here.drafts(np.array([token])).draft_uncertainty())[0])
            assert (chance < survival) == (place + 1 == drafted)
            text.append(int(token))
        if whole < drafted:
            text.append(int(table["token"][len(text) - len(PROMPT)]))


def test_a_bonus_token_after_a_single_draft_follows_the_llm(small_pair):
    sessions = Remembering(small_pair[0]), Remembering(small_pair[1])
    chosen = replace(setting("hlm", Convention(bonus=True)), max_new_tokens=2)
    law = joint_law(lambda text: laws.next_law(sessions[1].catch_up(text)[0], 0.9), 2, 3)
    assert_same_law(enumerated(sessions, chosen), law)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", MULTI)
def test_a_hundred_thousand_sampled_rounds_of_several_drafts_follow_the_llm(small_pair, scheme):
    sessions = Remembering(small_pair[0]), Remembering(small_pair[1])
    chosen = replace(setting(scheme), max_new_tokens=2)
    draws = laws.Draws(np.random.default_rng(13))
    bits = FINE_BITS if chosen.scheme.verification.on_device else 8
    law = joint_law(lambda text: laws.next_law(sessions[1].catch_up(text)[0], 0.9), 2, 3)
    seen, rounds = dict.fromkeys(law, 0), 0
    while rounds < 100_000:
        stage = run(sessions, chosen, draws, measure=False, prob_bits=bits)
        seen[tuple(stage.text[len(PROMPT) :])] += 1  # a text that the law excludes has no place here
        rounds += stage.rows[-1]["round"] + 1
    counts = np.array(list(seen.values()))
    expected = counts.sum() * np.array(list(law.values()))
    assert expected.min() > 1.0  # Cochran's rule
    assert np.mean(expected < 5.0) < 0.2
    assert chisquare(counts, expected).pvalue > 1e-3


def test_kept_runs_end_at_the_first_rejection():
    rng = np.random.default_rng(5)
    x = np.tile([0.5, 0.4, 0.8], (100_000, 1))
    y = np.tile([0.25, 0.4, 0.2], (100_000, 1))
    kept = laws.keep_runs(1.0 - verification.rejection_probability(x, y), laws.Draws(rng))
    expected = np.array([0.5, 0.0, 0.5 * 0.75, 0.5 * 0.25])
    np.testing.assert_allclose(np.bincount(kept, minlength=4) / 1e5, expected, atol=0.01)


# ---------------------------------------------------------------------------------- a decoding and its record


def decoded(pair: tuple[Any, Any], scheme: str, seed: int = 0, **changes: Any) -> Any:
    chosen = replace(setting(scheme), **changes)
    return decode(pair, PROMPT, chosen, Clock(system=system(12)), rng=np.random.default_rng(seed))


@pytest.mark.parametrize("scheme", ["cu-hlm-online", "c-sqs", "verify-on-sync"])
def test_the_same_seed_gives_the_same_text_and_another_seed_another(pair, scheme):
    first, again, other = decoded(pair, scheme), decoded(pair, scheme), decoded(pair, scheme, seed=1)
    assert first.tokens == again.tokens
    np.testing.assert_array_equal(first.columns["tv"], again.columns["tv"])
    assert first.tokens != other.tokens


@pytest.mark.parametrize("scheme", EXACT)
def test_greedy_exact_schemes_repeat_the_llm(pair, scheme):
    greedy = decoded(pair, "llm", temperature=0.0).tokens
    text = list(PROMPT)
    for _ in greedy:
        text.append(int(np.argmax(full_logits(pair[1], text)[-1])))
    assert greedy == text[len(PROMPT) :]
    assert decoded(pair, scheme, temperature=0.0).tokens == greedy


def test_the_slm_alone_sends_nothing_and_is_judged_against_the_llm(pair):
    table = decoded(pair, "slm").columns
    assert np.all(table["action"] == records.SKIPPED)
    assert table["uplink_bit"].sum() == table["llm_calls"].sum() == 0
    assert table["latency_s"] == pytest.approx(0.01)
    text = list(PROMPT)
    for token, tv in zip(table["token"], table["tv"], strict=True):
        x, y = (laws.next_law(full_logits(model, text)[-1], 0.9) for model in pair)
        assert tv == pytest.approx(float(verification.total_variation(x, y)), abs=1e-4)
        text.append(int(token))


def test_costs_of_a_single_draft_add_up(pair):
    base = system(12, round_trip_s=0.03, llm_per_token_s=0.002, downlink_bit_per_s=1e4)
    charged = replace(base, latency=replace(base.latency, charge_resync=True))
    chosen = setting("cu-hlm-offline")
    table = decode(pair, PROMPT, chosen, Clock(system=charged), rng=np.random.default_rng(3)).columns
    skipped = table["action"] == records.SKIPPED
    assert 0 < skipped.sum() < 12
    assert np.all(table["latency_s"][skipped] == np.float32(0.01))
    runs = np.diff(np.flatnonzero(np.concatenate(([True], ~skipped)))) - 1
    np.testing.assert_array_equal(table["catch_up"][~skipped], runs)
    bits = 3 * (8 + 4) + 4 + 4 * runs  # the draft is named beside its law
    np.testing.assert_allclose(table["uplink_bit"][~skipped], bits)
    expected = 0.01 + packet_latency_s(base.link, bits) + 0.1 + 0.002 * runs + 0.03 + 4 / 1e4
    np.testing.assert_allclose(table["latency_s"][~skipped], expected, rtol=1e-6)


def test_costs_of_several_drafts_sit_on_the_last_token_of_the_round(pair):
    table = decoded(pair, "dssd").columns
    last = np.append(np.diff(table["round"]) > 0, True)
    assert np.all(table["latency_s"][~last] == 0.0)
    assert np.all(table["llm_calls"] == last)
    replaced = np.append(
        False, (table["action"] == records.RESAMPLED)[:-1]
    )  # of which the server must be told
    begins = np.append(True, last[:-1])
    told = np.zeros(len(last))
    told[last] = replaced[begins]
    np.testing.assert_allclose(table["uplink_bit"], table["drafted"] * (8 + 4) + 4 * told)
    full = (table["kept"] == table["drafted"])[last]
    np.testing.assert_allclose(table["downlink_bit"][last][~full], 12 * 8)
    assert table["kept"].sum() == (table["action"] == records.ACCEPTED).sum()


def test_measured_compute_replaces_the_nominal_one(pair):
    clock = Clock(system=system(12), measured=True)
    table = decode(pair, PROMPT, setting("hlm"), clock, rng=np.random.default_rng(0)).columns
    np.testing.assert_array_equal(table["slm_s"], table["slm_measured_s"])
    assert np.all(table["llm_s"] > 0.0)


@pytest.mark.parametrize("measured", [False, True])
def test_no_pass_reads_again_and_a_measured_one_reads_no_prompt(measured):
    models, widths = (tiny(1, 12, 1), tiny(2, 12, 2)), ([], [])
    for model, seen in zip(models, widths, strict=True):
        CachedModel(model)  # tries whether it keeps a prefix
        model.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0].shape[1]))
    prompt, clock = [1, 2, 0, 4, 5], Clock(system=system(12), measured=measured)
    decode(models, prompt, setting("hlm"), clock, rng=np.random.default_rng(0))
    first = [len(prompt) - 1, 1] if measured else [len(prompt)]
    for seen in widths:
        assert seen == first + [1] * 11


def test_rounds_of_verify_on_sync_end_where_cu_hlm_would_transmit(pair):
    table = decoded(pair, "verify-on-sync").columns
    kept = table["action"] == records.ACCEPTED
    last = np.append(np.diff(table["round"]) > 0, True)
    assert np.all(table["uncertainty"][kept & ~last] <= np.float32(0.6))
    assert np.all((table["tv"] > 0.0) & (table["tv"] <= 12 / (4 * 255)))  # the law that comes down is rounded
    fine = Clock(system=system(12, FINE_BITS))
    table = decode(pair, PROMPT, setting("verify-on-sync"), fine, rng=np.random.default_rng(0)).columns
    assert np.all(table["tv"] < 1e-12)


@pytest.mark.parametrize("scheme", ["slm", "llm", "u-hlm", "cu-hlm-exact", "c-sqs", "dssd", "verify-on-sync"])
def test_a_decoded_text_has_a_ledger_of_its_rounds(pair, scheme):
    found = decoded(pair, scheme)
    table, rounds = found.columns, found.ledger()
    assert len(rounds) == len(np.unique(table["round"]))
    assert rounds.tokens.sum() == 12
    for name in ("llm_calls", "uplink_bit", "downlink_bit", "slm_s", "uplink_s", "llm_s", "other_s"):
        assert getattr(rounds, name).sum() == pytest.approx(table[name].sum(dtype=float)), name
    assert rounds.drafts.sum() == table["drafted"].sum()
    assert rounds.bias.sum() == pytest.approx(table["tv"].sum(), abs=1e-6)
    assert rounds.seconds.sum() == pytest.approx(found.summary()["latency_s"])
    asks = rounds.llm_calls > 0.0
    assert np.all(rounds.llm_width[asks] >= np.maximum(rounds.drafts[asks], 1.0))
    assert np.all(rounds.llm_width[~asks] == 0.0)
    if scheme == "c-sqs":  # every draft of a round sends its entries, kept or not
        assert np.all(rounds.entries >= rounds.drafts)
        assert rounds.entries.sum() > table["k"].sum()
        assert found.summary()["k_mean"] == pytest.approx(rounds.entries.sum() / rounds.drafts.sum())


@pytest.mark.parametrize("scheme", ["hlm", "u-hlm", "rand-hlm", "cu-hlm-offline", "cu-hlm-exact", "floor"])
def test_the_rules_say_of_a_live_context_what_they_say_of_its_record(scheme):
    logits, y = example_laws(12)
    here = laws.Context(logits, setting(scheme), system(6))
    every = here.drafts(y=y)
    sizes = np.arange(1, 7)
    tokens = Tokens(
        uncertainty=here.disagreement(np.arange(6))[0],
        rejection=every.mean_rejection(),
        weight=here.draft_law / here.draft_law.sum(),
        k_grid=sizes,
        tv_profile=np.tile(truncation.tv_profile(here.x, sizes), (6, 1)),
    )
    rules = here.settings.scheme
    for name in ("transmit", "risk"):
        live, recorded = (getattr(rules.skip.skips(place, drafts=True), name) for place in (every, tokens))
        np.testing.assert_allclose(live, recorded, atol=1e-12)
    live, recorded = (rules.payload.carried(place, system(6), rules.skip) for place in (every, tokens))
    np.testing.assert_allclose(live.bit, recorded.bit)
    if recorded.size is not None:
        np.testing.assert_array_equal(live.size, recorded.size)
    if recorded.truncation_tv is not None:
        np.testing.assert_allclose(live.truncation_tv, recorded.truncation_tv, atol=1e-12)


def test_a_live_context_answers_the_questions_that_need_both_laws():
    logits, y = example_laws(12)
    here = laws.Context(logits, setting("floor"), system(6))
    every = here.drafts(y=y)
    k = np.array([1, 3, 6])
    expected = [1.0 - verification.total_variation(truncation.drop_tail(here.x, int(n)), y) for n in k]
    np.testing.assert_allclose(here.drafts(np.arange(3), y).acceptance_within(k), expected)
    server = verification.total_variation(laws.output(here, y), y)
    np.testing.assert_allclose(every.server_bias_at(0.6), server)
    assert np.all(every.largest_prob() == here.x.max())
    assert every.weight.sum() == pytest.approx(1.0)


def test_a_price_chooses_among_the_sizes_that_it_was_found_on():
    logits = example_laws(12)[0]
    chosen = setting("cu-hlm-exact", truncation_price_s=0.2, threshold=NEVER_SKIP)
    free = laws.Context(logits, chosen, system(6)).kept_entries(np.array([0]))[0]
    held = laws.Context(logits, replace(chosen, k_grid=(1, 6)), system(6)).kept_entries(np.array([0]))[0]
    assert free == 4
    assert held == 6


@pytest.mark.parametrize("scheme", ["u-hlm", "dssd"])
def test_who_listens_is_told_of_every_round_once(pair, scheme):
    told: list[list[Any]] = []
    found = decode(
        pair,
        PROMPT,
        setting(scheme),
        Clock(system=system(12)),
        rng=np.random.default_rng(0),
        on_rows=lambda rows: told.append([(row["round"], row["token"]) for row in rows]),
    )
    assert [token for rows in told for _, token in rows] == found.tokens
    assert [{number for number, _ in rows} for rows in told] == [{n} for n in range(len(told))]
    assert np.all(found.columns["link_measured_s"] == 0.0)  # there is no connection


@pytest.mark.parametrize("scheme", ["slm", "u-hlm", "cu-hlm-exact", "dssd"])
def test_what_is_not_measured_changes_no_text_and_has_no_number(pair, scheme):
    clock, told = Clock(system=system(12)), []
    for measure in (True, False):
        rng = np.random.default_rng(0)
        told.append(decode(pair, PROMPT, setting(scheme), clock, rng=rng, measure=measure))
    assert told[0].tokens == told[1].tokens
    drafted = told[0].columns["draft"] >= 0
    for name in ("tv", "skip_mass", "risk", "truncation_tv"):
        assert np.all(np.isfinite(told[0].columns[name]))
        assert np.all(np.isnan(told[1].columns[name][drafted])), name


def test_logits_that_are_no_numbers_are_told_with_the_text_before_them():
    model = tiny(2, 12, 2)
    session = CachedModel(model)  # tries whether it keeps a prefix
    session.catch_up(PROMPT)
    model.model.embed_tokens.weight.data[11] = np.nan
    words = r"^the model gives logits that are not numbers \(nan\) after 5 tokens that end in .*7, 11;"
    with pytest.raises(CuhlmError, match=words):
        session.catch_up([*PROMPT, 7, 11])


def test_a_session_that_forgets_reads_everything_again(pair):
    session, text = CachedModel(pair[1]), [*PROMPT, 4]
    session.catch_up(PROMPT)
    session.forget()
    assert session.held == []
    assert session.cache is not None
    assert session.cache.get_seq_length() == 0
    np.testing.assert_allclose(session.catch_up(text, 4), full_logits(pair[1], text), atol=CACHE_ROUNDING)
    assert session.cache.get_seq_length() == len(text)


def test_the_floor_of_single_drafts_is_told_of_the_schemes_that_it_bounds(pair):
    """The kept law names no draft, so that one bit may answer where the floor sends an index."""
    for scheme in SCHEMES:
        ratio = decoded(pair, scheme, max_new_tokens=4).ledger().outcome().floor_ratio
        bounded = scheme in SINGLE and scheme not in ("llm", "kept-law")
        assert (ratio is not None) == bounded, scheme
        assert ratio is None or ratio >= 1.0 - 1e-6


def test_a_stop_token_ends_the_text_inside_a_run(pair):
    free = decoded(pair, "dsd")
    stop = free.tokens[4]
    chosen = setting("dsd")
    clock = Clock(system=system(12))
    short = decode(pair, PROMPT, chosen, clock, rng=np.random.default_rng(0), stop_tokens=[stop])
    assert short.tokens[-1] == stop
    assert stop not in short.tokens[:-1]


def test_the_summary_has_the_contract_s_keys(pair):
    summary = decoded(pair, "u-hlm").summary()
    assert {
        "num_tokens",
        "skip_rate",
        "resample_rate",
        "uplink_bit_per_token",
        "latency_s",
        "throughput_token_per_s",
    } <= set(summary)
    assert summary["num_tokens"] == 12
    assert summary["throughput_token_per_s"] == pytest.approx(12 / summary["latency_s"])


def test_a_model_with_a_padded_head_decodes_over_the_shared_vocabulary(pair):
    wide = tiny(1, 16, 1)
    table = decode(
        (wide, pair[1]), PROMPT, setting("slm"), Clock(system=system(12)), rng=np.random.default_rng(0)
    ).columns
    assert table["token"].max() < 12


# --------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("prompt", "vocab", "message"),
    [
        ([], 12, "prompt must have at least 1 token; got 0"),
        ([1] * 40, 12, r"fit the context of 48 tokens; got 40 \+ 12"),
        (PROMPT, 13, "vocab_size must be at most 12, what both models score; got 13"),
    ],
)
def test_refuses_what_cannot_be_decoded(pair, prompt, vocab, message):
    with pytest.raises(ValueError, match=message):
        decode(pair, prompt, setting("hlm"), Clock(system=system(vocab)), rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheme": "hml"}, "scheme must be one of slm, llm"),
        (
            {"scheme": SCHEMES["cu-hlm-online"].using(line=Line(-0.1, 0.2))},
            "slope must be positive; got -0.1",
        ),
        ({"scheme": "hlm", "temperature": -1.0}, "temperature must be at least 0; got -1"),
        ({"scheme": "hlm", "max_new_tokens": 0}, "max_new_tokens must be at least 1; got 0"),
    ],
)
def test_refuses_settings_that_make_no_scheme(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(**changes)


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("rand-hlm", "skip_rate is not known; give --skip-rate or --calibration"),
        ("cu-hlm-online", "the line is not known; give --slope and --intercept, or --calibration"),
        ("dssd", "num_drafts is not known; give --num-drafts or --calibration"),
    ],
)
def test_refuses_a_scheme_whose_numbers_are_not_known(scheme, message):
    with pytest.raises(MissingInputError, match=message):
        Settings(scheme=scheme)


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (SCHEMES["cu-hlm-offline"].using(offline_k=13), r"offline_k must lie in \[1, 12\]; got 13"),
        (SCHEMES["tk-slt"].using(num_candidates=30, num_drafts=1), "num_candidates must lie in"),
    ],
)
def test_refuses_more_entries_than_tokens(pair, scheme, message):
    chosen, clock = Settings(scheme=scheme, max_new_tokens=4), Clock(system=system(12))
    with pytest.raises(ValueError, match=message):
        decode(pair, PROMPT, chosen, clock, rng=np.random.default_rng(0))
