# sympy annotates many results as Basic, so the type checker cannot follow its arithmetic.
# pyright: reportArgumentType=false, reportAssignmentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false
"""Statements for readers: plain text, LaTeX, and a Markdown document that reads as a short paper."""

import importlib
import textwrap
from collections.abc import Iterable

import sympy as sp
from sympy.core.relational import Relational

from derivations.registry import MODULES, Verdict
from derivations.statement import STATUS_MEANING, Statement, Step

_RELATIONS = {"==": "=", "<=": "<=", "<": "<", ">=": ">=", ">": ">"}
_LATEX_RELATIONS = {"==": "=", "<=": r"\le", "<": "<", ">=": r"\ge", ">": ">"}
_LATEX_NAMES = {
    "xq": "x^{q}",
    "sstar": "s^{*}",
    "ustar": "u^{*}",
    "rhohat": r"\hat{\rho}",
    "mbarprime": r"\bar{m}'",
    "tau_SLM": r"\tau_{\mathrm{SLM}}",
    "tau_LLM": r"\tau_{\mathrm{LLM}}",
    "tau_up": r"\tau_{\mathrm{up}}",
    "tau_rtt": r"\tau_{\mathrm{rtt}}",
    "tau_prefill": r"\tau_{\mathrm{prefill}}",
    "b_prob": r"b_{\mathrm{prob}}",
    "b_index": r"b_{\mathrm{index}}",
    "P_skip": r"P_{\mathrm{skip}}",
    "P_rej": r"P_{\mathrm{rej}}",
    "R_below": r"R_{\mathrm{below}}",
    "TV": r"\mathrm{TV}",
    "SNR": r"\mathrm{SNR}",
    "var": "v",
    "var_u": "v_u",
    "var_beta": r"v_\beta",
}


def claim_text(claim: Relational) -> str:
    """Return a claim on one line.

    Parameters
    ----------
    claim : sympy relation
        What is claimed.

    Returns
    -------
    str
        Its two sides in sympy's notation.
    """
    return f"{sp.sstr(claim.lhs)} {_RELATIONS[claim.rel_op]} {sp.sstr(claim.rhs)}"


def claim_latex(claim: Relational) -> str:
    """Return a claim in LaTeX.

    Parameters
    ----------
    claim : sympy relation
        What is claimed.

    Returns
    -------
    str
        Without dollar signs.
    """
    names = {
        symbol: _LATEX_NAMES[symbol.name] for symbol in claim.atoms(sp.Symbol) if symbol.name in _LATEX_NAMES
    }
    left, right = (sp.latex(side, symbol_names=names, ln_notation=True) for side in (claim.lhs, claim.rhs))
    return f"{left} {_LATEX_RELATIONS[claim.rel_op]} {right}"


def _by(statement: Statement, number: int) -> str:
    """Say how a step is decided and from which lines."""
    step = statement.steps[number - 1]
    places: dict[Relational, str] = {}
    for lemma in statement.lemmas:
        places.update(dict.fromkeys(lemma.claims, lemma.name))
    places.update(dict.fromkeys(statement.assumed, "assumption"))
    places.update({other.claim: f"({place})" for place, other in enumerate(statement.steps[: number - 1], 1)})
    sources = list(dict.fromkeys(places.get(used, "?") for used in step.uses))
    return f"{step.rule.label}; from {', '.join(sources)}" if sources else step.rule.label


def _head(statement: Statement) -> list[str]:
    meaning = STATUS_MEANING[statement.status]
    lines = [f"{statement.section}; source: {statement.source}; {statement.status}: {meaning}."]
    if statement.functions:
        lines.append("Computed by " + ", ".join(f"cuhlm_theory.{name}" for name in statement.functions) + ".")
    return lines


