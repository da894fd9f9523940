"""Statements for readers: plain text, LaTeX, and a Markdown document that reads as a short paper."""

import importlib
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import sympy as sp
from sympy.core.relational import Relational

from derivations.prose import GLOSSARY, LATEX_NAMES, latex_name, set_formulas, symbol_names
from derivations.registry import MODULES, Verdict, check, statements
from derivations.statement import SOURCES, STATUS_MEANING, Statement, Step

_RELATIONS = {"==": "=", "<=": "<=", "<": "<", ">=": ">=", ">": ">"}
_WIDE = 600
"""Characters of LaTeX from which a line is broken at its terms and its relation."""
_LATEX_RELATIONS = {"==": "=", "<=": r"\le", "<": "<", ">=": r"\ge", ">": ">"}


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
        symbol: LATEX_NAMES[symbol.name] for symbol in claim.atoms(sp.Symbol) if symbol.name in LATEX_NAMES
    }
    left, right = (sp.latex(side, symbol_names=names, ln_notation=True) for side in (claim.lhs, claim.rhs))
    relation = _LATEX_RELATIONS[claim.rel_op]
    if len(left) + len(right) < _WIDE:
        return f"{left} {relation} {right}"
    terms = [sp.latex(term, symbol_names=names, ln_notation=True) for term in sp.Add.make_args(claim.lhs)]
    rows = [terms[0], *(term if term.startswith("-") else f"+ {term}" for term in terms[1:])]
    return r"\begin{aligned} & " + r" \\ & ".join([*rows, f"{relation} {right}"]) + r" \end{aligned}"


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
    lines = [f"Source: {statement.source}; {statement.status}: {meaning}."]
    if statement.functions:
        lines.append("Computed by " + ", ".join(f"cuhlm_theory.{name}" for name in statement.functions) + ".")
    lines.append("Tested by " + ", ".join(statement.tests) + ".")
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
    return "\n".join(_failed_lines(verdict))


def _failed_lines(verdict: Verdict) -> list[str]:
    return [f"DOES NOT HOLD: step {one.step or '-'}: {one.reason}" for one in verdict.failures]


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
    names = symbol_names(statement)

    def prose(line: str) -> str:
        return set_formulas(line, names, _tex)

    lines = [
        rf"\subsection*{{{_tex(statement.title)}}}",
        rf"{{\small {_tex(' '.join(_head(statement)))}}}",
        "",
        r"\textbf{Assumptions.}",
        r"\begin{itemize}",
    ]
    lines += [rf"\item {prose(line)}" for line in statement.assumptions]
    lines += [rf"\item $\displaystyle {claim_latex(claim)}$" for claim in statement.assumed]
    lines += [r"\end{itemize}", r"\textbf{Statement.}"]
    lines += [rf"\begin{{equation*}} {claim_latex(claim)} \end{{equation*}}" for claim in statement.claims]
    lines += [r"\textbf{Proof.}", r"\begin{enumerate}"]
    for number, step in enumerate(statement.steps, 1):
        lines += [
            rf"\item {prose(step.text)}",
            rf"\begin{{equation*}} {claim_latex(step.claim)} \end{{equation*}}",
        ]
        lines.append(rf"\emph{{{_tex(_by(statement, number))}}}")
    lines.append(r"\end{enumerate}")
    lines += [
        rf"\textbf{{{label}.}} {prose(line)}"
        for label, line in (("Not checked by machine", statement.glue), ("Departs", statement.departs))
        if line
    ]
    if not verdict.holds:
        lines += [rf"\textbf{{{_tex(line)}}}" for line in _failed_lines(verdict)]
    return "\n".join(lines)


_TEX_MARKS = {
    "\\": r"\textbackslash{}",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_\allowbreak{}",
    "^": r"\^{}",
    "~": r"\textasciitilde{}",
    "<": "$<$",
    ">": "$>$",
    "|": r"$|$",
    "§": r"\S",
}


def _tex(line: str) -> str:
    return "".join(_TEX_MARKS.get(mark, mark) for mark in line)


def _plain(line: str) -> str:
    """Protect what Markdown would read as markup."""
    return re.sub(r"([*|<_$])", r"\\\1", line)


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
    names = symbol_names(statement)

    def prose(line: str) -> str:
        return set_formulas(line, names, _plain)

    lines = [f"### {_plain(statement.title)}", "", f"`{statement.name}` · {_plain(_head(statement)[0])}", ""]
    lines += ["**Assumptions.**", ""]
    lines += [f"- {prose(line)}" for line in statement.assumptions]
    lines += [f"- $\\displaystyle {claim_latex(claim)}$" for claim in statement.assumed]
    lines += ["", "**Statement.**", ""]
    for claim in statement.claims:
        lines += [f"$${claim_latex(claim)}$$", ""]
    lines += ["**Steps.**", ""]
    for number, step in enumerate(statement.steps, 1):
        marker = f"{number}. "
        indent = " " * len(marker)
        lines += [f"{marker}{prose(step.text)}", "", f"{indent}$${claim_latex(step.claim)}$$", ""]
        lines += [f"{indent}*{_plain(_by(statement, number))}*", ""]
    if statement.glue:
        lines += [f"**Not checked by machine.** {prose(statement.glue)}", ""]
    if statement.departs:
        lines += [f"**Departs.** {prose(statement.departs)}", ""]
    if not verdict.holds:
        lines += [f"**{_plain(line)}**\n" for line in _failed_lines(verdict)]
    lines += [f"*{_plain(line)}*  " for line in _head(statement)[1:]]
    return "\n".join([*lines, ""])


