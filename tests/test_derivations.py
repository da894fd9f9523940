"""Each derivation holds, and the checker refuses what is false."""

import contextlib
import dataclasses
import functools
import importlib
import json
import re
from pathlib import Path

import pytest
import sympy as sp
from click.testing import CliRunner

from cuhlm_theory.cli import main
from cuhlm_theory.cli.app import cuhlm
from derivations import prose, registry, render, rules
from derivations.statement import SOURCES, STATUS_MEANING, Statement, eq, failures, le, lt, own_failures, step
from derivations.vocabulary import X, Y, over, pos, size, summing, sums_to_one, token, x, y

NAMES = list(registry.builders())
ROOT = Path(__file__).parent.parent
a, b, c = sp.symbols("a b c", positive=True)
s = sp.Symbol("s", nonnegative=True)
r = sp.Symbol("r", real=True)
i, n = sp.symbols("i n", integer=True, nonnegative=True)


@pytest.fixture(scope="module")
def every() -> tuple[Statement, ...]:
    return registry.statements()


@pytest.mark.parametrize("name", NAMES)
def test_every_step_of_the_derivation_holds(name):
    (statement,) = registry.statements(name)
    assert [failure.reason for failure in own_failures(statement)] == []


def test_there_is_a_derivation_for_every_part_of_the_theory(every):
    titles = [statement.section for statement in every]
    assert len(dict.fromkeys(titles)) == len(registry.MODULES)
    assert all(title and title[0].isupper() for title in titles)
    assert len(every) >= 102


def test_names_are_those_of_their_functions_and_of_no_other(every):
    assert [statement.name for statement in every] == NAMES
    assert len({statement.title for statement in every}) == len(NAMES)


def test_every_statement_says_where_it_comes_from_and_departures_say_why(every):
    for statement in every:
        assert statement.status in STATUS_MEANING
        assert statement.source
        assert statement.assumptions
        assert statement.claims
        assert (statement.status != "departs") or statement.departs


def test_functions_and_tests_that_statements_name_exist(every):
    for statement in every:
        for name in statement.functions:
            module, *parts = name.split(".")
            found = importlib.import_module(f"cuhlm_theory.{module}")
            functools.reduce(getattr, parts, found)  # a function, a method of a class or a property


def test_derivations_that_docstrings_name_exist():
    named = set()
    for folder in ("cuhlm_theory", "calibration", "figures"):
        for file in (ROOT / folder).rglob("*.py"):
            named |= set(re.findall(r"derivations\.([a-z_]+\.[a-z_]+)", file.read_text(encoding="utf-8")))
    named = {name for name in named if name.split(".")[0] in registry.MODULES}
    assert named - set(NAMES) == set()
    assert len(named) > 40


def test_every_assumption_and_every_lemma_is_used_by_a_step(every):
    for statement in every:
        used = {claim for line in statement.steps for claim in line.uses}
        assert [str(claim) for claim in statement.assumed if claim not in used] == [], statement.name
        assert [one.name for one in statement.lemmas if not used & set(one.claims)] == [], statement.name


def test_no_line_compares_a_thing_with_itself(every):
    for statement in every:
        for line in statement.steps:
            assert line.claim.lhs != line.claim.rhs, f"{statement.name}: {line.claim}"
            assert not (line.claim.lhs.is_Number and line.claim.rhs.is_Number), (
                f"{statement.name}: {line.claim}"
            )


# ---------------------------------------------------------------------------------- the checker


def corrupted(claim):
    """Return a claim that cannot hold where the claim does."""
    if isinstance(claim, sp.Eq):
        # a relative change too, because a shift of infinity is no change
        shifted = claim.rhs + sp.Rational(1, 7) if claim.rhs not in (sp.oo, -sp.oo) else sp.Integer(7)
        return eq(claim.lhs, shifted)
    if isinstance(claim, sp.Le | sp.Ge):
        return lt(claim.gts, claim.lts)
    return le(claim.gts, claim.lts)


def refuses(line) -> bool:
    changed = dataclasses.replace(line, claim=corrupted(line.claim))
    try:
        return not changed.holds()
    except (ValueError, TypeError, AttributeError):
        return True