def text(verdict: Verdict) -> str:
    """Return a statement with its steps as plain text.

    Parameters
    ----------
    verdict : Verdict
        A statement and what its check found.

    Returns
    -------
    str
        Several lines.
    """
    statement = verdict.statement

    def wrap(line: str, indent: str = "  ", first: str = "  ") -> str:
        return textwrap.fill(
            line, 100, initial_indent=first, subsequent_indent=indent, break_long_words=False
        )

    lines = [f"{statement.title}  [{statement.name}]"]
    lines += [wrap(line) for line in _head(statement)]
    lines.append("Assumptions")
    lines += [wrap(line, "    ", "  - ") for line in statement.assumptions]
    lines += [f"  with  {claim_text(claim)}" for claim in statement.assumed]
    lines.append("Statement")
    lines += [f"    {claim_text(claim)}" for claim in statement.claims]
    lines.append("Steps")
    for number, step in enumerate(statement.steps, 1):
        lines.append(wrap(step.text, "       ", f"  ({number:2d}) "))
        lines += [
            f"         {claim_text(step.claim)}",
            wrap(f"[{_by(statement, number)}]", "          ", "         "),
        ]
    if statement.glue:
        lines += ["Not checked by machine", wrap(statement.glue)]
    if statement.departs:
        lines += ["Departs", wrap(statement.departs)]
    lines.append(_verdict_line(verdict))
    return "\n".join(lines)


def _verdict_line(verdict: Verdict) -> str:
    if verdict.holds:
        return f"Holds: {len(verdict.statement.steps)} steps checked in {verdict.seconds:.2f} s."
    return "\n".join(
        f"DOES NOT HOLD: step {failure.step or '-'}: {failure.reason}" for failure in verdict.failures
    )


def latex(verdict: Verdict) -> str:
    """Return a statement with its steps as LaTeX.

    Parameters
    ----------
    verdict : Verdict
        A statement and what its check found.

    Returns
    -------
    str
        A subsection that needs amsmath.
    """
    statement = verdict.statement
    lines = [
        rf"\subsection*{{{_tex(statement.title)}}}",
        _tex(" ".join(_head(statement))),
        r"\begin{itemize}",
    ]
    lines += [rf"\item {_tex(line)}" for line in statement.assumptions]
    lines += [rf"\item ${claim_latex(claim)}$" for claim in statement.assumed]
    lines += [r"\end{itemize}", r"\textbf{Statement.}"]
    lines += [rf"\begin{{equation*}} {claim_latex(claim)} \end{{equation*}}" for claim in statement.claims]
    lines += [r"\textbf{Proof.}", r"\begin{enumerate}"]
    for number, step in enumerate(statement.steps, 1):
        lines += [
            rf"\item {_tex(step.text)}",
            rf"\begin{{equation*}} {claim_latex(step.claim)} \end{{equation*}}",
        ]
        lines.append(rf"\emph{{{_tex(_by(statement, number))}}}")
    lines.append(r"\end{enumerate}")
    lines += [rf"\emph{{{_tex(line)}}}" for line in (statement.glue, statement.departs) if line]
    lines.append("% " + _verdict_line(verdict).replace("\n", "\n% "))
    return "\n".join(lines)


def _tex(line: str) -> str:
    # tokens with an underscore or a caret are formulas in plain words
    for mark in ("%", "&", "#", "_"):
        line = line.replace(mark, "\\" + mark)
    return line.replace("^", r"\^{}").replace("§", r"\S")


def _prose(line: str) -> str:
    return line.replace("*", r"\*").replace("|", r"\|").replace("<", r"\<")


def markdown(verdict: Verdict) -> str:
    """Return a statement with its steps as Markdown.

    Parameters
    ----------
    verdict : Verdict
        A statement and what its check found.

    Returns
    -------
    str
        A section of the document.
    """
    statement = verdict.statement
    lines = [f"### {_prose(statement.title)}", ""]
    lines += [f"`{statement.name}` · {_prose(' '.join(_head(statement)))}", "", "**Assumptions.**", ""]
    lines += [f"- {_prose(line)}" for line in statement.assumptions]
    lines += [f"- $\\displaystyle {claim_latex(claim)}$" for claim in statement.assumed]
    lines += ["", "**Statement.**", ""]
    for claim in statement.claims:
        lines += [f"$${claim_latex(claim)}$$", ""]
    lines += ["**Steps.**", ""]
    for number, step in enumerate(statement.steps, 1):
        lines += [f"{number}. {_step_line(step)}", "", f"   $${claim_latex(step.claim)}$$", ""]
        lines += [f"   *{_prose(_by(statement, number))}*", ""]
    if statement.glue:
        lines += [f"**Not checked by machine.** {_prose(statement.glue)}", ""]
    if statement.departs:
        lines += [f"**Departs.** {_prose(statement.departs)}", ""]
    lines += [f"*{_prose(_verdict_line(verdict))}*", ""]
    return "\n".join(lines)


