"""What rivals since mid-2025 rest on: delays, survival, proposals, lossy acceptance."""

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import (
    Floats,
    as_count,
    as_distribution,
    as_nonnegative,
    as_numbers,
    as_positive,
    as_probability,
    check_vocabulary,
)
from cuhlm_theory._laws import excess_law
from cuhlm_theory.drafting import best_num_drafts, expected_tokens_per_round, speculation_speedup

# ------------------------------------------------------------------------------------------ UCB-SpecStop


def delay_ratio(draft_s: ArrayLike, verify_s: ArrayLike, delay_s: ArrayLike) -> Floats:
    r"""Time that a draft adds to a round over that of a round without drafts, with a one-way delay.

    .. math:: C(k, d) = \frac{k (c_d + c_v) + 2 d + c_v}{B(k)} = (2 d + c_v) / S(k), \qquad
              L = \frac{c_d + c_v}{2 d + c_v}      \qquad \text{[STOP], printed; L is new}

    so the latency is that of [SD] at this ratio, and with it `drafting.best_num_drafts` is :math:`k^*`.
    Derivation: ``derivations.rivals.delay_ratio``.

    Parameters
    ----------
    draft_s : array_like, shape [...]
        :math:`c_d`, time of a draft [s].
    verify_s : array_like, shape [...]
        :math:`c_v`, time to verify a token, of which a round verifies one more than it drafts [s].
    delay_s : array_like, shape [...]
        :math:`d`, one-way delay [s].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`L` [-].

    Raises
    ------
    ValueError
        If a time is negative or infinite, or no draft takes time.

    References
    ----------
    .. [STOP] UCB-SpecStop, arXiv:2606.20591.

    Examples
    --------
    >>> ratio = delay_ratio(0.001, 0.0005, [0.005, 0.1])
    >>> best_num_drafts(0.7, ratio)
    array([ 3., 10.])
    """
    verify = as_nonnegative("verify_s", verify_s)
    idle_s = as_positive("verify_s and 2 delay_s", verify + 2.0 * as_nonnegative("delay_s", delay_s))
    return np.asarray((as_positive("draft_s", draft_s) + verify) / idle_s)


def delayed_latency_s(
    acceptance: ArrayLike, num_drafts: ArrayLike, draft_s: ArrayLike, verify_s: ArrayLike, delay_s: ArrayLike
) -> Floats:
    r"""Time a token when rounds of k drafts cross a link with a delay: C(k, d) of `delay_ratio`.

    Derivation: ``derivations.rivals.delay_ratio``.

    Parameters
    ----------
    acceptance : array_like, shape [...]
        :math:`\alpha` [-].
    num_drafts : array_like of int, shape [...]
        :math:`k` [token].
    draft_s : array_like, shape [...]
        :math:`c_d` [s].
    verify_s : array_like, shape [...]
        :math:`c_v` [s].
    delay_s : array_like, shape [...]
        :math:`d` [s].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`C(k, d)` [s]; affine in the delay, so a fixed k sees a random delay through its mean alone.

    Raises
    ------
    ValueError
        If an acceptance is outside [0, 1], a count below 0 or a time negative or infinite.

    References
    ----------
    .. [STOP] UCB-SpecStop, arXiv:2606.20591.

    Examples
    --------
    >>> delayed_latency_s(0.7, [3, 10], 0.001, 0.0005, [0.005, 0.1]).round(6)
    array([0.005922, 0.065954])
    """
    idle_s = 2.0 * as_nonnegative("delay_s", delay_s) + as_nonnegative("verify_s", verify_s)
    return idle_s / speculation_speedup(acceptance, num_drafts, delay_ratio(draft_s, verify_s, delay_s))


