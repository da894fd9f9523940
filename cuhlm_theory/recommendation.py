"""One question, one answer: which scheme to run on this link, at what threshold, how fast, at what bias.

A `Question` is a calibration on a system with a budget. Its `Recommendation` feeds terminal, notebook and
report alike: it finds CU-HLM's operating point, evaluates every scheme beside it on the same tokens, and says
which is fastest within the budget, by paired differences over texts.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np

from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import NEVER_SKIP, Tokens
from cuhlm_theory.crossover import Change, changes
from cuhlm_theory.drafting import sync_break_even_risk
from cuhlm_theory.errors import CuhlmError, MissingInputError
from cuhlm_theory.estimate import Estimate
from cuhlm_theory.kept_law import llm_break_even_skip_rate
from cuhlm_theory.ladder import Ladder
from cuhlm_theory.optimisation import (
    Certificate,
    OperatingPoint,
    curves,
    operating_point,
    quantisation_profile,
    solve_curves,
    solve_lp,
)
from cuhlm_theory.parameters import Budget, Codec, Latency, Link, System
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import (
    SCHEMES,
    Ledger,
    Outcome,
    Scheme,
    at_its_best,
    line_up,
)
from cuhlm_theory.schemes.ledger import resync_s_per_skip
from cuhlm_theory.schemes.payload import Top
from cuhlm_theory.table import Table
from cuhlm_theory.texts import Texts, Trial, Written, promised
from cuhlm_theory.throughput import skip_saves_s
from cuhlm_theory.truncation import printed_k_offline

_SHOWN = ("throughput_token_per_s", "throughput_ci95", "bias", "skip_rate", "uplink_bit_per_token")
_CLASS = (
    "randomised single-draft policies with thresholds and sizes of the recorded grids, charged risk + TV_k"
)
_SLACK = 1e-9
_RESAMPLES = 1000
_HALVINGS = 30
_MOST_LINES = 10
_NEARLY = 1.1  # times as fast as the LLM alone, below which its break-even is said


def optimise(
    calibration: Any,
    link: Link,
    *,
    bias: float = 0.05,
    latency: Latency | None = None,
    codec: Codec | None = None,
) -> "Recommendation":
    """Answer the main question: which scheme to run over a link, at what threshold, how fast, at what bias.

    Parameters
    ----------
    calibration : object
        What `cuhlm_theory.load` returns: a pair with its rejection line and recorded tokens.
    link : Link
        Uplink of the device.
    bias : float, default 0.05
        Mean per-token total variation from the large model's law that may be spent [-].
    latency : Latency, optional
        Compute and protocol latencies; the calibration's own by default.
    codec : Codec, optional
        How distributions are written; the calibration's vocabulary and 8 bits a probability by default.

    Returns
    -------
    Recommendation
        The answer; its ``repr`` is the first screen.

    Raises
    ------
    MissingInputError
        If the calibration lacks tokens, a vocabulary or a latency that was not given.
    InfeasibleError
        If nothing meets the budget.

    Examples
    --------
    >>> import cuhlm_theory as cuhlm
    >>> best = cuhlm.optimise(cuhlm.load("smollm2"), cuhlm.Link(bandwidth_hz=1e6, snr=3.0))
    >>> best.schemes[best.scheme]["bias"] <= 0.05
    True
    """
    known = calibration.law
    if known is None:
        raise MissingInputError(f"calibration {calibration.name} has no law of the uncertainty; give another")
    if codec is None:
        if calibration.vocab_size is None:
            raise MissingInputError(f"calibration {calibration.name} has no vocabulary size; give codec")
        codec = Codec(vocab_size=calibration.vocab_size)
    if latency is None:
        if calibration.slm_latency_s is None or calibration.llm_latency_s is None:
            raise MissingInputError(f"calibration {calibration.name} has no latencies; give latency")
        latency = Ladder({}, {"calibration": calibration}).build(Latency)
    tokens = calibration.tokens
    return Question(
        line=calibration.line,
        tokens=Tokens.of(known, calibration.line) if tokens is None else tokens,
        system=System(link=link, codec=codec, latency=latency),
        budget=Budget(bias=bias),
        texts=calibration.contexts,
        trials=calibration.promises,
        inputs={"calibration": calibration.name},
    ).answer()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """A rejection line, the tokens it came from, a system, and what may be spent."""

    line: Line
    """The rejection line."""
    tokens: Tokens
    """Recorded tokens that the line was fitted on, or the nodes of an assumed law."""
    texts: Texts | None = None
    """Recorded texts, each scheme evaluated on the one that it writes; None evaluates all on ``tokens``."""
    system: System
    """Device, server and link."""
    budget: Budget
    """Bias that may be spent."""
    bias_price_s: float | None = None
    """lambda, seconds a token may cost per unit of bias [s]; None takes the multiplier of the budget."""
    charge_quantisation: bool = False
    """Whether the TV of b_prob bits is charged; else the device drafts from the quantised law (bias 0)."""
    offline_k: int | None = None
    """k of CU-HLM offline [token]; None applies its printed rule, or 30 where no profile was recorded."""
    trials: tuple[Trial, ...] = ()
    """What can be promised of hybrid texts that were recorded."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Where everything comes from, for the record."""

    def __post_init__(self) -> None:
        if self.line.slope <= 0.0:
            raise CuhlmError(
                f"the rejection line does not rise (slope {self.line.slope:g}), so no threshold on the "
                "uncertainty tells which drafts to keep; calibrate on more prompts, or another pair"
            )

    @property
    def has_profile(self) -> bool:
        """Whether truncation can be optimised on these tokens."""
        return self.tokens.tv_profile is not None and self.tokens.skip_mass is not None

    @property
    def quantisation_tv(self) -> np.ndarray | None:
        """TV that is charged for b_prob bits at each recorded size, shape [K]; None where it is not."""
        return quantisation_profile(self.tokens, self.system.codec) if self.charge_quantisation else None

    def answer(self, *, bound: bool = True) -> "Recommendation":
        """Answer the question; ``bound`` also finds the best randomised policy."""
        return Recommendation(self, bound=bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A threshold of the kept law whose bias is within the budget with 95 % confidence, and its speed."""

    trial: Trial
    """The text that it was tried on."""
    speed: Estimate
    """Its rate over the link of the question [token/s]."""
    whatever_the_law: bool
    """Whether the confidence holds for few prompts of any law, or comes from resampling those there are."""

    def to_dict(self) -> dict[str, Any]:
        """Return the promise under the names of the command line."""
        speed = {"throughput_token_per_s": self.speed.value, "throughput_ci95": self.speed.ci95}
        how = {"whatever_the_law": self.whatever_the_law}
        return {"scheme": "kept-law", **asdict(self.trial), **speed, **how}


class Recommendation:
    """The answer to a question; everything beyond the operating point is computed when it is asked for."""

    def __init__(self, question: Question, *, bound: bool = True) -> None:
        self.question = question
        self.contexts: Written = question.texts or question.tokens
        """Contexts of the text of every scheme, quantisation charged to their profiles where it is."""
        self.point: OperatingPoint | None = None
        """CU-HLM's operating point; None where no profile was recorded."""
        if question.has_profile:
            self._from_profile(bound)
        else:
            self._from_law()

    # ---------------------------------------------------------------------------- CU-HLM's operating point

    def _from_profile(self, bound: bool) -> None:
        asked, extra = self.question, self.question.quantisation_tv
        self.point = self._own_point(bound)
        self.recorded = self.contexts.at(max(self.point.threshold, 0.0))
        """Contexts of CU-HLM's text at its operating point, as they were recorded."""
        if extra is not None:

            def charge(tokens: Tokens) -> Tokens:
                profile = np.clip(tokens.need("tv_profile") + extra, 0.0, 1.0)
                return tokens.having(tv_profile=profile)

            self.contexts = asked.texts.changed(charge) if asked.texts else charge(asked.tokens)
        self.tokens = self.contexts.at(max(self.point.threshold, 0.0))
        """The same, quantisation charged where it is."""
        theta = asked.budget.truncation
        if theta is None:
            theta = self.point.truncation or max(asked.budget.bias - self.point.risk, 0.0)
        self._numbers = {
            "threshold": self.point.threshold,
            "truncation_price_s": self.point.truncation_price_s,
            "truncation_budget": theta,
            "line": asked.line,
            "offline_k": _offline_k(asked, self.recorded, theta),
        }
        self.operating_scheme = SCHEMES["cu-hlm-exact"].given(self._numbers)

    def _own_point(self, bound: bool) -> OperatingPoint:
        """Find the point that is best on the text written at it, from the largest threshold downwards.

        A point that is best on a text of a larger threshold meets its budget there; the threshold is lowered
        until it does so on its own text.
        """
        asked, extra = self.question, self.question.quantisation_tv

        def best(highest: float, bound: bool) -> OperatingPoint:
            return operating_point(
                self.contexts.at(highest),
                asked.system,
                asked.budget,
                bias_price_s=asked.bias_price_s or 0.0,
                quantisation_tv=extra,
                highest=highest,
                bound=bound,
            )

        highest = 1.0
        if asked.texts is not None:
            while 0.0 < (threshold := best(highest, bound=False).threshold) < highest:
                highest = threshold
            highest = min(highest, max(threshold, 0.0))
        return best(highest, bound)

    def _from_law(self) -> None:
        asked, tokens = self.question, self.question.tokens
        self.recorded = self.tokens = tokens
        limit = asked.budget.bias
        if asked.budget.risk is not None:
            limit = min(limit, asked.budget.risk)
        found = tokens.law.within(limit, split_ties=False)
        self._numbers = {
            "threshold": found.threshold,
            "line": asked.line,
            "offline_k": min(asked.offline_k or Top().offline_k, asked.system.codec.vocab_size),
        }
        self.operating_scheme = SCHEMES["cu-hlm-offline"].given(self._numbers)

    @cached_property
    def operating(self) -> Outcome:
        """What CU-HLM achieves at its operating point."""
        return self.operating_scheme.ledger(self.tokens, self.question.system).outcome()

    @property
    def bias_bound(self) -> float | None:
        """Bound on CU-HLM's bias there [-]; None where the bias of truncation is not known."""
        return self.operating.bias if self.point is None else self.point.bias

    @property
    def binds(self) -> str:
        """Budget that stops CU-HLM from being faster: `bias`, `risk`, `truncation`, or `none`."""
        if self.point is not None:
            return self.point.binds
        budget = self.question.budget
        if self.operating.skip_rate == 1.0:
            return "none"
        return "risk" if budget.risk is not None and budget.risk < budget.bias else "bias"

    # ---------------------------------------------------------------------------------- the schemes beside

    def beside(
        self,
        names: Iterable[str] = tuple(SCHEMES),
        *,
        equal_bias: float | None = None,
        equal_bits: float | None = None,
        **numbers: Any,
    ) -> tuple[list[tuple[Scheme, Ledger]], dict[str, str]]:
        """Evaluate schemes at the operating point's numbers, or lined up; the reason for each that fails."""
        given = self._numbers | numbers
        rows = [SCHEMES[name].given(given) for name in names]
        if "skip_rate" not in numbers:
            rate = float(1.0 - self.tokens.weight @ self.tokens.below(given["threshold"]).transmit)
            rows = [row.given({"skip_rate": min(max(rate, 0.0), 1.0)}) for row in rows]
        if equal_bias is None and equal_bits is None and "threshold" not in numbers:
            budget = self.question.budget
            limit = budget.bias if budget.risk is None else min(budget.bias, budget.risk)
            rows = [at_its_best(row, self.contexts, self.question.system, limit) for row in rows]
        return line_up(
            rows, self.contexts, self.question.system, equal_bias=equal_bias, equal_bits=equal_bits
        )

    @cached_property
    def evaluated(self) -> tuple[list[tuple[Scheme, Ledger]], dict[str, str]]:
        """Every scheme with its ledger, and the reason for each that fails: `beside`, once."""
        return self.beside()

    @property
    def ledgers(self) -> dict[str, Ledger]:
        """Rounds of every scheme that can be evaluated, by name."""
        return {scheme.name: ledger for scheme, ledger in self.evaluated[0]}

    @property
    def missing(self) -> dict[str, str]:
        """Why the other schemes could not be evaluated."""
        return self.evaluated[1]

    @cached_property
    def schemes(self) -> Table:
        """Every scheme that could be evaluated, fastest first."""
        return Table(sorted(self.rows, key=lambda row: -row["throughput_token_per_s"]), _SHOWN)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every scheme that could be evaluated, in the order of `SCHEMES`."""
        return [self.row(scheme, ledger) for scheme, ledger in self.evaluated[0]]

    def row(self, scheme: Scheme, ledger: Ledger) -> dict[str, Any]:
        """Columns of a scheme with their intervals."""
        speed, bias = ledger.estimates(num_resamples=_RESAMPLES)
        outcome = ledger.outcome()
        known = "unknown" if outcome.bias is None else "bound" if outcome.bias_is_bound else "exact"
        return {
            **asdict(outcome),
            "throughput_ci95": speed.ci95,
            "bias_ci95": bias.ci95,
            "text": ledger.text.partition("-")[0] or None if ledger.side is None else "hybrid",
            "contexts": ledger.text or None,
            "bias_account": "estimate" if scheme.payload.depends_on_draft else known,
        }

    # ---------------------------------------------------------------------------------- the recommendation

    @cached_property
    def eligible(self) -> list[str]:
        """Schemes whose bias is known to be within the budget, fastest first."""
        budget, within = self.question.budget.bias, []
        for scheme, ledger in self.evaluated[0]:
            meets = ledger.per_token(ledger.bias) <= budget + _SLACK  # which an unknown one does not
            if meets and not scheme.payload.depends_on_draft and ledger.rate_token_per_s > 0.0:
                within.append((-ledger.rate_token_per_s, scheme.name))
        if not within:
            raise CuhlmError("no scheme meets the bias budget over this link; raise bias_budget or snr_db")
        return [name for _, name in sorted(within, key=itemgetter(0))]

    @property
    def scheme(self) -> str:
        """Name of the fastest scheme within the bias budget."""
        return self.eligible[0]

    @cached_property
    def recommended(self) -> dict[str, Any]:
        """Columns of the recommended scheme with their intervals, as in `schemes`."""
        chosen = next(pair for pair in self.evaluated[0] if pair[0].name == self.scheme)
        return self.row(*chosen)

    @property
    def threshold(self) -> float | None:
        """Uncertainty up to which the recommended scheme skips [-]; None where it asks about every draft."""
        return self.recommended["threshold"]

    @cached_property
    def throughput(self) -> Estimate:
        """Rate of the recommended scheme [token/s]."""
        return self.ledgers[self.scheme].estimates(num_resamples=_RESAMPLES)[0]

    @cached_property
    def bias(self) -> Estimate:
        """Bias of the recommended scheme, or a bound on it [-]."""
        return self.ledgers[self.scheme].estimates(num_resamples=_RESAMPLES)[1]

    def over(self, name: str, *, of: str | None = None) -> Estimate:
        """How many times as fast the recommended scheme (or ``of``) is as another, paired over prompts."""
        return self.ledgers[of or self.scheme].over(self.ledgers[name], num_resamples=_RESAMPLES)

    @cached_property
    def equal_within_error(self) -> list[str]:
        """Eligible schemes that cannot be told apart from the recommended one by paired differences.

        Where there are no texts to resample, those are exact ties.
        """
        equal = []
        for name in self.eligible[1:]:
            ratio = self.over(name)
            if (ratio.value if ratio.low is None else ratio.low) > 1.0 + _SLACK:
                break
            equal.append(name)
        return equal

    @property
    def next_best(self) -> str | None:
        """Fastest eligible scheme that is told apart from the recommended one."""
        rest = self.eligible[1 + len(self.equal_within_error) :]
        return rest[0] if rest else None

    @cached_property
    def promise(self) -> Promise | None:
        """What can be promised of the kept law within the budget; None where nothing was tried or holds."""
        asked = self.question
        sure = promised(asked.trials, asked.budget.bias)
        found = sure or promised(asked.trials, asked.budget.bias, resampled=True)
        if found is None:
            return None
        row = SCHEMES["kept-law"].using(threshold=found.threshold)
        speed, _ = row.ledger(self.contexts, asked.system).estimates(num_resamples=_RESAMPLES)
        return Promise(trial=found, speed=speed, whatever_the_law=sure is not None)

    # ------------------------------------------------------------------------------------------ in words

    @cached_property
    def sentence(self) -> str:
        """What to do, in one sentence."""
        row = self.recommended
        how = f" with a threshold of {row['threshold']:.3g}" if _skips(row) else ""
        equal = (
            f" (as fast within the error: {', '.join(self.equal_within_error)})"
            if self.equal_within_error
            else ""
        )
        return f"Run {self.scheme}{how}{equal}: {SCHEMES[self.scheme].title}."

    def lines(self) -> list[str]:
        """Return the first screen: at most ten lines."""
        row, budget = self.recommended, self.question.budget.bias
        limit = self.bias.high if self.bias.high is not None else self.bias.value
        account, recorded = {"bound": "at most ", "exact": ""}.get(row["bias_account"], ""), ""
        if row["bias_recorded"] is not None:
            recorded = f" ({row['bias_recorded']:.3g} as recorded)"
        lines = [
            self.sentence,
            f"  speed    {self.throughput!r}",
            f"  bias     {account}{self.bias.value:.3g}{recorded} of {budget:.3g} allowed; "
            f"95 % limit {limit:.3g}",
            f"  sends    {row['uplink_bit_per_token']:.4g} bit a token{_resync(row)}, with "
            f"{row['llm_calls_per_token']:.3g} LLM passes a token",
        ]
        if _skips(row):
            lines.append(f"  skips    {row['skip_rate']:.1%} of the tokens")
        if self.question.trials:
            lines.append(f"  promise  {self._promise_said()}")
        rivals = {name: name for name in (self.next_best,) if name is not None}
        rivals |= {"llm": "the LLM alone", self.operating.name: f"{self.operating.name} at its best"}
        for name, said in rivals.items():
            if name != self.scheme and name in self.ledgers:
                place = ", the next best" if name == self.next_best else ""
                lines.append(f"  against  {said}{place}: {_times(self.over(name))}")
        if (even := self.llm_break_even) is not None:
            name, needed, now = even.values()
            said = f"from {needed:.1%} skipped" if needed <= 1.0 else "at no skip rate"
            lines.append(f"  even     {name} beats the LLM alone {said}; it skips {now:.1%}")
        found, room = [str(change) for change in self.would_change], _MOST_LINES - len(lines)
        if len(found) > room:
            found = [*found[: room - 1], f"{len(found) - room + 1} more in would_change"]
        return lines + [f"  change   {change}" for change in found[: max(room, 0)]]

    def _promise_said(self) -> str:
        if self.promise is None:
            least = min(self.question.trials, key=lambda trial: trial.threshold)
            return (
                f"none that skips: kept-law at {least.threshold:g}, the safest tried, has a bias of at most "
                f"{least.resampled_limit95:.2g}"
            )
        kept, speed = self.promise.trial, self.promise.speed
        how = "95 % confidence" if self.promise.whatever_the_law else "95 % of resampled prompts"
        return (
            f"kept-law at {kept.threshold:g}: bias at most {self.question.budget.bias:g} ({how}), "
            f"{speed!r}; prompts like the {kept.num_prompts} recorded, {kept.max_tokens} tokens"
        )

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(repr(self))}</pre>"

    @cached_property
    def llm_break_even(self) -> dict[str, Any] | None:
        """Skip rate from which on one draft a round beats the LLM alone, and what the budget allows.

        For the fastest such scheme, with the packets it sends; None unless the LLM alone wins or nearly does.
        """
        drafts_one = [name for name in self.eligible if _skips_single_drafts(SCHEMES[name])]
        near = "llm" in self.ledgers and self.over("llm").value < _NEARLY
        if not near or not drafts_one or not 0.0 < self.ledgers[drafts_one[0]].outcome().skip_rate < 1.0:
            return None
        ledger, system = self.ledgers[drafts_one[0]], self.question.system
        asked, told_s = ledger.mean(ledger.llm_calls), resync_s_per_skip(system)
        packet_s = (ledger.mean(ledger.uplink_s + ledger.other_s) - (1.0 - asked) * told_s) / asked
        saves_s = packet_s + system.latency.llm.fixed_s - told_s
        if not saves_s > 0.0:
            return None
        needed = float(llm_break_even_skip_rate(system.latency.slm_s, packet_s, saves_s))
        return {"scheme": drafts_one[0], "needed_skip_rate": needed, "skip_rate": 1.0 - asked}

    @cached_property
    def would_change(self) -> list[Change]:
        """What would make a scheme that skips the fastest, one quantity at a time; empty where one is."""
        if SCHEMES[self.scheme].writes == "hybrid":
            return []
        sides: tuple[list[Ledger], list[Ledger]] = ([], [])
        for name in self.eligible:
            sides[SCHEMES[name].writes != "hybrid"].append(self.ledgers[name])
        if not all(sides):
            return []
        found = changes(*sides)
        bias = self._bias_that_skipping_needs()
        if bias is not None:
            now = self.question.budget.bias
            found.append(Change(quantity="bias_budget", value=bias, now=now, then="kept-law"))
        return found

    def _bias_that_skipping_needs(self) -> float | None:
        """Least bias budget above that of the question at which the kept law is the fastest.

        Between two thresholds one is drawn, and whichever it is, what the upper one may keep is sent, as
        where `at_bias` spends a budget.
        """
        system, asked = self.question.system, self.question.budget
        thresholds = [float(threshold) for threshold in self.contexts.thresholds()]

        def ahead(place: int, mix: float) -> tuple[bool, float]:
            low, high = thresholds[place - 1 : place + 1]
            row = SCHEMES["kept-law"].using(threshold=low, upper_threshold=high, mix=mix)
            ledger = row.ledger(self.contexts, system)
            bias = ledger.per_token(ledger.bias)
            return bias > asked.bias and ledger.per_token(ledger.seconds) * self.throughput.value < 1.0, bias

        places = range(1, len(thresholds))
        place = 1 + bisect_left(places, True, key=lambda place: ahead(place, 1.0)[0])
        if place == len(thresholds):
            return None
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if ahead(place, middle)[0] else (middle, high)
        least = ahead(place, high)[1]
        return None if asked.risk is not None and least > asked.risk else least

    def replace(self, **changes: Any) -> "Recommendation":
        """Answer the same question with some fields changed: ``link``, ``codec``, ``latency``, ``bias``, ….

        Fields of `Question`, of its system (``link``, ``codec``, ``latency``, ``tx_power_w``,
        ``slm_energy_j``) and ``bias``, the budget.
        """
        asked = self.question
        system = {name: changes.pop(name) for name in tuple(changes) if hasattr(asked.system, name)}
        if system:
            changes["system"] = replace(changes.get("system", asked.system), **system)
        if "bias" in changes:
            changes["budget"] = replace(asked.budget, bias=changes.pop("bias"))
        return replace(asked, **changes).answer()

    def why(self) -> list[str]:
        """Say which constraint binds and what one more unit of each resource would buy."""
        from cuhlm_theory.explanation import explain, gains

        return explain(self, gains(self))

    def report(self, path: str) -> None:
        """Write one self-contained page; needs the room `figures`."""
        from cuhlm_theory.rooms import hook

        hook("report")(self, path)

    # ------------------------------------------------------------------------------- thresholds and proof

    def transmit_s(self, bias_price_s: float) -> float:
        r"""Seconds that a transmission costs beyond a skip at the sizes which are best for a price of bias.

        .. math:: t_0 + E[P \tau_\mathrm{up}(k_\lambda)] / E[P] - \tau_\mathrm{index}, \qquad
                  k_\lambda = \arg\min_k P \tau_\mathrm{up}(k) + \lambda \mathrm{TV}_k

        The truncation itself is due whether a draft is sent or not, so it is no cost of sending; a skipped
        token is told to the server later, in :math:`\tau_\mathrm{index}`.
        Derivation: ``derivations.optimise.transmit_cost``.
        """
        asked, latency = self.question, self.question.system.latency
        system = replace(asked.system, latency=replace(latency, charge_resync=False))  # the packet's own bits
        index = system.codec.bits_per_index
        if not asked.has_profile:
            size = min(asked.offline_k or Top().offline_k, system.codec.vocab_size)
            uplink_s = float(packet_latency_s(system.link, distribution_bit(system.codec, size)))
        else:
            priced = SCHEMES["cu-hlm-exact"].using(
                threshold=self._numbers["threshold"], truncation_price_s=bias_price_s
            )
            ledger = priced.ledger(self.recorded, system)
            calls = ledger.mean(ledger.llm_calls)
            uplink_s = ledger.mean(ledger.uplink_s) / calls if calls > 0.0 else 0.0
        saved_s = float(skip_saves_s(latency, uplink_s, downlink_bit=index))
        return max(saved_s - resync_s_per_skip(asked.system), 0.0)

    def thresholds(self) -> dict[str, float | None]:
        """Thresholds on the uncertainty [-] and the price of bias [s]; None where an input is missing."""
        asked, line = self.question, self.question.line
        limit = asked.budget.bias if asked.budget.risk is None else asked.budget.risk
        price_s = asked.bias_price_s
        if price_s is None and self.point is not None:
            price_s = self.point.multiplier_s
        optimal = None
        if price_s is not None and price_s > 0.0:
            # at the price itself a context is tied between two sizes: the larger one, whatever rounds
            optimal = float(line.cost_optimal(self.transmit_s(price_s * (1.0 + _SLACK)), price_s))
        return {
            "risk_averse": line.risk_averse,
            "risk_prone": line.risk_prone,
            "risk_budget": self.recorded.law.within(limit).threshold,
            "cost_optimal": optimal,
            "bias_price_s": price_s,
        }

    def certificate(self, *, solver: bool = False) -> dict[str, Any] | None:
        """Prove that no policy of its class within the budget is faster than the best randomised one.

        Returns ``primal``, ``dual`` and ``gap`` in seconds, where they come from, and the class; None without
        profiles. With ``solver`` the linear programme is solved in cvxpy too, and its dual is the bound.
        """
        point, asked = self.point, self.question
        if point is None or point.optimum_s is None or point.dual_s is None:
            return None
        result: dict[str, Any] = {
            "primal": point.optimum_s,
            "dual": point.dual_s,
            "solver": "closed form, weak duality",
            "class": _CLASS,
            "multiplier_s": point.multiplier_s,
        }
        if solver:
            given = curves(self.recorded, asked.system, quantisation_tv=asked.quantisation_tv)
            table, solved = solve_curves(given, asked.budget.bias)
            proof: Certificate = solve_lp(table.latency_s, table.bias, given.weight, asked.budget.bias)
            result |= {
                "dual": given.base_s + proof.dual_s,
                "solver": proof.solver,
                "solver_primal": given.base_s + proof.primal_s,
                "solver_multiplier_s": proof.multiplier_s,
                "num_contexts": len(given.weight),
                "num_actions": table.latency_s.shape[1],
                "closed_form_dual": given.base_s + solved.dual_s,
            }
        result["gap"] = result["primal"] - result["dual"]
        result["relative_gap"] = result["gap"] / result["primal"]
        return result

    # ---------------------------------------------------------------------------------- as a dictionary

    def operating_row(self) -> dict[str, Any]:
        """CU-HLM's operating point under the names of the command line."""
        row, point = self.operating, self.point
        names = (
            *("threshold", "skip_rate", "risk", "k_mean", "uplink_bit_per_token", "latency_s"),
            *("throughput_token_per_s", "mean_rate_token_per_s", "speedup_over_hlm", "floor_ratio"),
            *("llm_calls_per_token", "energy_j_per_token"),
        )
        result = {name: getattr(row, name) for name in names}
        return result | {
            "scheme": row.name,
            "risk": row.risk if point is None else point.risk,
            "truncation_bias": row.truncation_bias if point is None else point.truncation,
            "bias_bound": self.bias_bound,
            "bias_budget": self.question.budget.bias,
            "binds": self.binds,
            "truncation_price_s": None if point is None else point.truncation_price_s,
            "optimum_latency_s": None if point is None else point.optimum_s,
            "excess_over_optimum": None if point is None else point.excess,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the recommendation under the names of the command line."""
        llm = self.over("llm") if "llm" in self.ledgers else None
        return {
            "scheme": self.scheme,
            "sentence": self.sentence,
            "lines": self.lines(),
            "threshold": self.threshold,
            "throughput_token_per_s": self.throughput.value,
            "throughput_ci95": self.throughput.ci95,
            "bias": self.bias.value,
            "bias_limit95": self.bias.high,
            "text": self.recommended["text"],
            "equal_within_error": self.equal_within_error,
            "next_best": self.next_best,
            "over_llm": None if llm is None else {"ratio": llm.value, "ci95": llm.ci95},
            "llm_break_even": self.llm_break_even,
            "promise": None if self.promise is None else self.promise.to_dict(),
            "would_change": [asdict(change) for change in self.would_change],
        }

    def verify_on_sync(self) -> dict[str, Any] | None:
        """Compare exact CU-HLM with CU-HLM at the same trigger; None where nothing, or all, is skipped."""
        row, system = self.operating, self.question.system
        if not 0.0 < row.skip_rate < 1.0 or not np.isfinite(row.latency_s):
            return None
        plain, bonus = (
            SCHEMES["verify-on-sync"]
            .given(self._numbers | {"bonus": bonus})
            .ledger(self.contexts, system)
            .outcome()
            for bonus in (False, True)
        )
        chance, codec = 1.0 - row.skip_rate, system.codec
        ledger = self.operating_scheme.ledger(self.tokens, system)
        rejected = float(self.tokens.weight @ self.tokens.rejection) - row.risk
        break_even = sync_break_even_risk(
            system.latency,
            chance,
            ledger.mean(ledger.uplink_s) / chance,
            float(packet_latency_s(system.link, codec.bits_per_index + codec.prob_bits)),
            transmitted_rejection=min(max(rejected / chance, 0.0), 1.0),
            answer_bit=codec.bits_per_index,
            kept_bit=1.0,
            rejected_bit=codec.vocab_size * codec.prob_bits,
        )
        return {
            "cu_hlm_latency_s": row.latency_s,
            "cu_hlm_bias": self.bias_bound,
            "latency_s": plain.latency_s,
            "latency_with_bonus_s": bonus.latency_s,
            "tokens_per_round": plain.tokens_per_round,
            "tokens_per_round_with_bonus": bonus.tokens_per_round,
            "risk": row.risk,
            "break_even_risk": float(break_even),
            "exact_wins": plain.latency_s < row.latency_s,
        }

    def truncation_orders(
        self, budgets: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2)
    ) -> dict[str, Any] | None:
        """Compare the rules for k at equal budget, and truncating before and after drafting at equal bits."""
        tokens, system = self.recorded, self.question.system
        if tokens.tv_profile is None or tokens.draft_prob is None:
            return None
        ratios = []
        for theta in budgets:
            numbers = {"threshold": NEVER_SKIP, "truncation_budget": theta, "line": self.question.line}
            exact, printed = (
                SCHEMES[name].given(numbers).ledger(tokens, system).outcome().uplink_bit_per_token
                for name in ("cu-hlm-exact", "cu-hlm-online")
            )
            ratios.append(
                {"budget": theta, "exact_bit": exact, "printed_bit": printed, "ratio": exact / printed}
            )
        result: dict[str, Any] = {"exact_over_printed": ratios}
        if tokens.coarse_k_grid is not None and tokens.output_bias is not None and tokens.tv is not None:
            acceptance = tokens.truncated_acceptance
            result["orders"] = [
                {
                    "k": int(size),
                    "bit": int(distribution_bit(system.codec, int(size))),
                    "sample_then_truncate_bias": float(tokens.weight @ tokens.output_bias[:, place]),
                    "truncate_then_sample_bias": 0.0,
                    "sample_acceptance": 1.0 - float(tokens.weight @ tokens.tv),
                    "truncate_then_sample_acceptance": None
                    if acceptance is None
                    else float(tokens.weight @ acceptance[:, place]),
                }
                for place, size in enumerate(tokens.coarse_k_grid)
            ]
        return result


def _skips_single_drafts(scheme: Scheme) -> bool:
    return scheme.writes == "hybrid" and not scheme.drafts_several


def _skips(row: Mapping[str, Any]) -> bool:
    return row["threshold"] is not None and row["threshold"] >= 0.0


def _resync(row: Mapping[str, Any]) -> str:
    """Say what telling the server the skipped tokens takes, where that is most of the uplink."""
    bit = row["resync_bit_per_token"]
    if bit <= 0.5 * row["uplink_bit_per_token"]:
        return ""
    return f" ({bit:.4g} of them name skipped tokens: {row['resync_s_per_token']:.2g} s)"


def _times(ratio: Estimate) -> str:
    ends = "" if ratio.ci95 is None else f" [{ratio.low:.3g}, {ratio.high:.3g}]"
    return f"{ratio.value:.3g}{ends} times as fast"


def _offline_k(asked: Question, tokens: Tokens, theta: float) -> int:
    """K of CU-HLM offline: as given, else by its printed rule, else the printed number."""
    if asked.offline_k is not None:
        return asked.offline_k
    if tokens.tv_profile is None or tokens.draft_prob is None or tokens.k_grid is None:
        return Top().offline_k
    profile = np.clip(tokens.tv_profile, 0.0, 1.0)
    rejection = asked.line(tokens.uncertainty)
    return printed_k_offline(
        profile, tokens.k_grid, tokens.draft_prob, rejection, theta, weight=tokens.weight
    )