def _step_line(step: Step) -> str:
    return _prose(step.text)


_PREFACE = """\
# Communication-efficient hybrid decoding: every formula, derived

A small language model (SLM) on a device drafts a token; a large one (LLM) on a server may verify it.
The device decides whether to ask, and how much of its distribution to send. This document states what
such a system costs and what it changes, and derives each formula from stated assumptions. It is printed
by `cuhlm derive --format markdown`, from the objects that the program checks: **every displayed line
below was decided by a computer algebra system** when the document was made, from the lines it names.
What remains in words, and only in words, are the assumptions and the sentences marked "not checked by
machine".

**Notation.** $V$ tokens; $x$ and $y$ are the next-token laws of SLM and LLM in one context, $d \\sim x$
the draft, $\\beta_d = (1 - y_d/x_d)_+$ its rejection probability, $s_d$ the probability that the device
keeps it and sends nothing; $\\mathrm{TV}$ is total variation; $\\hat x$ is what the server rebuilds from
$k$ entries. A lower-case letter is one coordinate, the same letter with an index an entry in a sum.
$\\max(0, v)$ is the positive part. Latencies are $\\tau$ in seconds. Letters that only one statement
uses are explained there.

**How a line is decided.** Equalities: derivatives, integrals, sums and limits are carried out and the
difference of the sides is reduced to 0. Inequalities: hypotheses are written into the expression with
new nonnegative variables, and then every coefficient of numerator and denominator must be nonnegative,
in each order of the quantities where there is a kink. General vocabularies: an identity or inequality
between single coordinates is decided first and then summed over an index of arbitrary range.
Vocabularies of three and four tokens are checked besides in every sign pattern. A printed decimal is
checked as a distance of at most half a unit of its last digit.

**Status.** """


def document(verdicts: Iterable[Verdict]) -> str:
    """Return all statements as one Markdown document.

    Parameters
    ----------
    verdicts : iterable of Verdict
        Statements and what their checks found.

    Returns
    -------
    str
        A short paper: preface, sections, where it departs from what was printed.
    """
    verdicts = list(verdicts)
    parts = [
        _PREFACE + "; ".join(f"*{status}*: {meaning}" for status, meaning in STATUS_MEANING.items()) + ".\n"
    ]
    for module in MODULES:
        chosen = [verdict for verdict in verdicts if verdict.statement.module == module]
        if not chosen:
            continue
        summary, _, more = (importlib.import_module(f"derivations.{module}").__doc__ or "").partition(": ")
        parts.append(f"## {summary}\n\n{more[:1].upper()}{' '.join(more[1:].split())}\n")
        parts += [markdown(verdict) for verdict in chosen]
    departing = [verdict.statement for verdict in verdicts if verdict.statement.departs]
    parts.append("## Where this departs from what was printed\n")
    parts.append(
        "\n".join(f"- **{_prose(one.title)}** (`{one.name}`). {_prose(one.departs)}" for one in departing)
        + "\n"
    )
    failed = [verdict.statement.name for verdict in verdicts if not verdict.holds]
    steps = sum(len(verdict.statement.steps) for verdict in verdicts)
    seconds = sum(verdict.seconds for verdict in verdicts)
    outcome = f"{len(failed)} do not hold: {', '.join(failed)}" if failed else "all hold"
    parts.append(f"*{len(verdicts)} statements, {steps} steps, checked in {seconds:.0f} s: {outcome}.*\n")
    return "\n".join(parts)