def critical_delay_s(acceptance: ArrayLike, draft_s: ArrayLike, verify_s: ArrayLike) -> Floats:
    r"""One-way delay up to which a single draft a round is best.

    .. math:: d_c = \frac{(c_d + c_v)(1 + \alpha)}{2 \alpha^2} - \frac{c_d + 2 c_v}{2}
              \qquad \text{[STOP], printed}

    Derivation: ``derivations.rivals.delay_ratio``.

    Parameters
    ----------
    acceptance : array_like, shape [...]
        :math:`\alpha`, above 0 [-].
    draft_s : array_like, shape [...]
        :math:`c_d` [s].
    verify_s : array_like, shape [...]
        :math:`c_v` [s].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`d_c` [s].

    Raises
    ------
    ValueError
        If an acceptance is outside (0, 1] or a time negative or infinite.

    References
    ----------
    .. [STOP] UCB-SpecStop, arXiv:2606.20591.

    Examples
    --------
    >>> critical_delay_s([0.5, 0.7], 0.001, 0.0005).round(6)
    array([0.0035  , 0.001602])
    """
    alpha = as_positive("acceptance", as_probability("acceptance", acceptance))
    draft, verify = as_nonnegative("draft_s", draft_s), as_nonnegative("verify_s", verify_s)
    with np.errstate(over="ignore"):  # a delay that no number holds is never reached
        return (draft + verify) * (1.0 + alpha) / (2.0 * alpha**2) - 0.5 * (draft + 2.0 * verify)


def state_value_s(
    acceptance: ArrayLike, draft_s: ArrayLike, verify_s: ArrayLike, delay_s: ArrayLike, weight: ArrayLike
) -> Floats:
    r"""Time a token that knowing the state of the network saves.

    .. math:: C(k^*(\bar d), \bar d) - E\, C(k^*(d), d) \ge 0      \qquad \text{[STOP], printed}

    Derivation: ``derivations.rivals.state_value``.

    Parameters
    ----------
    acceptance : array_like, shape [...]
        :math:`\alpha`, below 1 [-].
    draft_s : array_like, shape [...]
        :math:`c_d` [s].
    verify_s : array_like, shape [...]
        :math:`c_v` [s].
    delay_s : array_like, shape [..., N]
        :math:`d` of each state [s].
    weight : array_like, shape [..., N]
        How often each state holds [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Value [s].

    Raises
    ------
    ValueError
        If an argument is out of its range, or the weights do not sum to 1.
    DivergentError
        If every draft is kept.

    References
    ----------
    .. [STOP] UCB-SpecStop, arXiv:2606.20591.

    Examples
    --------
    >>> round(float(state_value_s(0.7, 0.001, 0.0005, [0.005, 0.1], [0.5, 0.5])), 6)
    0.000794
    """
    alpha, draft, verify = (
        check(name, value)[..., None]
        for check, name, value in (
            (as_probability, "acceptance", acceptance),
            (as_nonnegative, "draft_s", draft_s),
            (as_nonnegative, "verify_s", verify_s),
        )
    )
    delay, chance = as_nonnegative("delay_s", delay_s), as_distribution("weight", weight)

    def best_s(delay: Floats) -> Floats:
        count = best_num_drafts(alpha, delay_ratio(draft, verify, delay))
        return delayed_latency_s(alpha, count, draft, verify, delay)

    mean = (chance * delay).sum(axis=-1, keepdims=True)
    return np.asarray(best_s(mean)[..., 0] - (chance * best_s(delay)).sum(axis=-1))


