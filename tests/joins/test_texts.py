"""Charges on the text of one law and another: derived, and found by walking every text of small chains."""

import itertools

import numpy as np
import pytest

from cuhlm_theory.texts import effective_texts, importance_ratio
from tests.joins.formula import derived, statement, value

VOCAB, LENGTH = 3, 4


def random_law(rng, num=VOCAB):
    """A law with some small entries."""
    return rng.dirichlet(np.full(num, 0.7))


def hybrid_law(x, y, keeps):
    """The law of hybrid text in one context, and the excess of what is kept."""
    m = np.where(keeps, x, 0.0)
    rest = np.maximum(y - m, 0.0)
    spread = rest / rest.sum() if rest.sum() > 0.0 else rest
    return m + (1.0 - m.sum()) * spread, np.maximum(m - y, 0.0).sum()


class Chain:
    """Two models on texts of a few tokens: laws and charge of every context, a context being a tuple."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.law, self.charge = {"x": {}, "y": {}, "q": {}}, {}
        for length in range(LENGTH):
            for context in itertools.product(range(VOCAB), repeat=length):
                y = random_law(rng)
                x = 0.5 * random_law(rng) + 0.5 * y
                q, excess = hybrid_law(x, y, rng.random(VOCAB) < 0.5)
                for name, law in (("x", x), ("y", y), ("q", q)):
                    self.law[name][context] = law
                self.charge[context] = excess

    def chance(self, writer, context):
        """Chance that a text of the writer begins like this."""
        parts = [self.law[writer][context[:n]][token] for n, token in enumerate(context)]
        return float(np.prod(parts))

    def charged(self, writer):
        """Mean charge of a whole text, by the chance of every beginning."""
        return sum(self.chance(writer, context) * charge for context, charge in self.charge.items())

    def worth(self, context):
        """Charges from a context on where the large model writes."""
        if len(context) == LENGTH:
            return 0.0
        after = [self.worth((*context, token)) for token in range(VOCAB)]
        return self.charge[context] + float(self.law["y"][context] @ after)

    def futures(self, context):
        """What each next token is worth."""
        return np.array([self.worth((*context, token)) for token in range(VOCAB)])

    def moved(self, context):
        """Sum of (q - y) times what the next token is worth."""
        return float((self.law["q"][context] - self.law["y"][context]) @ self.futures(context))

    @property
    def span(self):
        """Largest span of what the next tokens are worth."""
        return max(float(np.ptp(self.futures(context))) for context in self.charge)


@pytest.mark.parametrize("seed", range(20))
def test_the_charges_of_two_texts_differ_by_the_derived_sum(seed):
    chain = Chain(seed)
    local, _, _ = statement("texts.difference").claims
    by_place = np.zeros(LENGTH)
    for context, charge in chain.charge.items():
        worth, futures = chain.worth(context), chain.futures(context)
        a = float(chain.law["q"][context] @ futures)
        moved = value(local.rhs, a=a, v_c=worth, r=charge)
        assert moved == pytest.approx(chain.moved(context), abs=1e-12)
        by_place[len(context)] += chain.chance("q", context) * moved
    assert chain.charged("q") - chain.charged("y") == pytest.approx(by_place.sum(), abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_the_charge_of_hybrid_text_keeps_to_the_derived_bounds(seed):
    chain = Chain(seed)
    low, high = statement("texts.span_bound").claims
    hybrid, large, span = chain.charged("q"), chain.charged("y"), chain.span
    assert value(low.lhs, R_y=large, S=span) <= hybrid + 1e-12
    if span < 1.0:
        assert hybrid <= value(high.rhs, R_y=large, S=span) + 1e-12
    for context, charge in chain.charge.items():  # the charge is the bias itself
        q, y = chain.law["q"][context], chain.law["y"][context]
        assert 0.5 * np.abs(q - y).sum() == pytest.approx(charge, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_texts_part_at_most_as_fast_as_derived(seed):
    chain = Chain(seed)
    worst = max(chain.charge.values())
    bound = statement("texts.crude_bound").claims[0]
    apart = {(): 1.0}  # chance that both texts are still the same, by what they say
    for n in range(1, LENGTH + 1):
        apart = {
            (*context, token): chance * min(chain.law["q"][context][token], chain.law["y"][context][token])
            for context, chance in apart.items()
            for token in range(VOCAB)
        }
        assert 1.0 - sum(apart.values()) <= value(bound.rhs, N=n, epsilon=worst) + 1e-12


def test_a_hybrid_charge_lies_outside_as_derived():
    _, _, over_small, over_large = statement("texts.not_between").claims
    numbers = {"a": 0.9, "b": 0.5, "c": 0.9, "d": 0.1, "g": 0.8}
    charges = {}
    for writer, first, second in (("x", "a", "d"), ("y", "b", "c"), ("q", "a", "c")):
        charges[writer] = 0.4 + numbers[first] * numbers[second] * numbers["g"]
    laws = {"x": (0.9, 0.1), "y": (0.5, 0.9)}
    written, excess = [], []
    for n in range(2):
        x, y = (np.array([law[n], 1.0 - law[n]]) for law in laws.values())
        q, e = hybrid_law(x, y, np.array([True, False]))
        written.append(q[0])
        excess.append(e)
    assert written == pytest.approx([0.9, 0.9])
    assert excess == pytest.approx([0.4, 0.0])
    assert value(over_small.lhs, **numbers) == pytest.approx(charges["x"])
    assert value(over_large.lhs, **numbers) == pytest.approx(charges["y"])
    assert value(over_small.rhs, **numbers) == pytest.approx(charges["q"])
    assert charges["q"] > max(charges["x"], charges["y"])


@pytest.mark.parametrize("seed", range(30))
def test_the_ratio_is_the_derived_one(seed):
    rng = np.random.default_rng(seed)
    x, y, s = random_law(rng, 5) + 1e-9, random_law(rng, 5), rng.random(5)
    x /= x.sum()
    skipped, excess = float(s @ x), float(np.maximum(s * x - y, 0.0).sum())
    for token in range(5):
        wanted = derived(
            "texts.importance_ratio", "q/x", s=s[token], h=y[token] / x[token], p=1.0 - skipped, e=excess
        )
        got = importance_ratio(x[token], y[token], s[token], skipped, excess)
        assert float(got) == pytest.approx(wanted, rel=1e-9)


def test_weights_of_contexts_alike_leave_the_derived_number_of_texts():
    x, q = np.array([0.5, 0.5]), np.array([0.55, 0.45])
    apart = float(((q - x) ** 2 / x).sum())
    rng = np.random.default_rng(0)
    ratio = (q / x)[rng.integers(0, 2, size=(20_000, 16))]
    prompt = np.repeat(np.arange(20_000), 16)
    for length in (1, 4, 16):
        wanted = derived("texts.collapse", "n_eff", M=20_000, chi=apart, N=length)
        assert effective_texts(ratio.ravel(), prompt, length) == pytest.approx(wanted, rel=0.02)
    gone = statement("texts.collapse").claims[2]
    assert value(gone.lhs.doit(), M=20_000, chi=apart) == pytest.approx(1.0)
