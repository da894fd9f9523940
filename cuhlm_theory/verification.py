"""Accept, reject, resample: the law of what a hybrid decoder emits.

Distributions lie along the last axis. Everything here is exact, in one context: no sampling.
"""

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_distribution, as_probability, check_vocabulary
from cuhlm_theory._laws import excess_law


def total_variation(p: ArrayLike, q: ArrayLike) -> Floats:
    r"""Total variation distance of two distributions.

    .. math:: \mathrm{TV}(p, q) = \tfrac12 \sum_i |p_i - q_i|      \qquad \text{[textbook]}

    Derivation: ``derivations.verification.total_variation``.

    Parameters
    ----------
    p, q : array_like, shape [..., V]
        Distributions [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Distance [-], in [0, 1].

    Raises
    ------
    ValueError
        If an argument is not made of distributions, or the two vocabularies differ.

    Examples
    --------
    >>> float(total_variation([0.5, 0.5, 0.0], [0.25, 0.25, 0.5]))
    0.5
    """
    first, second = _same_vocabulary("p", p, "q", q)
    return _half_l1(first, second)


def rejection_probability(draft_prob: ArrayLike, llm_prob: ArrayLike) -> Floats:
    r"""Probability that the server rejects a draft token.

    .. math:: \beta_d = (1 - y_d / x_d)_+      \qquad \text{[SD, Sec. 2.3], printed}

    Derivation: ``derivations.verification.rejection_probability``.

    Parameters
    ----------
    draft_prob : array_like, shape [...]
        :math:`x_d`, probability of the token on the device [-].
    llm_prob : array_like, shape [...]
        :math:`y_d`, probability of the token on the server [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`\beta_d` [-]. Its mean over drafts is the total variation between the two models.

    Raises
    ------
    ValueError
        If a probability lies outside [0, 1].

    Notes
    -----
    A token with :math:`x_d = 0` is never drafted; for completeness it is accepted where :math:`y_d > 0` and
    rejected where :math:`y_d = 0`, the limits of the formula.

    References
    ----------
    .. [SD] Leviathan, Kalman, Matias, arXiv:2211.17192v2.

    Examples
    --------
    >>> rejection_probability([0.5, 0.2], [0.25, 0.4])
    array([0.5, 0. ])
    """
    x = as_probability("draft_prob", draft_prob)
    y = as_probability("llm_prob", llm_prob)
    return _rejection(x, y)


def kept_given_token(draft_prob: ArrayLike, llm_prob: ArrayLike) -> Floats:
    r"""Probability that a token of verified text was a kept draft, and not a replacement.

    .. math:: P(\text{kept} \mid w) = \min(1, x_w / y_w)      \qquad \text{[new]}

    Derivation: ``derivations.verification.kept_given_token``.

    Parameters
    ----------
    draft_prob : array_like, shape [...]
        :math:`x_w`, probability on the device of the token that was committed [-].
    llm_prob : array_like, shape [...]
        :math:`y_w`, probability on the server of that token [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Probability [-]; its mean over tokens of the large model is the acceptance 1 - TV.

    Raises
    ------
    ValueError
        If a probability lies outside [0, 1].

    Notes
    -----
    Verified text has the law of the large model, whoever drafted it. Given the text, the drafts of successive
    tokens were kept independently, with these chances: so text that the large model wrote by itself tells the
    rounds of every exact scheme.

    Examples
    --------
    >>> kept_given_token([0.5, 0.1], [0.25, 0.4])
    array([1.  , 0.25])
    """
    x = as_probability("draft_prob", draft_prob)
    y = as_probability("llm_prob", llm_prob)
    return 1.0 - _rejection(y, x)


def residual(draft_dist: ArrayLike, llm_dist: ArrayLike) -> Floats:
    r"""Law from which the server draws after a rejection.

    .. math:: r = (y - x)_+ / \textstyle\sum (y - x)_+      \qquad \text{[SD, Sec. 2.3], printed}

    Derivation: ``derivations.verification.residual``.

    Parameters
    ----------
    draft_dist : array_like, shape [..., V]
        :math:`x`, or its reconstruction :math:`\hat x` [CU, v1, eq. (17)] [-].
    llm_dist : array_like, shape [..., V]
        :math:`y` [-].

    Returns
    -------
    ndarray of float64, shape [..., V]
        :math:`r` [-].

    Raises
    ------
    ValueError
        If an argument is not made of distributions, or the two vocabularies differ.

    Notes
    -----
    Where the two laws are equal nothing is ever rejected and the residual is 0/0; y is returned.

    Examples
    --------
    >>> residual([0.5, 0.5, 0.0], [0.25, 0.5, 0.25])
    array([0., 0., 1.])
    """
    x, y = _same_vocabulary("draft_dist", draft_dist, "llm_dist", llm_dist)
    return excess_law(y, x)


