"""The rejection model: a line in the uncertainty, and how it is fitted."""

import sympy as sp

from derivations.rules import Evaluate, Orderings, Solve
from derivations.statement import Builder, Statement, eq, le, lt, step

slope = sp.Symbol("a", positive=True)
intercept = sp.Symbol("b", real=True)
uncertainty = sp.Symbol("u", nonnegative=True)

SOURCE = "CU, arXiv:2505.11788v1, and U, arXiv:2412.12687: the fitted line"


def line() -> Statement:
    """Show that the clipped line is a probability, and where it bends."""
    raw = sp.Symbol("v", nonnegative=True)
    more = sp.Symbol("w", nonnegative=True)
    top = sp.Symbol("m", positive=True)
    upper = le(sp.Min(top, raw), top)
    rises = le(sp.Min(top, raw), sp.Min(top, raw + more))
    u, kink = sp.symbols("u u_1", real=True)
    zero_is = eq(slope * u + intercept, 0)
    zero = eq(u, -intercept / slope)
    full_is = eq(slope * kink + intercept, 1)
    full = eq(kink, (1 - intercept) / slope)
    width = eq((1 - intercept) / slope - (-intercept / slope), 1 / slope)
    return Statement(
        name="rejection.line",
        title="The clipped line",
        source=SOURCE,
        status="printed",
        functions=("rejection.Line", "rejection.Line.zero", "rejection.Line.saturation"),
        tests=(
            "test_zero_and_saturation",
            "test_line_is_clipped_and_never_falls",
            "test_corners_are_where_the_clip_begins",
        ),
        assumptions=(
            "beta(u) = min(1, max(0, a u + b)) with a > 0; v = max(0, a u + b), v + w its value at a larger "
            "u, m = 1 its largest value; it is 0 at u and 1 at u_1.",
        ),
        assumed=(zero_is, full_is),
        claims=(upper, rises, zero, full, width),
        steps=(
            step("The clipped line is at most 1,", upper, Orderings((raw, top))),
            step("and never falls.", rises, Orderings((raw, more, top))),
            step("It leaves 0 at", zero, Solve(u), zero_is),
            step("and reaches 1 at", full, Solve(kink), full_is),
            step("which is 1/a further on.", width, Evaluate()),
        ),
    )


def least_squares() -> Statement:
    """Derive slope and intercept of the least-squares line from the first-order conditions."""
    m_u, m_b, m_uu, m_ub, m_bb = sp.symbols("m_u m_beta m_uu m_ubeta m_bb", real=True)
    a, b = sp.symbols("a b", real=True)
    loss = m_bb - 2 * a * m_ub - 2 * b * m_b + a**2 * m_uu + 2 * a * b * m_u + b**2
    in_b = eq(sp.Derivative(loss, b), 2 * (a * m_u + b - m_b))
    in_a = eq(sp.Derivative(loss, a), 2 * (a * m_uu + b * m_u - m_ub))
    flat_b = eq(2 * (a * m_u + b - m_b), 0)
    flat_a = eq(2 * (a * m_uu + b * m_u - m_ub), 0)
    through = eq(b, m_b - a * m_u)
    claim = eq(a, (m_ub - m_u * m_b) / (m_uu - m_u**2))
    varies = lt(m_u**2, m_uu)
    spread = sp.Symbol("d", real=True)
    curvature = eq(
        sp.Derivative(loss, a, a) * spread**2
        + 2 * sp.Derivative(loss, a, b) * spread
        + sp.Derivative(loss, b, b),
        2 * (m_uu - m_u**2) * spread**2 + 2 * (m_u * spread + 1) ** 2,
    )
    return Statement(
        name="rejection.least_squares",
        title="The least-squares line",
        source="textbook",
        status="printed",
        functions=(),
        tests=(
            "test_least_squares_is_covariance_over_variance",
            "test_the_fit_agrees_with_scipy_on_noisy_tokens",
        ),
        assumptions=(
            "Moments of (u, beta) over tokens: m_u, m_beta, m_uu, m_ubeta, m_bb; u varies over the tokens.",
        ),
        assumed=(flat_a, flat_b, varies),
        claims=(through, claim, curvature),
        steps=(
            step("Mean squared error, slope in b,", in_b, Evaluate()),
            step("and in a.", in_a, Evaluate()),
            step("Set the first to 0: the line passes through the means.", through, Solve(b), flat_b),
            step(
                "Set the second to 0: slope is covariance over variance.",
                claim,
                Solve(a),
                flat_a,
                through,
                varies,
            ),
            step(
                "In every direction (d, 1) the curvature is a positive multiple of d^2 plus a square: a "
                "minimum.",
                curvature,
                Evaluate(),
            ),
        ),
    )


BUILDERS: tuple[Builder, ...] = (line, least_squares)