# sympy tries long to reduce what is not 0; these wait for the slow run, which corrupts every step of all
LONG = {
    "verification.output_law",
    "verification.risk_is_bias",
    "capacity.rayleigh_ergodic_capacity",
    "uncertainty.mean_uncertainty",
    "verification.bias_bound",
    "verification.data_processing",
    "capacity.rate_adaptive_divergence",
    "optimise.sound_accounting",
}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LONG])
def test_a_corrupted_conclusion_is_refused(name):
    (statement,) = registry.statements(name)
    lines = [line for line in statement.steps if line.claim in statement.claims]
    assert refuses(lines[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_corrupted_step_is_refused(name):
    (statement,) = registry.statements(name)
    assert [str(line.claim) for line in statement.steps if not refuses(line)] == []


def test_a_step_that_uses_what_is_not_known_is_found():
    known, unknown = eq(a, b), eq(b, c)
    statement = _statement([step("Wave hands.", eq(a, c), rules.Combine(), known, unknown)], assumed=(known,))
    (failure,) = failures(statement)
    assert failure.step == 1
    assert "not known" in failure.reason


def test_a_claim_that_no_step_reaches_is_found():
    statement = dataclasses.replace(
        _statement([step("Right.", eq((a + b) ** 2, a**2 + 2 * a * b + b**2), rules.Evaluate())]),
        claims=(eq(a, b),),
    )
    (failure,) = failures(statement)
    assert failure.step is None
    assert "no step reaches" in failure.reason


def test_a_rule_that_stumbles_proves_nothing():
    statement = _statement([step("Wrong tool.", eq(a, b), rules.Combine((1, 2)))])
    (failure,) = failures(statement)
    assert "stopped with ValueError" in failure.reason


def test_a_failing_lemma_fails_the_statement():
    bad = _statement([step("False.", eq(a, a + 1), rules.Evaluate())])
    good = _statement([step("True.", eq(a + a, 2 * a), rules.Evaluate())])
    assert failures(good) == ()
    assert len(failures(dataclasses.replace(good, lemmas=(bad,)))) == 1


def _statement(steps, assumed=()):
    return Statement(
        name="test.none",
        title="None",
        source="here",
        status="new",
        functions=(),
        tests=(),
        assumptions=("None.",),
        claims=tuple(line.claim for line in steps),
        steps=tuple(steps),
        assumed=assumed,
    )


FALSE = [
    ("a wrong derivative", rules.Evaluate(), eq(sp.Derivative(a**3, a), 2 * a**2), ()),
    (
        "a wrong sum",
        rules.Evaluate(),
        eq(sp.Sum(s ** sp.Symbol("i"), (sp.Symbol("i"), 0, 3)), 1 + s + s**2),
        (),
    ),
    ("a wrong limit", rules.Evaluate(), eq(sp.Limit(1 / a, a, sp.oo, "-"), 1), ()),
    ("a finite infinity", rules.Evaluate(), eq(sp.Limit(1 / a, a, 0), 5), ()),
    ("infinity of the wrong sign", rules.Evaluate(), eq(sp.Limit(1 / a, a, 0), -sp.oo), ()),
    ("an undecided sign", rules.Evaluate(), le(0, a - b), ()),
    ("a strict sign that may be 0", rules.Evaluate(), lt(0, s), ()),
    ("coefficients without a hypothesis", rules.Coefficients(), le(a, b), ()),
    ("coefficients against the hypothesis", rules.Coefficients(), lt(b, a), (lt(a, b),)),
    ("a strict claim from a weak hypothesis", rules.Coefficients(), lt(a, b), (le(a, b),)),
    ("a strict end point", rules.Coefficients(), lt(s, 1), (le(s, 1),)),
    ("a strict end point beside an order", rules.Orderings((a, b)), lt(s, 1), (le(s, 1),)),
    ("a strict claim where quantities may be alike", rules.Orderings((a, b)), lt(a, b), (le(a, b),)),
    ("a distance that may be 0", rules.Orderings((a, b)), lt(0, sp.Abs(a - b)), ()),
    ("a strict order through a weak one", rules.Orderings((a, b, c)), lt(a, c), (le(a, b), le(b, c))),
    ("a positive quantity that may be 0", rules.Orderings((a, s)), lt(0, s), ()),
    (
        "a distance of laws that may be the same",
        rules.SignPatterns((a, b), (c, x)),
        lt(0, sp.Abs(a - c) + sp.Abs(b - x)),
        (),
    ),
    (
        "a balance that forgets the rest",
        rules.SignPatterns((a, b), (c, x), rest=y),
        eq(pos(c - a) + pos(x - b), pos(a - c) + pos(b - x)),
        (),
    ),
    ("a division by what may be 0", rules.Solve(r), eq(r, 1), (eq(s * r, s),)),
    ("a division by what may be 0, for both sides", rules.Solve(a), eq(a, b), (eq(r * a, r * b),)),
    ("a factor that may be infinite", rules.Combine((1 / s,)), eq(r, 1), (eq(s * r, s),)),
    ("a factor of a quantity without sign", rules.Combine((1 / r,)), eq(a, b), (eq(r * a, r * b),)),
    (
        "a condition that says nothing of the divisor",
        rules.Solve(r),
        eq(r, 1),
        (eq(s * r, s), lt(0, a)),
    ),
    ("a root that is not a polynomial's", rules.Solve(r), eq(r, 0), (eq(sp.exp(r), 1),)),
    ("one ordering only", rules.Orderings((a, b)), eq(pos(a - b), a - b), ()),
    ("a bound in one ordering", rules.Orderings((a, b)), le(a, b), ()),
    ("a bound against a hypothesis", rules.Orderings((a, b)), le(b, a), (le(a, b),)),
    (
        "acceptance with the wrong sign",
        rules.SignPatterns((a, b), (c, x)),
        eq(sp.Abs(a - c) / 2 + sp.Abs(b - x) / 2, 1),
        (),
    ),
    ("a sum of something else", summing(), eq(over(pos(x - y)), 0), (eq(pos(x - y), sp.Abs(x - y)),)),
    ("a total that is not given", summing(), eq(over(x), 1), (eq(x, x),)),
    ("a sum that turns the relation", summing(), le(over(y), over(x)), (le(x, y),)),
    ("an unequal reordering", rules.SameSum(), eq(over(x * y), over(x)), sums_to_one(Y)),
    ("a negative factor", rules.Combine((-1,)), le(b, a), (le(a, b),)),
    ("strictness out of nothing", rules.Combine(), lt(a, b), (le(a, b),)),
    ("an equation from an inequality", rules.Combine(), eq(a, b), (le(a, b),)),
    ("one branch of an absolute value", rules.Largest(), le(sp.Abs(r), a), (le(r, a),)),
    ("one root of two", rules.Solve(r), eq(r, 2), (eq(r**2, 4),)),
    ("a wrong root", rules.Solve(r), eq(r, 3), (eq(r, 2),)),
    (
        "a root without monotony",
        rules.OnlyRoot(r),
        eq(r, 2),
        (eq(r**2 - 4, 0), lt(0, sp.Derivative(r**3, r))),
    ),
    ("a root that is none", rules.OnlyRoot(r), eq(r, 3), (eq(r - 2, 0), lt(0, sp.Derivative(r - 2, r)))),
    ("two changes of sign", rules.PositiveRoot(a), eq(a, 1), (eq(a**2 - 3 * a + 2, 0),)),
    ("a negative root", rules.PositiveRoot(a), eq(a, -3), (eq(a**2 + 2 * a - 3, 0),)),
    (
        "an antiderivative of something else",
        rules.Fundamental(),
        eq(sp.Integral(a, (a, 0, 1)), 1),
        (eq(sp.Derivative(a**2, a), 2 * a), eq(sp.Limit(a**2, a, 1, "-"), 1), eq(sp.Limit(a**2, a, 0), 0)),
    ),
    (
        "limits the wrong way round",
        rules.Fundamental(),
        eq(sp.Integral(2 * a, (a, 0, 1)), -1),
        (eq(sp.Derivative(a**2, a), 2 * a), eq(sp.Limit(a**2, a, 1, "-"), 1), eq(sp.Limit(a**2, a, 0), 0)),
    ),
    (
        "a series that ends elsewhere",
        rules.Series(),
        eq(sp.Sum(a**i, (i, 0, sp.oo)) * (1 - a), 2),
        (
            eq(sp.Sum(a**i, (i, 0, n)) * (1 - a), 1 - a ** (n + 1)),
            eq(sp.Limit(1 - a ** (n + 1), n, sp.oo, "-"), 1),
        ),
    ),
    (
        "a series from the limit of something else",
        rules.Series(),
        eq(sp.Sum(a**i, (i, 0, sp.oo)) * (1 - a), 0),
        (
            eq(sp.Sum(a**i, (i, 0, n)) * (1 - a), 1 - a ** (n + 1)),
            eq(sp.Limit(a ** (n + 1), n, sp.oo, "-"), 0),
        ),
    ),
    (
        "a limit at the wrong end",
        rules.Series(),
        eq(sp.Sum(a**i, (i, 0, sp.oo)) * (1 - a), 1 - a),
        (
            eq(sp.Sum(a**i, (i, 0, n)) * (1 - a), 1 - a ** (n + 1)),
            eq(sp.Limit(1 - a ** (n + 1), n, 0), 1 - a),
        ),
    ),
    (
        "an inequality integrated backwards",
        rules.IntegrateOver(a, 1, 0),
        lt(sp.Integral(a, (a, 1, 0)), sp.Integral(2 * a, (a, 1, 0))),
        (lt(a, 2 * a),),
    ),
    (
        "an inequality integrated where it was not shown",
        rules.IntegrateOver(a, -1, 0),
        lt(sp.Integral(a, (a, -1, 0)), sp.Integral(2 * a, (a, -1, 0))),
        (lt(a, 2 * a), lt(sp.Integer(-1), sp.Integer(0))),
    ),
    (
        "an integral of something else",
        rules.IntegrateOver(a, 0, 1),
        eq(sp.Integral(b * a, (a, 0, 1)), sp.Integral(a, (a, 0, 1))),
        (eq(b * a, c * a),),
    ),
    ("a factor lost", rules.Linear(), eq(sp.Integral(2 * a, (a, 0, 1)), sp.Integral(a, (a, 0, 1))), ()),
    (
        "a sum of other differences",
        rules.Telescope(i**2),
        eq(sp.Sum(i, (i, 1, n + 1)), 1 - (n + 2) ** 2),
        (),
    ),
    (
        "a telescope with its ends the wrong way round",
        rules.Telescope(i),
        eq(sp.Sum(i - (i + 1), (i, 1, n + 1)), n + 1),
        (),
    ),
    (
        "a strict bound in the limit",
        rules.ToLimit(),
        lt(0, a),
        (lt(1 / (n + 1), a), eq(sp.Limit(1 / (n + 1), n, sp.oo, "-"), 0)),
    ),
    (
        "a bound on the wrong side in the limit",
        rules.ToLimit(),
        le(a, 0),
        (lt(1 / (n + 1), a), eq(sp.Limit(1 / (n + 1), n, sp.oo, "-"), 0)),
    ),
    (
        "a limit of something else",
        rules.ToLimit(),
        le(1, a),
        (lt(1 / (n + 1), a), eq(sp.Limit(n / (n + 1), n, sp.oo, "-"), 1)),
    ),
    (
        "a bound that moves with the limit",
        rules.ToLimit(),
        le(0, a / (n + 1)),
        (le(-1 / (n + 1), a / (n + 1)), eq(sp.Limit(-1 / (n + 1), n, sp.oo, "-"), 0)),
    ),
    (
        "a change of variable without its factor",
        rules.ChangeVariable(a, 2 * b, b),
        eq(sp.Integral(a, (a, 0, 2)), sp.Integral(2 * b, (b, 0, 1))),
        (),
    ),
    (
        "a rise from somewhere else",
        rules.Monotone(a),
        lt(1, a),
        (lt(0, sp.Derivative(a, a)), eq(sp.Limit(a, a, 0), 0)),
    ),
    (
        "a rise that starts inside",
        rules.Monotone(r),
        lt(0, r),
        (lt(0, sp.Derivative(r, r)), eq(sp.Limit(r, r, 0), 0)),
    ),
    (
        "a minimum called a maximum",
        rules.Concave(r),
        le(r**2, 0),
        (lt(sp.Derivative(-(r**2), r, r), 0), eq(sp.Subs(sp.Derivative(r**2, r), r, 0), 0)),
    ),
    ("a sign that the symbol forbids", rules.Substitute(((a, -c),)), lt(0, -c), (lt(0, a),)),
    ("a name for something else", rules.Rename(), le(a, c), (le(a, b), eq(c, b + 1))),
    ("numbers out of order", rules.Numeric(), lt(sp.pi, 3), ()),
    ("numbers with a symbol", rules.Numeric(), eq(a, a), ()),
    (
        "a decimal off by one",
        rules.Numeric(),
        le(sp.Abs(sp.Rational(66, 815) - sp.Rational("0.0811")), sp.Rational(1, 20000)),
        (),
    ),
]


@pytest.mark.parametrize(
    ("rule", "claim", "given"), [case[1:] for case in FALSE], ids=[case[0] for case in FALSE]
)
def test_a_rule_refuses(rule, claim, given):
    with contextlib.suppress(ValueError):  # refused with a reason
        assert not rule.proves(claim, given)


TRUE = [
    (
        "a balance with the rest",
        rules.SignPatterns((a, b), (c, x), rest=y),
        eq(pos(c - a) + pos(x - b), pos(a - c) + pos(b - x) + y),
        (),
    ),
    ("a strict claim from a strict order", rules.Orderings((a, b, c)), lt(a, c), (lt(a, b), le(b, c))),
    ("a sum of what is not all 0", rules.Orderings((a, s)), lt(0, a + s), ()),
    ("a strict bound", rules.Coefficients(), lt(s, 1), (lt(s, 1),)),
    ("a strict claim that holds at the end too", rules.Coefficients(), lt(s, 2), (le(s, 1),)),
    ("a division by what is not 0", rules.Solve(r), eq(r, 1), (eq(s * r, s), lt(0, s))),
    ("a division that the equation itself allows", rules.Solve(r), eq(r, 1 / s), (eq(s * r, 1),)),
    ("a divisor bounded away from 0", rules.Solve(r), eq(r, 1), (eq((1 - s) * r, 1 - s), lt(s, 1))),
]


@pytest.mark.parametrize(
    ("rule", "claim", "given"), [case[1:] for case in TRUE], ids=[case[0] for case in TRUE]
)
def test_a_rule_still_proves_what_follows(rule, claim, given):
    assert rule.proves(claim, given)


def test_every_rule_is_among_those_that_were_shown_false_statements():
    named = {
        type(value) if not isinstance(value, type) else value
        for value in vars(rules).values()
        if isinstance(value, type) and hasattr(value, "proves")
    }
    assert named == {type(case[1]) for case in FALSE}


def test_sums_with_known_totals_are_split_and_reordered():
    assert rules.linear_sums(over(2 * x + y), {}) == 2 * over(x) + over(y)
    assert rules.linear_sums(over(sp.S.One), {}) == size
    assert rules.SumOver(token, size, ((x, X[token]),)).proves(
        eq(over(x), 1), (eq(x, y * 0 + x), *sums_to_one(X))
    )


# ---------------------------------------------------------------------------------- the pages


def test_a_statement_prints_in_every_format():
    (statement,) = registry.statements("capacity.arq_spectral_efficiency")
    (verdict,) = registry.check([statement])
    assert verdict.holds
    for page in (render.text(verdict), render.latex(verdict), render.markdown(verdict)):
        assert "Best rate with retransmission" in page
        assert "LambertW(gammabar)" in page or "W\\left(" in page
        assert "has no other; from assumption, (3)" in page


@pytest.fixture(scope="module")
def verdicts(every):
    return [registry.Verdict(statement=one, failures=(), seconds=0.0) for one in every]


def test_the_document_reads_as_a_paper_with_every_statement(verdicts):
    page = render.document(verdicts)
    for verdict in verdicts:
        assert f"`{verdict.statement.name}`" in page
    assert page.startswith("# ")
    heads = ["Notation", "Status", "Sources", "The channel", "Verification", "Where this departs"]
    places = [page.index(f"## {head}") for head in heads]
    assert places == sorted(places)
    assert "all hold" in page
    assert page == render.document(verdicts)  # no clock, no order of sets
    for line in re.sub(r"\$\$.*?\$\$", "", page).splitlines():
        assert len(re.findall(r"(?<!\\)\$", line)) % 2 == 0, line


def test_a_failure_is_seen_in_the_document(verdicts):
    bad = _statement([step("False.", eq(a, a + 1), rules.Evaluate())])
    (verdict,) = registry.check([dataclasses.replace(bad, name="payload.none")])
    page = render.document([verdict])
    assert "DOES NOT HOLD: step 1" in page
    assert "1 do not hold: payload.none" in page.replace("\\", "")
    assert "DOES NOT HOLD" in render.latex(verdict)


def test_steps_from_the_tenth_on_stay_in_their_list():
    (statement,) = registry.statements("capacity.rate_adaptive_divergence")
    lines = render.markdown(registry.Verdict(statement=statement, failures=(), seconds=0.0)).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("10. "))
    assert lines[place + 2].startswith("    $$")


def test_the_latex_document_is_balanced(verdicts):
    page = render.latex_document(verdicts)
    assert page.startswith(r"\documentclass")
    open_ones = []
    for kind, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", page):
        if kind == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert not open_ones
    bare = re.sub(r"\\.", "", page)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"(?<![\\&])&(?!\s)", page)
    for verdict in verdicts:
        assert f"\\subsection*{{{verdict.statement.title.replace('_', render._TEX_MARKS['_'])}}}" in page