def output_law(
    draft_law: ArrayLike,
    llm_law: ArrayLike,
    *,
    skip: ArrayLike | None = None,
    verify_with: ArrayLike | None = None,
) -> Floats:
    r"""Exact law of the token that leaves one round: draft, skip or verify, resample.

    .. math:: q_i = x_i s_i + x_i (1 - s_i) \min(1, y_i / \hat x_i)
              + r_i \sum_d x_d (1 - s_d) (1 - y_d / \hat x_d)_+, \quad r \propto (y - \hat x)_+
              \qquad \text{new here}

    Derivation: ``derivations.verification.output_law``.

    Parameters
    ----------
    draft_law : array_like, shape [..., V]
        :math:`x`, the law of the draft token [-].
    llm_law : array_like, shape [..., V]
        :math:`y` [-].
    skip : array_like, shape [..., V], optional
        :math:`s(d)`, probability that the device keeps draft d and sends nothing [-]; by default 0. One
        number serves all drafts.
    verify_with : array_like, shape [..., V], optional
        :math:`\hat x`, what the server takes for the law of the draft [-]; by default ``draft_law``.

    Returns
    -------
    ndarray of float64, shape [..., V]
        :math:`q` [-].

    Raises
    ------
    ValueError
        If a law is not a distribution, a skip probability lies outside [0, 1], or the vocabularies differ.

    Notes
    -----
    Without skipping and with :math:`\hat x = x` this is y. With :math:`\hat x = x`,
    :math:`\mathrm{TV}(q, y) = \sum_d x_d s(d) \beta_d` with equality, see `rejection_risk`; with any
    :math:`\hat x`, it is at most `bias_bound`.

    Examples
    --------
    >>> output_law([0.5, 0.5, 0.0], [0.25, 0.5, 0.25], skip=[1.0, 0.0, 0.0])
    array([0.5, 0.5, 0. ])
    """
    x, y = _same_vocabulary("draft_law", draft_law, "llm_law", llm_law)
    s = _skip(skip, x)
    x_hat = x if verify_with is None else _same_vocabulary("verify_with", verify_with, "llm_law", llm_law)[0]
    sent = x * (1.0 - s)
    rejected = sent * _rejection(x_hat, y)
    return np.asarray(x * s + (sent - rejected) + excess_law(y, x_hat) * rejected.sum(axis=-1, keepdims=True))


def server_sampling_law(draft_law: ArrayLike, llm_law: ArrayLike, skip: ArrayLike | None = None) -> Floats:
    r"""Exact law of the token when the server draws from its own law instead of verifying.

    .. math:: q = x \circ s + \big(1 - \textstyle\sum_d x_d s_d\big)\, y      \qquad \text{new here}

    Derivation: ``derivations.verification.server_sampling_law``.

    Parameters
    ----------
    draft_law : array_like, shape [..., V]
        :math:`x`, the law of the draft token [-].
    llm_law : array_like, shape [..., V]
        :math:`y` [-].
    skip : array_like, shape [..., V], optional
        :math:`s(d)`, probability that the device keeps draft d and sends nothing [-]; by default 0. One
        number serves all drafts.

    Returns
    -------
    ndarray of float64, shape [..., V]
        :math:`q` [-].

    Raises
    ------
    ValueError
        If a law is not a distribution, a skip probability lies outside [0, 1], or the vocabularies differ.

    Notes
    -----
    A server that draws for itself is exact only if the decision to send does not depend on the draft. With
    x = y and the top token skipped the rejection risk is 0, yet the bias here is :math:`x_1 (1 - x_1)`:
    skipping takes the top token once, the server's draw takes it again.

    Examples
    --------
    >>> server_sampling_law([0.75, 0.25], [0.75, 0.25], skip=[1.0, 0.0])
    array([0.9375, 0.0625])
    """
    x, y = _same_vocabulary("draft_law", draft_law, "llm_law", llm_law)
    kept = x * _skip(skip, x)
    return np.asarray(kept + (1.0 - kept.sum(axis=-1, keepdims=True)) * y)


def rejection_risk(draft_law: ArrayLike, llm_law: ArrayLike, skip: ArrayLike) -> Floats:
    r"""Rejection risk of a skip rule in one context, which *is* its bias under exact verification.

    .. math:: \sum_d x_d s(d) \beta_d = \sum_d s(d) (x_d - y_d)_+ = \mathrm{TV}(q, y)
              \qquad \text{new here}

    Derivation: ``derivations.verification.risk_is_bias``.

    Parameters
    ----------
    draft_law : array_like, shape [..., V]
        :math:`x`, the law of the draft token [-].
    llm_law : array_like, shape [..., V]
        :math:`y` [-].
    skip : array_like, shape [..., V]
        :math:`s(d)`, probability that the device keeps draft d and sends nothing [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Risk [-], at most the total variation between the two models.

    Raises
    ------
    ValueError
        If a law is not a distribution, a skip probability lies outside [0, 1], or the vocabularies differ.

    Examples
    --------
    >>> float(rejection_risk([0.5, 0.5, 0.0], [0.25, 0.5, 0.25], skip=[1.0, 0.0, 0.0]))
    0.25
    """
    x, y = _same_vocabulary("draft_law", draft_law, "llm_law", llm_law)
    return np.asarray((_skip(skip, x) * np.maximum(x - y, 0.0)).sum(axis=-1))


