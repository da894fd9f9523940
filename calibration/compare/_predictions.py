r"""What a line-up will do, written down before it is decoded, and how well it did.

A prediction is a ratio of sums over texts, such as tokens over seconds. Two errors lie between it and what
a run measures: the recorded prompts are a sample, and so are the prompts and the dice of the run. Both are
drawn by resampling whole prompts: those of the trace with what is expected of each token, those of the run,
as many as it has, with what becomes of it once every chance is drawn. Where every kind of prompt of the run
was recorded (``HumanEval/3`` is of the kind ``HumanEval``), each kind is resampled by itself.

All rows are drawn with the same prompts, so a draw of the errors is one of all rows at once, and the joint
test uses that: how far the ranks of the errors are from a uniform law is held against the draws, where rows
depend on each other as their prompts make them. Two distances are taken, and the rarer counts: Anderson and
Darling's sees predictions that are off, Kuiper's intervals that are too wide. Schemes that were decoded apart
share prompts but not texts, and draws share both: the test errs to the mild side.

References
----------
.. [AD] Anderson, Darling, Asymptotic theory of certain goodness of fit criteria, Ann. Math. Statist. 23
(1952).
.. [Kui] Kuiper, Tests concerning random points on a circle, Indag. Math. 63 (1960).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.calibration import Calibration
from calibration.compare._decoded import DecodedTable, beginnings
from calibration.compare._ledgers import QUANTITIES, Sums, per_text, sums
from calibration.compare._rows import Category, Floats
from calibration.decoding import records, scheme_of
from calibration.runs import LineUp, Run, lineup_of
from calibration.trace import Trace
from cuhlm_theory import bootstrap
from cuhlm_theory._files import read_json, whole
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import System
from cuhlm_theory.schemes import Ledger, Scheme
from cuhlm_theory.schemes.evaluation import several_drafts
from cuhlm_theory.texts import threshold_of

_FORMAT = "cuhlm-predictions/1"
_FEWEST = 8  # recorded prompts of a kind that is resampled by itself
_SLACK = 1e-5  # of sums with 6 digits
_REJECTION = "rejection of a draft"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """One quantity of one run, predicted from a trace alone."""

    run: str
    """Name of the run."""
    quantity: str
    """What is predicted, with its unit in brackets if it has one."""
    category: Category
    """`forecast`, or `identity` where the run is charged with the formula that predicts it."""
    bound: bool
    """Whether the prediction is a bound: the largest bias, or the least speed."""
    text: str
    """Trace that it was predicted on."""
    expected: Floats
    """Top and bottom of the ratio as they are expected of each recorded prompt, shape [2, P]."""
    drawn: Floats
    """The same once every chance is drawn, shape [2, P]."""
    compute_share: tuple[float, float] = (0.0, 0.0)
    """Shares of the seconds under the ratio that are measured passes of the small and the large model [-]."""
    predicted: float = np.nan
    """Ratio of the expected sums."""
    prediction_interval95: tuple[float | None, float | None] = (None, None)
    """Where the ratio of the run should lie; of a bound one end only."""

    @property
    def is_largest(self) -> bool:
        """Whether it is the largest value there can be."""
        return self.bound and self.quantity == "bias"

    @property
    def is_least(self) -> bool:
        """Whether it is the least value there can be."""
        return self.bound and self.quantity != "bias"

    def to_dict(self) -> dict[str, Any]:
        """Return what is predicted under the names of the command line."""
        return {
            "run": self.run,
            "quantity": self.quantity,
            "class": self.category,
            "bound": self.bound,
            "text": self.text,
            "predicted": self.predicted,
            "prediction_interval95": list(self.prediction_interval95),
        } | ({"compute_share": list(self.compute_share)} if any(self.compute_share) else {})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """Predictions of a line-up, as a file holds them."""

    lineup: LineUp
    """What is to be decoded."""
    calibration: str
    """Calibration that they were made with."""
    traces: dict[str, dict[str, Any]]
    """Names of the recorded ``prompts`` and ``sha256`` of each trace, by its text."""
    rows: tuple[Prediction, ...]
    """A row a quantity of a run."""
    seed: int = 0
    """Seed of the resamples."""
    num_resamples: int = 4000
    """Resamples of prompts."""
    pass_error: tuple[float, float] = (0.0, 0.0)
    """Relative distance of timed passes of both models from the planes that charge them [-]: how far off a
    pass of the run may be."""

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return everything as canonical JSON: keys sorted, no spaces, sums of 6 digits."""
        told = {
            "format": _FORMAT,
            "calibration": self.calibration,
            "traces": self.traces,
            "lineup": self.lineup.described(),
            "texts": [prompt.text for prompt in self.lineup.prompts],
            "seed": self.seed,
            "num_resamples": self.num_resamples,
            "predictions": [
                {**row.to_dict(), "expected": row.expected.tolist(), "drawn": row.drawn.tolist()}
                for row in self.rows
            ],
        }
        if any(self.pass_error):
            told["pass_error"] = list(self.pass_error)
        return json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write the predictions, whole or not at all."""
        with whole(path) as part:
            part.write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> "Predictions":
        """Read what `save` wrote."""
        try:
            told = read_json(Path(path).read_bytes(), "it")
            if told["format"] != _FORMAT:
                raise KeyError("format")
            rows = tuple(
                Prediction(
                    category=row.pop("class"),
                    prediction_interval95=tuple(row.pop("prediction_interval95")),
                    expected=np.array(row.pop("expected")),
                    drawn=np.array(row.pop("drawn")),
                    compute_share=tuple(row.pop("compute_share", (0.0, 0.0))),
                    **row,
                )
                for row in told["predictions"]
            )
            names = ("calibration", "traces", "seed", "num_resamples")
            return cls(
                lineup=lineup_of(told["lineup"], told["texts"]),
                rows=rows,
                pass_error=tuple(told.get("pass_error", (0.0, 0.0))),
                **{name: told[name] for name in names},
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"predictions {str(path)!r} must be one of `cuhlm predict`; {error}") from None

    def errors(self) -> Floats:
        """Draw what each row's measurement may be off by, all rows at once, shape [B, R]."""
        return self.drawn()[1]

    def drawn(self) -> tuple[Floats, Floats]:
        """Return what is predicted, shape [R], and what `errors` draws."""
        names = [prompt.name for prompt in self.lineup.prompts]
        draws = {text: _Draws.of(told["prompts"], names, self) for text, told in self.traces.items()}
        values = np.array([draws[row.text].ratio(row) for row in self.rows])
        errors = np.column_stack([draws[row.text].errors(row) for row in self.rows])
        longer = np.random.default_rng([self.seed, 1]).standard_normal((self.num_resamples, 2))
        share = np.transpose([row.compute_share for row in self.rows])
        return values, errors + values * np.expm1(-(longer * self.pass_error @ share))


