"""How many tokens to draft before one verification, over any link, and when not to.

The i.i.d. closed forms: a draft is kept with chance alpha, whatever its position. Recorded tokens are
evaluated by `cuhlm_theory.schemes`, which keeps their dependence.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory import _special as special
from cuhlm_theory._checks import Floats, as_count, as_nonnegative, as_positive, as_probability
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.errors import DivergentError, InfeasibleError
from cuhlm_theory.parameters import Latency, Uplink
from cuhlm_theory.throughput import round_latency_s, round_parts_s, transmission_latency_s

_SEARCH_BITS = 52  # draft counts up to 2**52 are whole numbers in float64
_LAMBERT_SAFE = 600.0  # beyond it exp(-c) leaves float64 and Newton takes over


def expected_tokens_per_round(acceptance: ArrayLike, num_drafts: ArrayLike) -> Floats:
    r"""Mean number of tokens that one draft-then-verify round commits.

    .. math:: E[N] = \sum_{i=0}^{\gamma} \alpha^i = \frac{1 - \alpha^{\gamma + 1}}{1 - \alpha}
              \qquad \text{[SD, v2, eq. (1)], printed}

    Derivation: ``derivations.drafting.expected_tokens``.

    Parameters
    ----------
    acceptance : array_like, shape [...]
        :math:`\alpha`, chance that a draft is kept [-].
    num_drafts : array_like of int, shape [...]
        :math:`\gamma`, drafts a round, at least 0 [token].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`E[N]`, the server's own token included, between 1 and :math:`\gamma + 1` [token].

    Raises
    ------
    ValueError
        If an acceptance is outside [0, 1] or a count is negative or no whole number.

    References
    ----------
    .. [SD] Leviathan, Kalman, Matias, arXiv:2211.17192v2, Sec. 3.1.

    Examples
    --------
    >>> expected_tokens_per_round([0.5, 1.0], 2)
    array([1.75, 3.  ])
    """
    alpha = as_probability("acceptance", acceptance)
    count = as_count("num_drafts", num_drafts, at_least=0)
    return _geometric_sum(alpha, count + 1.0)


def _geometric_sum(alpha: Floats, terms: ArrayLike) -> Floats:
    """Return 1 + alpha + ... with ``terms`` terms, without the 0/0 at alpha = 1."""
    alpha, terms = np.broadcast_arrays(alpha, terms)
    inner = (alpha > 0.0) & (alpha < 1.0)
    log_alpha = np.log(alpha, out=np.zeros(alpha.shape), where=inner)
    total = np.where(alpha >= 1.0, terms, np.minimum(terms, 1.0))
    return np.divide(-np.expm1(terms * log_alpha), 1.0 - alpha, out=total, where=inner)


def speculation_speedup(acceptance: ArrayLike, num_drafts: ArrayLike, latency_ratio: ArrayLike) -> Floats:
    r"""Speed-up of drafting over the LLM alone.

    .. math:: S = \frac{1 - \alpha^{\gamma + 1}}{(1 - \alpha)(\gamma L + 1)}
              \qquad \text{[SD, v2, Theorem 3.8], printed}

    Derivation: ``derivations.drafting.speculation_speedup``.

    Parameters
    ----------
    acceptance : array_like, shape [...]
        :math:`\alpha` [-].
    num_drafts : array_like of int, shape [...]
        :math:`\gamma` [token].
    latency_ratio : array_like, shape [...]
        :math:`L`, time a draft adds to the round over the time of an LLM pass; c in [SD] [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`S` [-].

    Raises
    ------
    ValueError
        If an acceptance is outside [0, 1], a count below 0 or a ratio negative.

    References
    ----------
    .. [SD] Leviathan, Kalman, Matias, arXiv:2211.17192v2.

    Examples
    --------
    >>> round(float(speculation_speedup(0.8, 5, 0.1417)), 3)
    2.159
    """
    ratio = as_nonnegative("latency_ratio", latency_ratio)
    tokens = expected_tokens_per_round(acceptance, num_drafts)
    return tokens / (np.asarray(num_drafts) * ratio + 1.0)


def operations_ratio(acceptance: ArrayLike, num_drafts: ArrayLike, draft_cost: ArrayLike = 0.0) -> Floats:
    r"""Arithmetic operations per token over those of the LLM alone.

    .. math:: \frac{(1 - \alpha)(\gamma \hat c + \gamma + 1)}{1 - \alpha^{\gamma + 1}}
              \qquad \text{[SD, v2, Theorem 3.11], printed}

    Derivation: ``derivations.drafting.operations_ratio``.

    Parameters
    ----------
    acceptance : array_like, shape [...]
        :math:`\alpha` [-].
    num_drafts : array_like of int, shape [...]
        :math:`\gamma` [token].
    draft_cost : array_like, shape [...], default 0.0
        :math:`\hat c`, operations of a draft over those of an LLM token [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Ratio of operations [-], at least 1 for a free draft model.

    Raises
    ------
    ValueError
        If an acceptance is outside [0, 1], a count below 0 or a cost negative.

    References
    ----------
    .. [SD] Leviathan, Kalman, Matias, arXiv:2211.17192v2.

    Examples
    --------
    >>> operations_ratio([0.6, 0.9], [2, 10]).round(2)
    array([1.53, 1.6 ])
    """
    cost = as_nonnegative("draft_cost", draft_cost)
    count = as_count("num_drafts", num_drafts, at_least=0)
    return (count * cost + count + 1.0) / expected_tokens_per_round(acceptance, num_drafts)


def speculate(acceptance: ArrayLike, latency_ratio: ArrayLike) -> np.ndarray:
    r"""Whether any number of drafts beats the LLM alone.

    .. math:: \max_{\gamma \ge 1} S(\gamma) > 1 \iff \alpha > L      \qquad \text{[TK], made explicit}

    The mean of :math:`\alpha, \dots, \alpha^\gamma` falls with :math:`\gamma`, so one draft decides.
    Derivation: ``derivations.drafting.speculate``.

    Parameters
    ----------
    acceptance : array_like, shape [...]
        :math:`\alpha` [-].
    latency_ratio : array_like, shape [...]
        :math:`L` [-].

    Returns
    -------
    ndarray of bool, shape [...]
        True where drafting pays.

    Raises
    ------
    ValueError
        If an acceptance is outside [0, 1] or a ratio negative.

    References
    ----------
    .. [TK] TK-SLT, arXiv:2509.04576.

    Examples
    --------
    >>> speculate([0.6, 0.2], 0.3)
    array([ True, False])
    """
    return np.asarray(
        as_probability("acceptance", acceptance) > as_nonnegative("latency_ratio", latency_ratio)
    )


def best_num_drafts(acceptance: ArrayLike, latency_ratio: ArrayLike) -> Floats:
    r"""Draft count of the largest speed-up, by search; the smaller one of a tie, at least 1.

    .. math:: \gamma^* = \min\{\gamma \ge 1 : \alpha^{\gamma + 1} (1 + \gamma L) \le L \, E[N_\gamma]\}
              \qquad \text{[new]}

    The condition is :math:`S(\gamma + 1) \le S(\gamma)`; the difference of its two sides falls with
    :math:`\gamma`, so S has one peak and bisection finds it.
    Derivation: ``derivations.drafting.best_num_drafts``.

    Parameters
    ----------
    acceptance : array_like, shape [...]
        :math:`\alpha`, below 1 [-].
    latency_ratio : array_like, shape [...]
        :math:`L`, above 0 [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`\gamma^*`, whole numbers [token].

    Raises
    ------
    ValueError
        If an acceptance is outside [0, 1] or a ratio negative.
    DivergentError
        If drafts are free or always kept, so that more of them is always better.

    Examples
    --------
    >>> best_num_drafts([0.6, 0.8], [0.01, 0.1417])
    array([7., 5.])
    """
    alpha, ratio = np.broadcast_arrays(
        as_probability("acceptance", acceptance), as_nonnegative("latency_ratio", latency_ratio)
    )
    _refuse_endless(alpha, ratio)
    low = np.zeros(alpha.shape)  # S still rises from here, or it is 0
    high = np.full(alpha.shape, 2.0**_SEARCH_BITS)  # S no longer rises
    for _ in range(_SEARCH_BITS):
        middle = np.floor(0.5 * (low + high))
        rises = alpha ** (middle + 1.0) * (1.0 + middle * ratio) > ratio * _geometric_sum(alpha, middle + 1.0)
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    return np.maximum(high, 1.0)


def _refuse_endless(alpha: Floats, ratio: Floats) -> None:
    if np.any((ratio == 0.0) & (alpha > 0.0)):
        raise DivergentError(
            "the best number of drafts is infinite where a draft costs no time; give latency_ratio > 0"
        )
    if np.any((alpha == 1.0) & (ratio < 1.0)):
        raise DivergentError(
            "the best number of drafts is infinite where every draft is kept; give acceptance < 1"
        )


def continuous_num_drafts(acceptance: ArrayLike, latency_ratio: ArrayLike) -> Floats:
    r"""Draft count of the largest speed-up if it need not be whole.

    .. math:: \gamma_0 = \frac{W_{-1}(-\alpha^{1/L - 1} / e) + 1}{\ln \alpha} - \frac1L
              \qquad \text{[TK], printed}

    Derivation: ``derivations.drafting.continuous_num_drafts``.

    Parameters
    ----------
    acceptance : array_like, shape [...]
        :math:`\alpha`, in (0, 1) [-].
    latency_ratio : array_like, shape [...]
        :math:`L`, in (0, 1) [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`\gamma_0` [token]; 0 or less where not even one draft pays.

    Raises
    ------
    ValueError
        If an argument is outside (0, 1).

    Notes
    -----
    The argument of W underflows for small L; there :math:`y - \ln y = c` is solved by Newton's method, with
    :math:`y = -W` and :math:`c = 1 - (1/L - 1) \ln \alpha`.

    References
    ----------
    .. [TK] TK-SLT, arXiv:2509.04576.

    Examples
    --------
    >>> round(float(continuous_num_drafts(0.6, 0.01)), 4)
    6.8657
    """
    alpha, ratio = np.broadcast_arrays(
        as_probability("acceptance", acceptance), as_nonnegative("latency_ratio", latency_ratio)
    )
    for name, value in (("acceptance", alpha), ("latency_ratio", ratio)):
        outside = (value <= 0.0) | (value >= 1.0)
        if np.any(outside):
            raise ValueError(f"{name} must lie in (0, 1); got {value[outside].flat[0]:g}")
        as_positive(name, value)
    log_alpha = np.log(alpha)
    target = 1.0 - (1.0 / ratio - 1.0) * log_alpha  # c
    root = -np.real(special.lambertw(-np.exp(-np.minimum(target, _LAMBERT_SAFE)), -1))
    far = target > _LAMBERT_SAFE
    for _ in range(
        2
    ):  # where Newton is needed the start is off by ln(c) < 1e-2 c: errors of 1e-4, then 1e-14
        start = np.maximum(root, target)
        root = np.where(far, start - (start - np.log(start) - target) / (1.0 - 1.0 / start), root)
    return (1.0 - root) / log_alpha - 1.0 / ratio


def printed_num_drafts(acceptance: ArrayLike, latency_ratio: ArrayLike) -> Floats:
    r"""Draft count by the printed rule: the better neighbour of the Lambert form, at least 1.

    Derivation: ``derivations.drafting.continuous_num_drafts``. [TK], printed.

    Parameters
    ----------
    acceptance : array_like, shape [...]
        :math:`\alpha`, in (0, 1) [-].
    latency_ratio : array_like, shape [...]
        :math:`L`, in (0, 1) [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Whole numbers, equal to `best_num_drafts` [token].

    Raises
    ------
    ValueError
        If an argument is outside (0, 1).

    References
    ----------
    .. [TK] TK-SLT, arXiv:2509.04576: alpha = 0.6 and L = 0.01 give 7 drafts.

    Examples
    --------
    >>> int(printed_num_drafts(0.6, 0.01))
    7
    """
    below = np.maximum(np.floor(continuous_num_drafts(acceptance, latency_ratio)), 1.0)
    gain = speculation_speedup(acceptance, below + 1.0, latency_ratio) - speculation_speedup(
        acceptance, below, latency_ratio
    )
    return np.where(gain > 0.0, below + 1.0, below)


def latency_ratio(latency: Latency, draft_uplink_s: ArrayLike) -> Floats:
    r"""Time that a draft adds to a round over the time of an LLM pass.

    .. math:: L = (\tau_\mathrm{SLM} + \tau_\mathrm{up} + t_1) / (\tau_\mathrm{LLM} + \tau_\mathrm{rtt})
              \qquad \text{[TK], printed without round trip and t_1}

    :math:`t_1`, what the LLM takes for a further token in its pass, is a cost of the draft.

    Derivation: ``derivations.drafting.latency_ratio``.

    Parameters
    ----------
    latency : Latency
        Compute and protocol latencies [s].
    draft_uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}`, uplink time of one draft [s].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`L` [-].

    Raises
    ------
    ValueError
        If the uplink time is negative or infinite.

    Notes
    -----
    With a round trip the best draft count is that of L, but the break-even is not: the LLM alone pays none.
    What the device reads after a run that is kept whole (`Latency.slm_per_token_s`) is left out.

    References
    ----------
    .. [TK] TK-SLT, arXiv:2509.04576: L(K) = 0.07 + 0.23 K / 32000 at 50 Mbit/s and 16 bit a probability.

    Examples
    --------
    >>> round(float(latency_ratio(Latency(slm_s=0.0031, llm_s=0.0445), 32000 * 16 / 50e6)), 2)
    0.3
    """
    added_s = latency.slm_s + as_nonnegative("draft_uplink_s", draft_uplink_s) + latency.llm.per_token_s
    return added_s / transmission_latency_s(latency, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftPlan:
    """Best draft count over a link, and what it brings."""

    num_drafts: int
    """Drafts a round, at least 1 [token]."""
    tokens_per_round: float
    """E[N] [token]."""
    round_s: float
    """E[D], all drafts in one packet [s]."""
    throughput_token_per_s: float
    """E[N]/E[D] [token/s]."""
    speedup: float
    """Over the LLM alone [-]."""
    speculate: bool
    """Whether that speed-up exceeds 1."""


def best_drafts_on_link(
    acceptance: float,
    latency: Latency,
    link: Uplink,
    bits_per_draft: float,
    *,
    downlink_bit: float = 0.0,
    rejection_downlink_bit: float = 0.0,
) -> DraftPlan:
    r"""Draft count of the highest throughput when the drafts of a round travel in one packet.

    .. math:: \max_{\gamma \ge 1} \frac{E[N_\gamma]}{\gamma \tau_\mathrm{SLM} + \tau_\mathrm{up}(\gamma B)
              + t_0 + (\gamma + 1) t_1 + \dots}      \qquad \text{[new]}

    On a link whose latency is not proportional to the bits (short packets) there is no closed form. E[N]
    stays below :math:`1/(1 - \alpha)` while the round grows, which bounds the search and proves its result.
    Derivation: ``derivations.drafting.draft_bound``.

    Parameters
    ----------
    acceptance : float
        :math:`\alpha`, below 1 [-].
    latency : Latency
        Compute and protocol latencies [s].
    link : Link or FixedRate
        Uplink, with any channel model.
    bits_per_draft : float
        :math:`B`, payload of one draft [bit].
    downlink_bit : float, default 0.0
        Answer of the server to every round [bit].
    rejection_downlink_bit : float, default 0.0
        What a rejection adds to the answer [bit].

    Returns
    -------
    DraftPlan
        The best count and its rates.

    Raises
    ------
    ValueError
        If the acceptance is outside [0, 1] or a number of bits is negative.
    DivergentError
        If every draft is kept, so that more of them is always better.
    InfeasibleError
        If the link is dead and the drafts have bits to carry.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Link
    >>> tau, slow = Latency(slm_s=0.01, llm_s=0.1), Link(bandwidth_hz=1e6, snr=1.0)
    >>> best_drafts_on_link(0.6, tau, slow, 24).num_drafts
    3
    >>> best_drafts_on_link(0.6, tau, slow, 736e3).speculate
    False
    """
    alpha = float(as_probability("acceptance", acceptance))
    _refuse_endless(np.asarray(alpha), np.asarray(0.5))  # whatever a draft costs
    most = 1.0 / (1.0 - alpha)
    first, best = 1, None
    block = 32
    answers = (
        float(as_nonnegative("downlink_bit", downlink_bit)),
        float(as_nonnegative("rejection_downlink_bit", rejection_downlink_bit)),
    )
    while (
        best is None
        or most / _round_s(np.array([first]), 0.0, latency, link, bits_per_draft)[0]
        > best.throughput_token_per_s
    ):
        count = np.arange(first, first + block)
        seconds = _round_s(count, alpha**count, latency, link, bits_per_draft, answers)
        plan = _plan(count, expected_tokens_per_round(alpha, count), seconds, latency)
        if best is None or plan.throughput_token_per_s > best.throughput_token_per_s:
            best = plan
        first, block = first + block, 2 * block
    return best


def best_drafts_of_survival(
    survival: ArrayLike,
    latency: Latency,
    link: Uplink,
    bits_per_draft: float,
    *,
    downlink_bit: float = 0.0,
    rejection_downlink_bit: float = 0.0,
) -> DraftPlan:
    r"""Draft count of the highest throughput where one chance for all drafts does not do.

    .. math:: \max_{1 \le \gamma \le J} \frac{1 + P_1 + \dots + P_\gamma}
              {\gamma \tau_\mathrm{SLM} + \tau_\mathrm{up}(\gamma B) + t_0 + (\gamma + 1) t_1 + \dots}
              \qquad \text{[new]}

    Recorded runs are heavy-headed: a first draft is refused more often than one that follows kept drafts.
    Derivation: ``derivations.drafting.recorded_survival``.

    Parameters
    ----------
    survival : array_like, shape [J]
        :math:`P_j`, chance that the first j drafts of a run are kept, not rising [-].
    latency : Latency
        Compute and protocol latencies [s].
    link : Link or FixedRate
        Uplink, with any channel model.
    bits_per_draft : float
        :math:`B`, payload of one draft [bit].
    downlink_bit : float, default 0.0
        Answer of the server to every round [bit].
    rejection_downlink_bit : float, default 0.0
        What a rejection adds to the answer [bit].

    Returns
    -------
    DraftPlan
        The best count, among those that were recorded, and its rates.

    Raises
    ------
    ValueError
        If the survival is no list of chances that do not rise, or a number of bits is negative.
    InfeasibleError
        If the link is dead and the drafts have bits to carry.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Link
    >>> tau, slow = Latency(slm_s=0.01, llm_s=0.1), Link(bandwidth_hz=1e6, snr=1.0)
    >>> best_drafts_of_survival([0.6, 0.36, 0.216, 0.1296], tau, slow, 24).num_drafts
    3
    >>> best_drafts_of_survival([0.4, 0.36, 0.32, 0.28], tau, slow, 24).num_drafts
    4
    """
    chances = as_probability("survival", survival)
    if chances.ndim != 1 or not len(chances):
        raise ValueError(f"survival must have one chance a draft, [J]; got shape {chances.shape}")
    if np.any(rises := np.diff(chances) > 0.0):
        place = int(np.argmax(rises))
        raise ValueError(f"survival must not rise; got {chances[place + 1]:g} after {chances[place]:g}")
    count, answers = np.arange(1, len(chances) + 1), (downlink_bit, rejection_downlink_bit)
    seconds = _round_s(count, chances, latency, link, bits_per_draft, answers)
    return _plan(count, 1.0 + np.cumsum(chances), seconds, latency)


def _round_s(
    count: np.ndarray,
    whole: ArrayLike,
    latency: Latency,
    link: Uplink,
    bits_per_draft: float,
    answer_bit: tuple[float, float] = (0.0, 0.0),
) -> Floats:
    """Seconds of rounds that are kept whole with a chance; the second answer is what a rejection adds."""
    bits, kept = count * float(as_nonnegative("bits_per_draft", bits_per_draft)), np.asarray(whole)
    parts = round_parts_s(
        latency,
        drafts=count,
        slm_catch_up=kept,
        llm_calls=1.0,
        llm_fed=count + 1.0,
        uplink_s=packet_latency_s(link, bits),
        downlink_bit=answer_bit[0] + (1.0 - kept) * answer_bit[1],
    )
    return np.asarray(sum(parts))


def _plan(count: np.ndarray, tokens: Floats, seconds: Floats, latency: Latency) -> DraftPlan:
    """Return the fastest of some draft counts."""
    if not math.isfinite(seconds[0]):
        raise InfeasibleError("the link is dead and drafts must be sent; raise snr_db or use the SLM alone")
    rate = tokens / seconds
    peak = int(np.argmax(rate))
    speedup = float(rate[peak]) * latency.llm_s
    return DraftPlan(
        num_drafts=int(count[peak]),
        tokens_per_round=float(tokens[peak]),
        round_s=float(seconds[peak]),
        throughput_token_per_s=float(rate[peak]),
        speedup=speedup,
        speculate=speedup > 1.0,
    )


def sync_tokens_per_round(
    transmit_probability: ArrayLike, risk: ArrayLike, *, transmitted_rejection: ArrayLike | None = None
) -> Floats:
    r"""Mean tokens that one round of verify-on-sync commits, for i.i.d. tokens.

    The run is geometric: it ends with the first draft that triggers a transmission. The LLM pass keeps drafts
    up to the first rejection and replaces that one:

    .. math:: E[N] = \frac{1}{p_\mathrm{tx} + R}, \qquad
              E[N_\mathrm{bonus}] = \frac{1 + p_\mathrm{tx} (1 - \beta_\mathrm{tx})}{p_\mathrm{tx} + R}
              \qquad \text{[new]}

    where :math:`R = E[s \beta]` is the risk that CU-HLM takes at the same trigger.
    Derivation: ``derivations.drafting.sync_tokens_per_round``.

    Parameters
    ----------
    transmit_probability : array_like, shape [...]
        :math:`p_\mathrm{tx}`, chance that a draft triggers, above 0 [-].
    risk : array_like, shape [...]
        :math:`R`, mean over all drafts of skip times rejection probability [-].
    transmitted_rejection : array_like, shape [...], optional
        :math:`\beta_\mathrm{tx}`, mean rejection probability of the drafts that trigger; given, the LLM adds
        its own token after a fully kept run [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`E[N]` [token].

    Raises
    ------
    ValueError
        If a probability is outside its range or the risk exceeds the skip rate.

    Notes
    -----
    :math:`p_\mathrm{tx} + R` rounds a token hold for any dependence between the tokens, without the bonus:
    every token ends a round exactly when it triggered or was rejected.

    Examples
    --------
    >>> float(sync_tokens_per_round(0.2, 0.05))
    4.0
    >>> round(float(sync_tokens_per_round(0.2, 0.05, transmitted_rejection=0.5)), 6)
    4.4
    """
    chance = as_positive("transmit_probability", as_probability("transmit_probability", transmit_probability))
    loss = as_probability("risk", risk)
    if np.any(loss > 1.0 - chance + 1e-12):
        raise ValueError("risk must be at most the skip rate 1 - transmit_probability")
    if transmitted_rejection is None:
        return 1.0 / (chance + loss)
    kept = 1.0 - as_probability("transmitted_rejection", transmitted_rejection)
    return (1.0 + chance * kept) / (chance + loss)


def sync_latency_s(
    latency: Latency,
    transmit_probability: ArrayLike,
    risk: ArrayLike,
    draft_uplink_s: ArrayLike,
    *,
    transmitted_rejection: ArrayLike | None = None,
    bonus: bool = True,
    kept_bit: float = 0.0,
    rejected_bit: float = 0.0,
) -> Floats:
    r"""Mean latency of a token of verify-on-sync, for i.i.d. tokens and a link proportional to the bits.

    .. math:: \frac{E[D]}{E[N]} = \left(\frac{\tau_\mathrm{SLM} + \tau_\mathrm{up}(b) + t_1}{p_\mathrm{tx}}
              + t_0 + F \tau_\mathrm{ok} + (1 - F) \tau_y\right) \bigg/ E[N], \qquad
              F = \frac{p_\mathrm{tx} (1 - \beta_\mathrm{tx})}{p_\mathrm{tx} + R}      \qquad \text{[new]}

    With a bonus token each model reads one more, the device where it was added.
    Derivation: ``derivations.drafting.sync_latency``.

    Parameters
    ----------
    latency : Latency
        Compute and protocol latencies [s].
    transmit_probability : array_like, shape [...]
        :math:`p_\mathrm{tx}`, above 0 [-].
    risk : array_like, shape [...]
        :math:`R` [-].
    draft_uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}(b)`, uplink time of one draft: its index and its probability [s].
    transmitted_rejection : array_like, shape [...], optional
        :math:`\beta_\mathrm{tx}`, needed where the two answers differ and for a bonus token [-].
    bonus : bool, default True
        Whether the LLM adds its own token after a fully kept run, if ``transmitted_rejection`` is given.
    kept_bit : float, default 0.0
        Answer to a run that is kept whole, sent in :math:`\tau_\mathrm{ok}` [bit].
    rejected_bit : float, default 0.0
        Answer with a law to resample from, sent in :math:`\tau_y` [bit].

    Returns
    -------
    ndarray of float64, shape [...]
        Seconds a token [s].

    Raises
    ------
    ValueError
        If a probability is outside its range, a latency negative, or the answers differ without
        ``transmitted_rejection``.

    Examples
    --------
    >>> tau = Latency(slm_s=0.01, llm_s=0.1, downlink_bit_per_s=1e6)
    >>> round(float(sync_latency_s(tau, 0.2, 0.05, 0.002)), 6)
    0.04
    >>> known = {"transmitted_rejection": 0.5, "bonus": False}
    >>> round(float(sync_latency_s(tau, 0.2, 0.05, 0.002, rejected_bit=256_000, **known)), 6)
    0.0784
    """
    adds_bonus = bonus and transmitted_rejection is not None
    tokens = sync_tokens_per_round(
        transmit_probability, risk, transmitted_rejection=transmitted_rejection if bonus else None
    )
    chance = as_probability("transmit_probability", transmit_probability)
    answer_bit, whole = kept_bit, 0.0
    if transmitted_rejection is not None:
        kept = 1.0 - as_probability("transmitted_rejection", transmitted_rejection)
        whole = chance * kept / (chance + np.asarray(risk))
    if rejected_bit != kept_bit:
        if transmitted_rejection is None:
            raise ValueError("rejected_bit other than kept_bit needs transmitted_rejection; got None")
        answer_bit = whole * kept_bit + (1.0 - whole) * rejected_bit
    parts = round_parts_s(
        latency,
        drafts=1.0 / chance,
        slm_catch_up=whole * adds_bonus,
        llm_calls=1.0,
        llm_fed=1.0 / chance + adds_bonus,
        uplink_s=as_nonnegative("draft_uplink_s", draft_uplink_s) / chance,
        downlink_bit=answer_bit,
    )
    return np.asarray(sum(parts)) / tokens


def sync_break_even_risk(
    latency: Latency,
    transmit_probability: ArrayLike,
    uplink_s: ArrayLike,
    draft_uplink_s: ArrayLike,
    *,
    transmitted_rejection: ArrayLike = 0.0,
    answer_bit: float = 0.0,
    kept_bit: float = 0.0,
    rejected_bit: float = 0.0,
) -> Floats:
    r"""Risk at which verify-on-sync is as fast as CU-HLM at the same trigger; below it, it is faster.

    .. math:: R^* = \frac{\tau_\mathrm{CU}
              + p_\mathrm{tx} (1 - \beta_\mathrm{tx}) (\tau_y - \tau_\mathrm{ok})}
              {(\tau_\mathrm{SLM} + \tau_\mathrm{up}(b) + t_1) / p_\mathrm{tx} + t_0 + \tau_y}
              - p_\mathrm{tx}
              = p_\mathrm{tx} \frac{p_\mathrm{tx} \tau_\mathrm{up}(k) - \tau_\mathrm{up}(b)}
              {\tau_\mathrm{SLM} + \tau_\mathrm{up}(b) + t_1 + p_\mathrm{tx} t_0}
              \text{ on a free downlink}      \qquad \text{[new]}

    Without the bonus token. Derivation: ``derivations.drafting.sync_break_even_risk``.

    Parameters
    ----------
    latency : Latency
        Compute and protocol latencies [s]; a round trip counts as server time.
    transmit_probability : array_like, shape [...]
        :math:`p_\mathrm{tx}`, above 0 [-].
    uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}(k)` of CU-HLM [s].
    draft_uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}(b)`, uplink time of one draft of verify-on-sync [s].
    transmitted_rejection : array_like, shape [...], default 0.0
        :math:`\beta_\mathrm{tx}`, mean rejection probability of the drafts that trigger [-].
    answer_bit : float, default 0.0
        Answer of the server to CU-HLM [bit].
    kept_bit : float, default 0.0
        Answer of verify-on-sync to a run that is kept whole, sent in :math:`\tau_\mathrm{ok}` [bit].
    rejected_bit : float, default 0.0
        Its answer with a law to resample from, sent in :math:`\tau_y` [bit].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`R^*` [-]; negative where CU-HLM is faster at any risk.

    Raises
    ------
    ValueError
        If the probability is outside (0, 1], or a latency or an answer negative.

    Examples
    --------
    >>> tau = Latency(slm_s=0.01, llm_s=0.1, downlink_bit_per_s=1e6)
    >>> round(float(sync_break_even_risk(tau, 0.2, 0.05, 0.002)), 6)
    0.05
    >>> round(float(sync_break_even_risk(tau, 0.2, 0.05, 0.002, rejected_bit=10_000)), 6)
    0.047059
    """
    chance = as_positive("transmit_probability", as_probability("transmit_probability", transmit_probability))
    kept = chance * (1.0 - as_probability("transmitted_rejection", transmitted_rejection))
    draft_s = as_nonnegative("draft_uplink_s", draft_uplink_s)
    kept_s, rejected_s = (
        as_nonnegative(name, bit) / latency.downlink_bit_per_s
        for name, bit in (("kept_bit", kept_bit), ("rejected_bit", rejected_bit))
    )
    plain_s = round_latency_s(latency, chance, uplink_s, downlink_bit=answer_bit)
    busy_s = (latency.slm_s + draft_s) / chance + transmission_latency_s(
        latency, 0.0, downlink_bit=rejected_bit, width=1.0 / chance
    )
    return (plain_s + kept * (rejected_s - kept_s)) / busy_s - chance