def bias_bound(
    draft_law: ArrayLike, llm_law: ArrayLike, *, skip: ArrayLike | None = None, verify_with: ArrayLike
) -> Floats:
    r"""Bound on the bias when the server verifies with a reconstruction of the draft's law.

    .. math:: \mathrm{TV}(\hat q, y) \le \sum_d x_d s(d) \beta_d + \mathrm{TV}(x, \hat x)
              \qquad \text{new here}

    Derivation: ``derivations.verification.bias_bound``.

    Parameters
    ----------
    draft_law : array_like, shape [..., V]
        :math:`x`, the law of the draft token [-].
    llm_law : array_like, shape [..., V]
        :math:`y` [-].
    skip : array_like, shape [..., V], optional
        :math:`s(d)`, probability that the device keeps draft d and sends nothing [-]; by default 0. One
        number serves all drafts.
    verify_with : array_like, shape [..., V]
        :math:`\hat x`, what the server takes for the law of the draft [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Bound [-] on the total variation between `output_law` and y.

    Raises
    ------
    ValueError
        If a law is not a distribution, a skip probability lies outside [0, 1], or the vocabularies differ.

    Notes
    -----
    The proof that comes to mind has :math:`\hat x_d \hat\beta_d` in the first term; it also holds, as
    written here, with the rejection probabilities that a trace records. The second term is due in full in
    every context in which anything may be sent, because :math:`\hat x` is chosen before the draft is drawn.

    Examples
    --------
    >>> float(bias_bound([0.5, 0.25, 0.25], [0.5, 0.5, 0.0], verify_with=[0.5, 0.3, 0.2]).round(6))
    0.05
    """
    x, x_hat = _same_vocabulary("draft_law", draft_law, "verify_with", verify_with)
    risk = rejection_risk(x, llm_law, 0.0 if skip is None else skip)
    return np.asarray(risk + _half_l1(x, x_hat))


def sequence_bias_bound(bias: ArrayLike) -> Floats:
    r"""Bound on the total variation between whole sequences.

    .. math:: \mathrm{TV}(Q_N, Y_N) \le \min\big(1, \textstyle\sum_{n=1}^N \mathrm{TV}(q_n, y_n)\big)
              \qquad \text{new here}

    Derivation: ``derivations.verification.sequence_bias``.

    Parameters
    ----------
    bias : array_like, shape [..., N]
        Mean per-token bias of each position, contexts drawn from the decoder that is judged [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Bound [-].

    Raises
    ------
    ValueError
        If a bias lies outside [0, 1].

    Examples
    --------
    >>> float(sequence_bias_bound([0.25, 0.25, 0.125]))
    0.625
    """
    return np.asarray(np.minimum(as_probability("bias", bias).sum(axis=-1), 1.0))


def first_divergence(max_bias: ArrayLike) -> Floats:
    r"""Bound from below on the mean position of the first token that differs, under the best coupling.

    .. math:: E[T] \ge 1 / \max_n \mathrm{TV}(q_n, y_n)      \qquad \text{new here}

    Derivation: ``derivations.verification.first_divergence``.

    Parameters
    ----------
    max_bias : array_like, shape [...]
        Largest per-token bias of any context [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Position of the first differing token, counted from 1 [token]; infinite without bias.

    Raises
    ------
    ValueError
        If a bias lies outside [0, 1].

    Notes
    -----
    The differing token counts, so at least :math:`1/\max - 1` tokens agree *before* the divergence. At bias 1
    the first token already differs.

    Examples
    --------
    >>> first_divergence([0.05, 1.0])
    array([20.,  1.])
    """
    worst = as_probability("max_bias", max_bias)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(1.0 / worst)


def _same_vocabulary(first: str, p: ArrayLike, second: str, q: ArrayLike) -> tuple[Floats, Floats]:
    left, right = as_distribution(first, p), as_distribution(second, q)
    check_vocabulary(first, left, second, right)
    return left, right


def _skip(skip: ArrayLike | None, x: Floats) -> Floats:
    """s(d), whose last axis is the vocabulary or a single number for all drafts."""
    if skip is None:
        return np.zeros(1)
    s = as_probability("skip", skip)
    if s.ndim and s.shape[-1] not in (1, x.shape[-1]):
        raise ValueError(f"skip must have a last axis of {x.shape[-1]} tokens; got {s.shape[-1]}")
    return s


def _rejection(x: Floats, y: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        beta = np.maximum(x - y, 0.0) / x
    return np.asarray(np.where(x > 0.0, beta, np.where(y > 0.0, 0.0, 1.0)))


def _half_l1(p: Floats, q: Floats) -> Floats:
    return np.asarray(np.minimum(0.5 * np.abs(p - q).sum(axis=-1), 1.0))