@dataclass(frozen=True, slots=True, eq=False)
class _Draws:
    """How often each recorded prompt stands for one of the run: as recorded, resampled, and drawn."""

    share: Floats
    trace: Floats
    run: Floats

    @classmethod
    def of(cls, recorded: Sequence[str], wanted: Sequence[str], how: Predictions) -> "_Draws":
        rng, num = np.random.default_rng(how.seed), how.num_resamples
        share, trace, run = np.zeros(len(recorded)), *np.zeros((2, num, len(recorded)))
        for place, count in _strata(recorded, wanted):
            each = count / len(place)
            share[place] = each
            trace[:, place] = each * bootstrap.cluster_counts(len(place), num, rng)
            run[:, place] = rng.multinomial(count, np.full(len(place), 1.0 / len(place)), size=num)
        return cls(share, trace, run)

    def ratio(self, row: Prediction) -> float:
        """Return the prediction."""
        return float(_ratio(self.share, row.expected))

    def errors(self, row: Prediction) -> Floats:
        """Deviations of the run from its mean less those of the trace from its own, shape [B]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            deviates = _ratio(self.run, row.drawn) - _ratio(self.share, row.drawn)
            return deviates - _ratio(self.trace, row.expected) + _ratio(self.share, row.expected)


def _ratio(count: Floats, sums: Floats) -> Floats:
    return (count @ sums[0]) / (count @ sums[1])


def _strata(recorded: Sequence[str], wanted: Sequence[str]) -> list[tuple[NDArray[np.int64], int]]:
    """Places of the recorded prompts of each kind, and how many of it are wanted; else of all together."""
    kinds = np.array([name.rpartition("/")[0] for name in recorded])
    called = [name.rpartition("/")[0] for name in wanted]
    strata = [(np.flatnonzero(kinds == kind), called.count(kind)) for kind in sorted(set(called))]
    if min(len(place) for place, _ in strata) >= _FEWEST:
        return strata
    return [(np.arange(len(recorded)), len(wanted))]


# ------------------------------------------------------------------------------------------------- predicting


def predict(
    calibration: Calibration, lineup: LineUp, *, seed: int = 0, num_resamples: int = 4000
) -> Predictions:
    """Predict what every run of a line-up will do.

    Parameters
    ----------
    calibration : Calibration
        Pair with its traces; each scheme is predicted on the text that it writes, where that was recorded.
    lineup : LineUp
        What is to be decoded; its prompts should be others than the recorded ones.
    seed : int, default 0
        Seed of every draw.
    num_resamples : int, default 4000
        Resamples of prompts.

    Returns
    -------
    Predictions
        A row a quantity of a run, with its interval.

    Raises
    ------
    MissingInputError
        If no trace of the calibration is as long as the answers are to be.
    """
    rows: list[Prediction] = []
    traces: dict[str, dict[str, Any]] = {}
    for run in lineup.runs:
        text, recorded = _recorded(calibration, run.settings.scheme)
        path = calibration.texts[text]
        if text not in traces:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            names = [recorded.header.prompt_names[i] for i in np.unique(recorded.columns["prompt"])]
            traces[text] = {"prompts": names, "sha256": digest}
        rows += _rows(run, text, recorded, lineup, np.random.default_rng(seed))
    found = Predictions(
        lineup=lineup,
        pass_error=_pass_error(calibration) if lineup.one_by_one else (0.0, 0.0),
        calibration=calibration.name,
        traces=traces,
        rows=tuple(rows),
        seed=seed,
        num_resamples=num_resamples,
    )
    return _with_intervals(found)


def _pass_error(calibration: Calibration) -> tuple[float, float]:
    """Return how far timed passes are from their planes; none are known to be off that were not timed."""
    slm, llm = (
        0.0 if t is None else t.relative_residual for t in (calibration.slm_pass, calibration.llm_pass)
    )
    return slm, llm


def _recorded(calibration: Calibration, scheme: Scheme) -> tuple[str, Trace]:
    """Return the trace on the text that is nearest to what a scheme writes."""
    calibration.needed_trace()
    name = min(calibration.texts, key=lambda name: abs(threshold_of(name) - scheme.text_at))
    found = calibration.text(name)
    assert found is not None
    return name, found


def _rows(run: Run, text: str, recorded: Trace, lineup: LineUp, rng: np.random.Generator) -> list[Prediction]:
    scheme, length, system = run.settings.scheme, run.settings.max_new_tokens, lineup.system
    if length > recorded.header.max_new_tokens:
        raise MissingInputError(
            f"the trace on {text} text ends after {recorded.header.max_new_tokens} tokens; "
            f"give --max-new-tokens at most that, not {length}"
        )
    tokens = beginnings(recorded, length)
    predicted, drawn = scheme.ledger(tokens, system), _drawn(scheme, tokens, system, rng)
    bounded = {
        "bias": predicted.bias_is_bound or bool(np.any(predicted.truncation > 0.0)),
        **dict.fromkeys(("tokens per round", "throughput [token/s]"), predicted.throughput_is_bound),
    }
    timed = _compute_share(predicted) if lineup.one_by_one else (0.0, 0.0)
    pairs: list[tuple[str, Category, Sums, Sums]] = [
        (quantity.name, quantity.category, sums(quantity, predicted), sums(quantity, drawn))
        for quantity in QUANTITIES
        if quantity.applies(scheme, predicted) and np.isfinite(sums(quantity, predicted)).all()
    ]
    if scheme.draft.present and not scheme.draft.several:
        place = tokens.need("prompt")
        count = per_text(place, tokens.weight)
        expected, drafted = (
            (per_text(place, tokens.weight * rejection), count)
            for rejection in (tokens.mean_rejection(), tokens.rejection)
        )
        pairs.append((_REJECTION, "forecast", expected, drafted))
    return [
        Prediction(
            run=run.name,
            quantity=name,
            category=category,
            bound=bounded.get(name, False),
            compute_share=timed if name == "throughput [token/s]" else (0.0, 0.0),
            text=text,
            expected=_rounded(expected),
            drawn=_rounded(happened),
        )
        for name, category, expected, happened in pairs
    ]


def _compute_share(rounds: Ledger) -> tuple[float, float]:
    """Return the shares of a scheme's seconds that the passes of its two models take."""
    slm, llm = (rounds.mean(part) / rounds.mean(rounds.seconds) for part in (rounds.slm_s, rounds.llm_s))
    return float(f"{slm:.6g}"), float(f"{llm:.6g}")