def test_every_line_that_a_rule_used_is_named(every):
    for statement in every:
        for number in range(1, len(statement.steps) + 1):
            assert "?" not in render._by(statement, number)


def test_every_symbol_is_explained_in_its_statement_or_in_the_notation(every):
    everywhere = set(re.findall(r"\w+", " ".join((*prose.GLOSSARY, *prose.GLOSSARY.values()))))
    for statement in every:
        claims = (*statement.claims, *statement.assumed, *(line.claim for line in statement.steps))
        bound = {limit[0].name for c in claims for e in c.atoms(sp.Sum, sp.Integral) for limit in e.limits}
        bound |= {str(claim.lhs) for claim in statement.assumed}  # defined by a relation
        words = set(
            re.findall(r"\w+", " ".join((*statement.assumptions, *(q.text for q in statement.steps))))
        )
        words |= {word.split("_")[0] for word in words if "_" in word}  # x_i explains x
        known = words | everywhere | bound
        unknown = [n for n in prose.symbol_names(statement) if not {n, re.sub(r"_\d$", "", n)} & known]
        assert unknown == [], f"{statement.name}: {unknown}"


def test_every_source_is_in_the_list_of_sources(every):
    for statement in every:
        assert re.match(r"[A-Za-z]+", statement.source).group() in SOURCES, statement.source