_INLINE, _ROW = 40, 64
"""Signs up to which a claim stands in its sentence, and up to which claims stand beside each other."""


def theorem(name: str, *, proof: bool = True) -> dict[str, Any]:
    """Check a statement and return it in a few lines, for a paper.

    Parameters
    ----------
    name : str
        ``module.function``.
    proof : bool, default True
        Whether its steps are given, too.

    Returns
    -------
    dict
        ``name``, ``title``, ``num_steps``, ``holds`` and ``text``, which is Markdown with formulas between
        dollar signs.

    Raises
    ------
    ValueError
        If no statement has that name.

    Examples
    --------
    >>> theorem("payload.index_only", proof=False)["title"]
    'Index alone'
    """
    (statement,) = statements(name)
    verdicts = list(check([statement]))
    names = symbol_names(statement)

    def said(line: str) -> str:
        return set_formulas(line, names, _plain)

    def shown(claim: Relational) -> str:
        formula = claim_latex(claim)
        return f"${formula}$" if _signs(formula) <= _INLINE else f"\n\n$${formula}$$\n\n"

    given = [said(line) for line in statement.assumptions]
    if proof and statement.assumed:
        given.append(f"Given: {', '.join(f'${claim_latex(claim)}$' for claim in statement.assumed)}.")
    parts = [f"**{said(statement.title)}.** {' '.join(given)}"]
    parts += [f"$${row}$$" for row in _rows(map(claim_latex, statement.claims))]
    if proof:
        steps = _needed(statement)
        lines = [f"{said(step.text.rstrip('.,:; '))}: {shown(step.claim)}" for step in steps]
        shown_steps = "".join(map(_joined, lines, [*lines[1:], "."]))
        parts.append(f"*Proof.* {shown_steps}{said(statement.glue)} $\\square$")
    return {
        "name": name,
        "title": statement.title,
        "num_steps": len(statement.steps),
        "holds": all(verdict.holds for verdict in verdicts),
        "text": "\n\n".join(parts),
    }


def _needed(statement: Statement) -> list[Step]:
    """Return the steps that the claims rest on, without what only checks them once more."""
    wanted, found = set(statement.claims), []
    for step in reversed(statement.steps):
        if step.claim in wanted:
            wanted.update(step.uses)
            found.append(step)
    return found[::-1]


def _signs(formula: str) -> int:
    """Estimate how many signs wide a formula is when it is set."""
    spelt = re.sub(r"\\(max|min|ln)\b", r"\1", re.sub(r"\\substack\{.*?\}\}", "", formula))
    return len(re.sub(r"\\[a-zA-Z]+|[{}_^\s]", "", spelt))


def _rows(formulas: Iterable[str]) -> Iterator[str]:
    """Put formulas beside each other while there is room."""
    row: list[str] = []
    for formula in formulas:
        if row and sum(map(_signs, (*row, formula))) + 4 * len(row) > _ROW:
            yield " \\qquad ".join(row)
            row = []
        row.append(formula)
    if row:
        yield " \\qquad ".join(row)


def _joined(line: str, following: str) -> str:
    """End a line of a proof as what follows asks for."""
    if line.endswith("\n\n"):
        return line
    return f"{line}{';' if following[0].islower() else '.'} "


_TITLE = "Communication-efficient hybrid decoding: every formula, derived"

_PREFACE = (
    """\
A small language model (SLM) on a device drafts a token; a large one (LLM) on a server may verify it. The
device decides whether to ask, and how much of its distribution to send. This document states what such a
system costs and what it changes, and derives each formula from stated assumptions. It is printed by `cuhlm
derive`, from the objects that the program checks: every displayed line of a derivation was decided by a
computer algebra system when the document was made, from the lines it names. What remains in words, and only
in words, are the assumptions and the sentences marked "not checked by machine".""",
    """\
Each statement gives its assumptions, what it says, the steps that lead there, and, under each step, the
rule that decided it and the lines it used. A statement whose status is *departs* ends with what it
conflicts with and the exact case in which that fails; the last section collects these. A name such as
`truncation.exact_rule` is that of a statement; `cuhlm derive` prints it alone.""",
    """\
How a line is decided. Equalities: derivatives, integrals, sums and limits are carried out and the
difference of the sides is reduced to 0. Inequalities: hypotheses are written into the expression with new
nonnegative variables, and then every coefficient of numerator and denominator must be nonnegative, in each
order of the quantities where there is a kink. General vocabularies: an identity or inequality between
single coordinates is decided first and then summed over an index of arbitrary range. Vocabularies of three
and four tokens are checked besides in every sign pattern. A printed decimal is checked as a distance of at
most half a unit of its last digit.""",
)