def _rounded(both: Sums) -> Floats:
    """Return numbers of 6 digits, those that the file holds."""
    return np.array([[float(f"{value:.6g}") for value in column] for column in both])


def _drawn(scheme: Scheme, tokens: Tokens, system: System, rng: np.random.Generator) -> Ledger:
    """Return what a scheme does on recorded tokens once every chance is drawn."""
    if scheme.draft.several:
        return several_drafts(scheme, tokens, system, rng)
    rounds = scheme.ledger(tokens, system)
    assert rounds.place is not None
    asks, whole = rounds.llm_calls > 0.0, np.bincount(rounds.place, rounds.weight)
    asked = rng.random(len(whole)) * whole < np.bincount(rounds.place, rounds.weight * asks)
    return replace(rounds, weight=whole[rounds.place] * (asked[rounds.place] == asks))


def _with_intervals(found: Predictions) -> Predictions:
    """Return the predictions with their intervals; what no draw moves is a formula of the settings."""
    rows, (values, drawn) = [], found.drawn()
    for row, predicted, errors in zip(found.rows, values.tolist(), drawn.T, strict=True):
        if not np.isfinite(errors).all():
            continue  # some draws hold no such token
        category = row.category if np.ptp(errors) > _SLACK * abs(predicted) else "identity"
        ends = _ends(row, predicted + errors)
        rows.append(replace(row, predicted=predicted, prediction_interval95=ends, category=category))
    return replace(found, rows=tuple(rows))