@pytest.mark.parametrize(
    ("line", "latex"),
    [
        ("A packet takes B/C at C bit/s.", "A packet takes $B / C$ at $C$ bit/s."),
        ("a token of the line a u + b, a > 0", "a token of the line $a u + b$, $a > 0$"),
        ("the LLM's risk-averse rule with 2^(n-1) bits", "the LLM's risk-averse rule with $2^{n - 1}$ bits"),
        ("sum of |x_i - xhat_i| over i", r"sum of $| x_{i} - \hat{x}_{i} |$ over $i$"),
        ("T = TV(x, y) <= 1 (lemma)", r"$T = \mathrm{TV} (x, y) \le 1$ (lemma)"),
        ("j = ceil(log2 V), y = sqrt(n D)", r"$j = \lceil \log_2 V \rceil$, $y = \sqrt{n D}$"),
        ("see verification.risk_is_bias: 100 % & more", r"see verification.risk_is_bias: 100 \% \& more"),
        ("(y - x)_+ after 3 steps", "$(y - x)_{+}$ after 3 steps"),
        ("the branch W_(-1) and k* = 30", "the branch $W_{- 1}$ and $k^{*} = 30$"),
    ],
)
def test_formulas_in_sentences_are_set_and_words_are_not(line, latex):
    def escape(text):
        return text.replace("%", r"\%").replace("&", r"\&")

    assert prose.set_formulas(line, {"a", "b", "u", "T"}, escape) == latex