def _front(mark: Callable[[str], str], formulas: Callable[[str], str]) -> list[tuple[str, list[str]]]:
    """Return notation, status and sources as headed lists of marked-up lines."""
    notation = [
        f"{', '.join(f'${latex_name(letter)}$' for letter in letters.split(', '))}: {formulas(meaning)}"
        for letters, meaning in GLOSSARY.items()
    ]
    status = [f"{mark(name)}: {meaning}" for name, meaning in STATUS_MEANING.items()]
    sources = [f"{mark(name)}: {source}" for name, source in SOURCES.items()]
    return [("Notation", notation), ("Status", status), ("Sources", sources)]


def _sections(verdicts: list[Verdict]) -> Iterator[tuple[str, str, list[Verdict]]]:
    """Yield title, introduction and statements of each module that has any."""
    for module in MODULES:
        chosen = [verdict for verdict in verdicts if verdict.statement.module == module]
        if chosen:
            title, _, more = (importlib.import_module(f"derivations.{module}").__doc__ or "").partition(": ")
            yield title, f"{more[:1].upper()}{' '.join(more[1:].split())}", chosen


def _outcome(verdicts: list[Verdict]) -> str:
    failed = [verdict.statement.name for verdict in verdicts if not verdict.holds]
    steps = sum(len(verdict.statement.steps) for verdict in verdicts)
    outcome = f"{len(failed)} do not hold: {', '.join(failed)}" if failed else "all hold"
    return f"{len(verdicts)} statements, {steps} steps: {outcome}."


def document(verdicts: Iterable[Verdict]) -> str:
    """Return all statements as one Markdown document.

    Parameters
    ----------
    verdicts : iterable of Verdict
        Statements and what their checks found.

    Returns
    -------
    str
        A short paper: preface, notation, sources, sections, where it departs from what was printed.
    """
    verdicts = list(verdicts)
    names = {name for terms in GLOSSARY for name in terms.split(", ")}

    def formulas(line: str) -> str:
        return set_formulas(line, names, _plain)

    parts = [f"# {_TITLE}\n", *(f"{paragraph}\n" for paragraph in _PREFACE)]
    for title, lines in _front(lambda name: f"**{name}**", formulas):
        parts += [f"## {title}\n", "\n".join(f"- {line}" for line in lines) + "\n"]
    for title, introduction, chosen in _sections(verdicts):
        parts.append(f"## {title}\n\n{introduction}\n")
        parts += [markdown(verdict) for verdict in chosen]
    parts.append("## Where this departs from what was printed\n")
    parts.append(
        "\n".join(
            f"- **{_plain(one.title)}** (`{one.name}`). "
            f"{set_formulas(one.departs, symbol_names(one), _plain)}"
            for one in (verdict.statement for verdict in verdicts)
            if one.departs
        )
        + "\n"
    )
    parts.append(f"*{_plain(_outcome(verdicts))}*\n")
    return "\n".join(parts)


def latex_document(verdicts: Iterable[Verdict]) -> str:
    """Return all statements as one LaTeX document.

    Parameters
    ----------
    verdicts : iterable of Verdict
        Statements and what their checks found.

    Returns
    -------
    str
        An article that needs amsmath and amssymb.
    """
    verdicts = list(verdicts)
    names = {name for terms in GLOSSARY for name in terms.split(", ")}

    def formulas(line: str) -> str:
        return set_formulas(line, names, _tex)

    parts = [
        "\n".join(
            (
                r"\documentclass{article}",
                r"\usepackage[T1]{fontenc}",
                r"\usepackage[utf8]{inputenc}",
                r"\usepackage{amsmath,amssymb}",
                r"\allowdisplaybreaks",
                r"\sloppy",
                rf"\title{{{_TITLE}}}",
                r"\date{}",
                r"\begin{document}",
                r"\maketitle",
            )
        ),
        *(re.sub(r"`(.*?)`", r"\\texttt{\1}", _tex(paragraph)) for paragraph in _PREFACE),
    ]
    for title, lines in _front(lambda name: rf"\textbf{{{name}}}", formulas):
        items = "\n".join(rf"\item {line}" for line in lines)
        parts.append(f"\\section*{{{title}}}\n\\begin{{itemize}}\n{items}\n\\end{{itemize}}")
    for title, introduction, chosen in _sections(verdicts):
        parts.append(f"\\section{{{_tex(title)}}}\n{_tex(introduction)}")
        parts += [latex(verdict) for verdict in chosen]
    parts += [_tex(_outcome(verdicts)), r"\end{document}"]
    return "\n\n".join(parts) + "\n"