def _ends(row: Prediction, drawn: Floats) -> tuple[float | None, float | None]:
    """Return where 95 % of the draws lie: between two ends, or on one side of a bound's."""
    low, high = np.quantile(drawn, [0.05, 0.95] if row.bound else [0.025, 0.975]).tolist()
    return (None if row.is_largest else low), (None if row.is_least else high)


# ---------------------------------------------------------------------------------------------------- judging


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A prediction and what came of it."""

    run: str
    """Name of the run."""
    quantity: str
    """What was predicted."""
    category: Category
    """Class of the statement."""
    bound: bool
    """Whether the prediction is a bound: the largest bias, or the least speed."""
    text: str
    """Trace that it was predicted on."""
    predicted: float
    """Prediction."""
    prediction_interval95: tuple[float | None, float | None]
    """Its interval."""
    measured: float
    """What the run did."""
    inside: bool
    """Whether that lies in the interval."""
    p_value: float | None = None
    """Chance of an error as rare on either side; of a bound, of one as large [-]; None of no forecast."""
    holm_p_value: float | None = None
    """The same for the rarest of all forecasts, by Holm's rule [-]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a line-up's predictions."""

    rows: tuple[Judged, ...]
    """Every prediction whose run was decoded."""
    num_forecasts: int
    """Forecasts that are no bounds: the headline counts these."""
    share_inside: float
    """Share of them inside their 95 % prediction intervals [-]."""
    share_inside95: tuple[float, float]
    """Where that share lies in 95 of 100 draws in which every prediction holds [-]."""
    p_value: float
    """Chance that the ranks of their errors are as far from uniform if every prediction holds [-]."""
    num_bounds: int
    """Forecasts that are bounds."""
    bounds_inside: int
    """How many of them hold."""

    def __str__(self) -> str:
        low, high = self.share_inside95
        return (
            f"{self.share_inside:.1%} of {self.num_forecasts} forecasts lie inside their 95 % prediction "
            f"intervals, where {low:.0%} to {high:.0%} are to be expected; the joint test of all of them has "
            f"p = {self.p_value:.3g}. {self.bounds_inside} of {self.num_bounds} bounds hold."
        )


def judge_predictions(found: Predictions, decoded: DecodedTable) -> Verdict:
    """Join predictions with the run that was made of them.

    Parameters
    ----------
    found : Predictions
        Predictions of the line-up.
    decoded : DecodedTable
        The run; its header must hold the predictions' hash.

    Returns
    -------
    Verdict
        Every row, and the test of all forecasts at once.

    Raises
    ------
    ValueError
        If the run was not made of these predictions.
    """
    if (told := decoded.header.get("predictions_sha256")) != found.sha256:
        raise ValueError(
            f"predictions must be those that the run was made of, sha256 {told}; got {found.sha256}"
        )
    errors, measured = found.errors(), _measured(found, decoded)
    rows, places = [], []
    for place, row in enumerate(found.rows):
        if (row.run, row.quantity) not in measured:
            continue
        value = measured[row.run, row.quantity]
        rank = _rank(errors[:, place], value - row.predicted)
        tails = [1.0 - rank] if row.is_largest else [rank] if row.is_least else [2.0 * rank, 2.0 - 2.0 * rank]
        (low, high), slack = row.prediction_interval95, _SLACK * abs(row.predicted)
        rows.append(
            Judged(
                **{name: getattr(row, name) for name in _KEPT},
                measured=value,
                inside=(low is None or value >= low - slack) and (high is None or value <= high + slack),
                p_value=min(tails) if row.category == "forecast" else None,
            )
        )
        places.append(place)
    return _verdict(rows, errors[:, places], found)


_KEPT = ("run", "quantity", "category", "bound", "text", "predicted", "prediction_interval95")


def _measured(found: Predictions, decoded: DecodedTable) -> dict[tuple[str, str], float]:
    """Return every quantity of every run, by both names."""
    measured = {}
    for number, told in enumerate(decoded.header["runs"]):
        part = decoded.part(number)
        if not len(part["round"]):
            continue
        rounds = records.ledger(part, scheme_of(told), found.lineup.system)
        for quantity in QUANTITIES:
            top, under = (column.sum() for column in sums(quantity, rounds))
            measured[told["name"], quantity.name] = float(top / under) if under else np.nan
        measured[told["name"], _REJECTION] = float(np.mean(part["rejection"]))
    return {key: value for key, value in measured.items() if np.isfinite(value)}


def _rank(draws: Floats, value: float) -> float:
    """Share of the draws below a value, those equal to it counted half, never 0 or 1 [-]."""
    below = np.sum(draws < value) + 0.5 * np.sum(draws == value)
    return float((below + 0.5) / (len(draws) + 1.0))


def _verdict(rows: list[Judged], errors: Floats, found: Predictions) -> Verdict:
    forecasts = [i for i, row in enumerate(rows) if row.category == "forecast"]
    for place, value in zip(forecasts, _holm([rows[i].p_value or 0.0 for i in forecasts]), strict=True):
        rows[place] = replace(rows[place], holm_p_value=value)
    bounds = [rows[i] for i in forecasts if rows[i].bound]
    tested = [i for i in forecasts if not rows[i].bound]
    if not tested:
        raise MissingInputError("no run that was decoded has a forecast to test")
    ranks = (np.argsort(np.argsort(errors[:, tested], axis=0), axis=0) + 0.5) / len(errors)  # [B, R]
    met = [_rank(errors[:, i], rows[i].measured - rows[i].predicted) for i in tested]
    inside = np.mean((ranks >= 0.025) & (ranks <= 0.975), axis=1)
    low, high = np.quantile(inside, [0.025, 0.975])
    return Verdict(
        rows=tuple(rows),
        num_forecasts=len(tested),
        share_inside=float(np.mean([rows[i].inside for i in tested])),
        share_inside95=(float(low), float(high)),
        p_value=_joint_p_value(np.array(met), ranks),
        num_bounds=len(bounds),
        bounds_inside=sum(row.inside for row in bounds),
    )


def _joint_p_value(met: Floats, draws: Floats) -> float:
    """Share of the draws [B, R] with ranks as far from uniform as those met [R], by the rarer distance."""
    ordered = np.sort(np.vstack([met, draws]), axis=1)
    num = ordered.shape[1]
    steps = np.arange(num)
    weight = (2.0 * steps + 1.0) / num
    darling = -(np.log(ordered) + np.log1p(-ordered[:, ::-1])) @ weight
    kuiper = ((steps + 1) / num - ordered).max(axis=1) + (ordered - steps / num).max(axis=1)
    rare = np.minimum(*(len(far) - np.searchsorted(np.sort(far), far) for far in (darling, kuiper)))
    return float(np.mean(rare <= rare[0]))


def _holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down rule."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values)[order] * (len(order) - np.arange(len(order)))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted.tolist()