def test_one_derivation_as_json_has_the_keys_of_the_contract():
    result = CliRunner().invoke(cuhlm, ["derive", "payload.index_only", "--json"])
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)["derivations"]
    assert row["name"] == "payload.index_only"
    assert row["holds"] is True
    assert {"statement", "status"} <= set(row)


def test_a_name_shows_the_steps():
    result = CliRunner().invoke(cuhlm, ["derive", "threshold.risk_averse"])
    assert result.exit_code == 0
    assert "Solve for the edge." in result.stdout
    assert "Holds" in result.stdout


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("capacity.awgn", "capacity.awgn_capacity"),
        ("throughput.celing", "throughput.speedup_ceiling"),
        ("output_law", "verification.output_law"),
        ("thresholds", "threshold"),
        ("paylod", "payload"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest_known_one(name, near, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["derive", name])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"the nearest is {near!r}; got {name!r}" in error


def test_a_derivation_that_fails_is_exit_code_1(capsys, monkeypatch):
    bad = dataclasses.replace(
        _statement([step("False.", eq(a, a + 1), rules.Evaluate())]), name="payload.index_only"
    )
    monkeypatch.setattr(registry, "statements", lambda name: (bad,))
    with pytest.raises(SystemExit) as stop:
        main(["derive", "payload.index_only"])
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert "DOES NOT HOLD" in out
    assert "payload.index_only" in err


def test_nothing_is_computed_when_a_module_is_imported():
    # building is a call: a module holds symbols and functions only
    for module in registry.MODULES:
        for value in vars(importlib.import_module(f"derivations.{module}")).values():
            assert not isinstance(value, Statement)