def survival_curve(ratio: ArrayLike, prompt: ArrayLike, num_drafts: int, weight: ArrayLike = 1.0) -> Floats:
    r"""Chance that the first 1, 2, ... drafts of a round stand, over the recorded places it may begin at.

    .. math:: S_j = E\, p_j, \qquad p_0 = 1, \quad p_j = \min(1, p_{j-1} r_j)
              \qquad \text{[BLOCK]; with } r \le 1 \text{ the product, [STOP]}

    Derivation: ``derivations.rivals.block_survival``.

    Parameters
    ----------
    ratio : array_like, shape [N]
        :math:`r`, acceptance of each draft, or :math:`y_d / x_d` of a block that is verified as one [-].
    prompt : array_like of int, shape [N]
        Text that each token belongs to, tokens of a text in their order [-].
    num_drafts : int
        Drafts a round [token]; rounds begin wherever that many were recorded.
    weight : array_like, shape [N], default 1.0
        How often a round begins with each token, up to a factor [-].

    Returns
    -------
    ndarray of float64, shape [J]
        :math:`S_1, \dots, S_J` [-], J = ``num_drafts``.

    Raises
    ------
    ValueError
        If a ratio is negative, or ``num_drafts`` is below 1 or more than the longest text has.

    Notes
    -----
    Rejections come in clusters and rounds begin after them: drafts survive less there than anywhere in a text
    alike, which is what ``weight`` is for. The survival of a block falls with j on average over drafts that
    the small model drew; a few recorded ones may not show it.

    References
    ----------
    .. [BLOCK] block verification, arXiv:2403.10444. [STOP] arXiv:2606.20591.

    Examples
    --------
    >>> survival_curve([0.5, 0.8, 1.0, 0.5], [0, 0, 0, 0], 3).round(6)
    array([0.65, 0.6 , 0.4 ])
    """
    r, texts = as_nonnegative("ratio", ratio), np.asarray(prompt)
    if not r.shape == texts.shape == (r.size,) or not r.size:
        raise ValueError(f"ratio and prompt must have one shape [N], N >= 1; got {r.shape}, {texts.shape}")
    order, (_, length) = np.argsort(texts, kind="stable"), np.unique(texts, return_counts=True)
    count = int(as_count("num_drafts", num_drafts, at_most=int(length.max())))
    left = np.repeat(np.cumsum(length), length) - np.arange(r.size)  # tokens from a place to the text's end
    begins = np.flatnonzero(left >= count)
    r, mass = r[order], np.broadcast_to(as_nonnegative("weight", weight), r.shape)[order][begins]
    if not mass.sum() > 0.0:
        raise ValueError("weight must be positive where a run begins; got 0")
    stands, curve = np.ones(begins.size), np.empty(count)
    for place in range(count):
        stands = np.minimum(stands * r[begins + place], 1.0)
        curve[place] = mass @ stands
    return curve / mass.sum()


def independent_survival_curve(ratio: ArrayLike, weight: ArrayLike, num_drafts: int) -> Floats:
    r"""Chance that the first 1, 2, ... drafts of a round stand, for i.i.d. drafts.

    .. math:: S_j = F_j(1), \qquad F_0(p) = p, \quad F_j(p) = E\, F_{j-1}(\min(1, p\, r))
              \qquad \text{[BLOCK]}

    Derivation: ``derivations.rivals.block_survival``.

    Parameters
    ----------
    ratio : array_like, shape [N]
        :math:`r = y_d / x_d` [-].
    weight : array_like, shape [N]
        How often each draft is made, up to a factor [-].
    num_drafts : int
        Drafts a round [token].

    Returns
    -------
    ndarray of float64, shape [J]
        :math:`S_1, \dots, S_J` [-], J = ``num_drafts``.

    Raises
    ------
    ValueError
        If a ratio or a weight is negative or ``num_drafts`` is below 1.

    Notes
    -----
    F is concave and is interpolated between 513 points: at most 1e-5 too low for the laws of the tests.

    References
    ----------
    .. [BLOCK] block verification, arXiv:2403.10444.

    Examples
    --------
    >>> independent_survival_curve([0.5, 1.5], [0.5, 0.5], 2).round(6)
    array([0.75 , 0.625])
    """
    r, mass = as_nonnegative("ratio", ratio), as_nonnegative("weight", weight)
    if not r.shape == mass.shape == (r.size,) or not mass.sum() > 0.0:
        raise ValueError(
            f"ratio and weight must have one shape [N], of a positive weight; got {r.shape} and {mass.shape}"
        )
    grid = np.linspace(0.0, 1.0, 513)
    value, curve = grid, []
    for _ in range(int(as_count("num_drafts", num_drafts))):
        value = np.interp(np.minimum(grid[:, None] * r, 1.0), grid, value) @ (mass / mass.sum())
        curve.append(value[-1])
    return np.array(curve)


# ---------------------------------------------------------------------------------------------- AsymSpec


def _proposals(most: ArrayLike) -> Floats:
    """Most proposals a token, perhaps without an end."""
    count = as_numbers("most", most)
    if np.any(bad := ~(count >= 0.0)):  # catches NaN
        raise ValueError(f"most must be at least 0; got {count[bad].flat[0]:g}")
    return count


def proposals_per_token(rejection: ArrayLike, most: ArrayLike = np.inf) -> Floats:
    r"""Tokens that the server proposes for a verified draft until the device takes one, on average.

    .. math:: \beta \sum_{m=0}^{M-1} (1 - \beta)^m = 1 - (1 - \beta)^M \to 1
              \qquad \text{[ASYM] proposes; the mean is new}

    A proposal z ~ y is taken with :math:`(1 - x_z / y_z)_+`, so with chance :math:`\beta = TV(x, y)`, as
    often as a draft is rejected: **one proposal a verified token, for every pair of models**.
    Derivation: ``derivations.rivals.one_proposal_a_token``.

    Parameters
    ----------
    rejection : array_like, shape [...]
        :math:`\beta`, mean rejection probability in the context, above 0 [-].
    most : array_like, shape [...], default inf
        :math:`M`, proposals before the server gives up and sends its law [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Proposals [-].

    Raises
    ------
    ValueError
        If a rejection lies outside (0, 1] or ``most`` is below 0.

    References
    ----------
    .. [ASYM] AsymSpec, arXiv:2608.04974.

    Examples
    --------
    >>> proposals_per_token([0.1, 0.1, 0.9], [np.inf, 8, 8]).round(4)
    array([1.    , 0.5695, 1.    ])
    """
    beta = as_positive("rejection", as_probability("rejection", rejection))
    return 1.0 - (1.0 - beta) ** _proposals(most)


def fall_back_probability(rejection: ArrayLike, most: ArrayLike) -> Floats:
    r"""Chance that a draft is rejected and none of M proposals is taken.

    .. math:: \beta (1 - \beta)^M \le \frac{1}{M + 1} \Big(\frac{M}{M + 1}\Big)^M      \qquad \text{[new]}

    Derivation: ``derivations.rivals.one_proposal_a_token``.

    Parameters
    ----------
    rejection : array_like, shape [...]
        :math:`\beta`, mean rejection probability in the context [-].
    most : array_like, shape [...]
        :math:`M` [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Chance [-].

    Raises
    ------
    ValueError
        If a rejection lies outside [0, 1].

    References
    ----------
    .. [ASYM] AsymSpec, arXiv:2608.04974.

    Examples
    --------
    >>> fall_back_probability([0.1, 0.2], 8).round(4)
    array([0.043 , 0.0336])
    """
    beta = as_probability("rejection", rejection)
    return beta * (1.0 - beta) ** _proposals(most)


def truncated_residual(draft_law: ArrayLike, llm_law: ArrayLike, num_kept: int) -> Floats:
    r"""Residual that the device draws from when only the K largest entries of y come down.

    .. math:: \tilde r \propto (y - x)_+ \text{ on } S      \qquad \text{[ASYM], printed}

    Derivation: ``derivations.rivals.truncated_residual``.

    Parameters
    ----------
    draft_law : array_like, shape [..., V]
        :math:`x` [-].
    llm_law : array_like, shape [..., V]
        :math:`y` [-].
    num_kept : int
        :math:`K`, entries that come down, the set S [token].

    Returns
    -------
    ndarray of float64, shape [..., V]
        :math:`\tilde r` [-]; y on S where it has nothing beyond x there.

    Raises
    ------
    ValueError
        If a law is not a distribution, the vocabularies differ or K lies outside [1, V].

    References
    ----------
    .. [ASYM] AsymSpec, arXiv:2608.04974.

    Examples
    --------
    >>> truncated_residual([0.6, 0.2, 0.2], [0.3, 0.45, 0.25], 2)
    array([0., 1., 0.])
    """
    x, sent = _sent(draft_law, llm_law, num_kept)
    residual = excess_law(sent, x)
    return residual / residual.sum(axis=-1, keepdims=True)


def residual_certificate(draft_law: ArrayLike, llm_law: ArrayLike, num_kept: int) -> Floats:
    r"""Bound on how far that residual is from the whole one, by what the device knows.

    .. math:: \mathrm{TV}(r, \tilde r) \le \frac{1 - \sum_S y}{\sum_S (y - x)_+ + 1 - \sum_S y}
              \qquad \text{[ASYM], the form is new}

    The device can ask for more entries until it is small enough. The bias of the token is the rejection
    probability times the distance, at most :math:`1 - \sum_S y`.
    Derivation: ``derivations.rivals.truncated_residual``.

    Parameters
    ----------
    draft_law : array_like, shape [..., V]
        :math:`x` [-].
    llm_law : array_like, shape [..., V]
        :math:`y` [-].
    num_kept : int
        :math:`K`, entries that come down, the set S [token].

    Returns
    -------
    ndarray of float64, shape [...]
        Bound on the total variation [-].

    Raises
    ------
    ValueError
        If a law is not a distribution, the vocabularies differ or K lies outside [1, V].

    References
    ----------
    .. [ASYM] AsymSpec, arXiv:2608.04974.

    Examples
    --------
    >>> float(residual_certificate([0.6, 0.2, 0.2], [0.3, 0.45, 0.25], 2).round(4))
    0.5
    """
    x, sent = _sent(draft_law, llm_law, num_kept)
    rest = np.maximum(1.0 - sent.sum(axis=-1), 0.0)
    whole = np.maximum(sent - x, 0.0).sum(axis=-1) + rest
    return np.divide(rest, whole, out=np.zeros(np.shape(whole)), where=whole > 0.0)


def _sent(draft_law: ArrayLike, llm_law: ArrayLike, num_kept: int) -> tuple[Floats, Floats]:
    """Return x, and y on its K largest entries, 0 elsewhere."""
    x, y = as_distribution("draft_law", draft_law), as_distribution("llm_law", llm_law)
    check_vocabulary("draft_law", x, "llm_law", y)
    count = int(as_count("num_kept", num_kept, at_most=y.shape[-1]))
    place = np.argsort(-y, axis=-1, kind="stable")[..., :count]
    sent = np.zeros(y.shape)
    np.put_along_axis(sent, place, np.take_along_axis(y, place, axis=-1), axis=-1)
    return x, sent


# ------------------------------------------------------------------------------------- lossy acceptance


def lossy_bias_price_s(acceptance: ArrayLike, num_drafts: ArrayLike, round_s: ArrayLike) -> Floats:
    r"""Seconds a token that a unit of bias saves where it buys acceptance in rounds of k drafts.

    .. math:: \frac{D\, B'(\alpha)}{B(\alpha)^2} \le \frac{D}{B(\alpha)(1 - \alpha)}, \qquad
              B = \frac{1 - \alpha^{k+1}}{1 - \alpha}      \qquad \text{[new]}

    No rule of acceptance buys more than a unit of acceptance for a unit of bias. To be compared with what
    skipping saves, `Line.bias_price_s`. Derivation: ``derivations.rivals.lossy_bias_price``.

    Parameters
    ----------
    acceptance : array_like, shape [...]
        :math:`\alpha`, below 1 [-].
    num_drafts : array_like of int, shape [...]
        :math:`k` [token].
    round_s : array_like, shape [...]
        :math:`D`, duration of a round [s].

    Returns
    -------
    ndarray of float64, shape [...]
        Seconds a token per unit of bias [s].

    Raises
    ------
    ValueError
        If an acceptance lies outside [0, 1), a count is negative or a duration negative or infinite.

    Examples
    --------
    >>> lossy_bias_price_s(0.8, [1, 4], 0.1).round(4)
    array([0.0309, 0.0581])
    """
    alpha, count = as_probability("acceptance", acceptance), as_count("num_drafts", num_drafts, at_least=0)
    refused = as_positive("1 - acceptance", 1.0 - alpha)
    tokens = expected_tokens_per_round(alpha, count)
    rise = (tokens - (count + 1.0) * alpha**count) / refused
    return as_nonnegative("round_s", round_s) * rise / tokens**2
