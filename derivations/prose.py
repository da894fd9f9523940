"""Sentences with formulas: finds what is mathematics in a sentence and sets it."""

import re
from collections.abc import Callable, Iterator

import sympy as sp

from derivations.statement import Statement

GLOSSARY = {
    "V": "number of tokens in the vocabulary",
    "x, y": "next-token laws of SLM and LLM in one context; x_i is the entry of token i",
    "d": "the draft, drawn from x; a letter with index d is the entry at the draft",
    "beta": "rejection probability of a draft, (1 - y_d/x_d)_+",
    "s": "probability that the device keeps a draft and sends nothing",
    "m": "kept law: m_d is the probability that the device keeps token d and sends nothing; with indices a "
    "moment or a number of terms",
    "xhat": "what the server rebuilds from the k largest entries of x",
    "k": "number of entries that are sent",
    "TV, T": "total variation; T = TV(x, y)",
    "TV_k": "total variation of x and xhat",
    "u, ubar": "uncertainty of a draft, sampled with M temperatures, and its mean",
    "a, b": "slope and intercept of the rejection line, beta(u) = min(1, max(0, a u + b))",
    "epsilon": "bias (risk) that may be spent; in the section on the channel a probability of loss",
    "lambda": "seconds that a token may cost per unit of bias; in the section on uncertainty an attenuation",
    "W": "bandwidth in Hz, or the number of complex channel uses a second",
    "gamma, gammabar": "signal-to-noise ratio, and its mean over fading; in the section on drafting gamma is "
    "the number of drafts",
    "B": "bits of a packet; B_k and B_V with k and with all V entries",
    "b_prob, b_index": "bits of one probability and of one index",
    "tau_SLM, tau_LLM": "seconds that SLM and LLM need for a token",
    "tau_up": "seconds of an uplink packet; tau_k and tau_V with k and with all V entries",
    "p": "probability that a token is transmitted",
    "G": "speed-up over HLM, which transmits every token with all V entries",
    "R": "mean rejection risk of a skip rule; in the section on the channel a spectral efficiency",
    "alpha, L": "acceptance of a draft, and time of a draft in passes of the LLM",
    "E_N": "mean number of tokens of a round",
    "q_j, p_j": "a letter that an index follows is an entry inside a sum over the vocabulary",
}
"""What letters mean wherever a statement says nothing else."""

LATEX_NAMES = {
    "xq": "x^{q}",
    "sstar": "s^{*}",
    "ustar": "u^{*}",
    "bstar": "b^{*}",
    "gstar": "g^{*}",
    "mprime": "m'",
    "Pprime": "P'",
    "Pdprime": "P''",
    "rhohat": r"\hat{\rho}",
    "mbarprime": r"\bar{m}'",
    "betaprime": r"\beta'",
    "tau_SLM": r"\tau_{\mathrm{SLM}}",
    "tau_LLM": r"\tau_{\mathrm{LLM}}",
    "tau_up": r"\tau_{\mathrm{up}}",
    "tau_ok": r"\tau_{\mathrm{ok}}",
    "tau_rtt": r"\tau_{\mathrm{rtt}}",
    "b_prob": r"b_{\mathrm{prob}}",
    "b_index": r"b_{\mathrm{index}}",
    "b_next": r"b_{\mathrm{next}}",
    "b_end": r"b_{\mathrm{end}}",
    "b_plus": r"b_{+}",
    "B_down": r"B_{\mathrm{down}}",
    "R_down": r"R_{\mathrm{down}}",
    "D_tx": r"D_{\mathrm{tx}}",
    "D_skip": r"D_{\mathrm{skip}}",
    "D_LLM": r"D_{\mathrm{LLM}}",
    "E_bonus": r"E_{\mathrm{bonus}}",
    "P_skip": r"P_{\mathrm{skip}}",
    "P_rej": r"P_{\mathrm{rej}}",
    "P_tx": r"P_{\mathrm{tx}}",
    "R_below": r"R_{\mathrm{below}}",
    "TV": r"\mathrm{TV}",
    "TV_k": r"\mathrm{TV}_{k}",
    "TV_q": r"\mathrm{TV}_{q}",
    "TV_1": r"\mathrm{TV}_{1}",
    "TV_2": r"\mathrm{TV}_{2}",
    "d_tau": r"\delta_{\tau}",
    "d_TV": r"\delta_{\mathrm{TV}}",
    "d_tau2": r"\delta_{\tau}'",
    "d_TV2": r"\delta_{\mathrm{TV}}'",
    "SNR": r"\mathrm{SNR}",
    "theta_max": r"\theta_{\max}",
    "E_u2": "E_{u^2}",
    "m_ubeta": r"m_{u\beta}",
    "m_bb": r"m_{\beta\beta}",
    "var": "v",
    "var_u": "v_u",
    "var_beta": r"v_\beta",
}
_FUNCTIONS = {
    "exp": r"\exp",
    "ln": r"\ln",
    "log2": r"\log_2",
    "min": r"\min",
    "max": r"\max",
    "TV": r"\mathrm{TV}",
    "softmax": r"\mathrm{softmax}",
    "Beta": r"\mathrm{Beta}",
    "Var": r"\mathrm{Var}",
    "Cov": r"\mathrm{Cov}",
}
_AROUND = {"sqrt": (r"\sqrt{", "}"), "ceil": (r"\lceil ", r" \rceil")}
_GREEK = {
    *("alpha", "beta", "gamma", "delta", "epsilon", "eta", "theta", "kappa", "lambda", "mu", "rho", "tau"),
    *("Delta", "ubar", "xhat", "gammabar"),
}
"""Names that are symbols in every statement."""
_OPERATORS = {"<=": r"\le", ">=": r"\ge", "~": r"\sim", "*": r"\cdot", "_+": "_{+}", "{": r"\{", "}": r"\}"}
_TOKEN = re.compile(
    r"[A-Za-z0-9_]+\.[a-z_]+|M?bit/s(?:/Hz)?|[A-Za-z]+(?:-[A-Za-z]{2,})+|[A-Za-z]\*|[A-Za-z]\w*|\d+(?:\.\d+)?|<=|>=|_\+|\S"
)
_OPENING, _CLOSING = "([{", ")]}"
_ARTICLES = {"a", "A", "I"}
"""Words that are also symbols: symbols only next to an operator, or where a sentence speaks of them."""


def latex_name(name: str) -> str:
    """Return a symbol's name in LaTeX.

    Parameters
    ----------
    name : str
        As it is written in the derivations.

    Returns
    -------
    str
        Without dollar signs.
    """
    base, _, index = name.partition("_")
    if name not in LATEX_NAMES and base in LATEX_NAMES and index:
        return f"{{{LATEX_NAMES[base]}}}_{{{index}}}"
    return LATEX_NAMES.get(name) or sp.latex(sp.Symbol(name))


def symbol_names(statement: Statement) -> set[str]:
    """Return the names of all symbols, entries and functions in a statement.

    Parameters
    ----------
    statement : Statement
        A statement.

    Returns
    -------
    set of str
        From its claims, assumptions and steps.
    """
    claims = (*statement.claims, *statement.assumed, *(step.claim for step in statement.steps))
    names: set[str] = set()
    for claim in claims:
        names.update(symbol.name for symbol in claim.atoms(sp.Symbol) if symbol.name.isidentifier())
        names.update(str(entry.base) for entry in claim.atoms(sp.Indexed))
        names.update(str(value.func) for value in claim.atoms(sp.core.function.AppliedUndef))
    return names


def set_formulas(line: str, names: set[str], escape: Callable[[str], str]) -> str:
    """Return a sentence with its formulas between dollar signs.

    Parameters
    ----------
    line : str
        A sentence with formulas in plain characters, such as ``p = 1 - ell``.
    names : set of str
        What is a symbol.
    escape : callable
        Protects the characters of everything else.

    Returns
    -------
    str
        For Markdown or LaTeX.
    """
    tokens = list(_TOKEN.finditer(line))
    words = [token.group() for token in tokens]
    kinds = [_kind(words, place, names) for place in range(len(words))]
    parts, done = [], 0
    for first, last in _runs(words, kinds):
        begin, end = tokens[first].start(), tokens[last].end()
        parts += [escape(line[done:begin]), f"${_latex(words[first : last + 1])}$"]
        done = end
    return "".join([*parts, escape(line[done:])])


def _kind(words: list[str], place: int, names: set[str]) -> str:
    word = words[place]
    after = words[place + 1] if place + 1 < len(words) else ""
    before = words[place - 1] if place else ""
    if word in _ARTICLES:
        beside = {before, after} & set("+-*/=<>^") or {"<=", ">="} & {before, after}
        product = after in names and place + 2 < len(words) and words[place + 2] in set("+-=") | {"<=", ">="}
        spoken = word != "a" and after in ("is", "of", "names", ":")
        return "symbol" if word in names and (beside or product or spoken) else "word"
    if before in ("'", "’") or (word == "s" and before[:1].isdigit()):
        return "word"
    if word in names or word in _GREEK or ("_" in word and word[0].isalpha() and "." not in word):
        return "symbol"
    if word[0].isalpha() and (len(word) == 1 or word[1] == "*") and "." not in word:
        return "symbol"
    if word in _FUNCTIONS and (
        after in ("(", "[") or after[:1].isdigit() or after in names or len(after) == 1
    ):
        return "symbol"
    if word in _AROUND and after == "(":
        return "symbol"
    if word[0].isdigit():
        return "number"
    if word in "+-*/^=<>~" or word in _OPERATORS:
        return "operator"
    if word in (*_OPENING, *_CLOSING, ",", "|"):
        return "bracket"
    return "word"


def _runs(words: list[str], kinds: list[str]) -> Iterator[tuple[int, int]]:
    """Yield first and last place of each formula: balanced, with a symbol, ending on an operand."""
    place = 0
    while place < len(words):
        if kinds[place] not in ("symbol", "number") and words[place] not in (*_OPENING, "-", "|"):
            place += 1
            continue
        last, symbols, depth, scan = -1, 0, 0, place
        while scan < len(words) and kinds[scan] != "word":
            word = words[scan]
            if word in _OPENING:
                depth += 1
            elif word in _CLOSING:
                depth -= 1
            if depth < 0 or (word == "," and depth == 0):
                break
            symbols += kinds[scan] == "symbol"
            ends = kinds[scan] in ("symbol", "number") or word in (*_CLOSING, "_+", "|")
            if ends and depth == 0 and symbols and words[place : scan + 1].count("|") % 2 == 0:
                last = scan
            scan += 1
        if last < 0 or (words[place] == "-" and kinds[place + 1] not in ("symbol", "number")):
            place += 1
        else:
            yield place, last
            place = last + 1


def _latex(words: list[str]) -> str:
    out, place = "", 0
    while place < len(words):
        word, end = words[place], place
        if word == "^":
            end = _argument(words, place + 1)
            raised = words[place + 1 : end + 1]
            out += "^{" + _latex(raised[1:-1] if raised[0] == "(" else raised) + "}"
        elif word in _AROUND:
            end = _argument(words, place + 1)
            left, right = _AROUND[word]
            out += f" {left}{_latex(words[place + 2 : end])}{right}"
        elif word in _FUNCTIONS:
            out += f" {_FUNCTIONS[word]} "
        elif word.endswith("_"):
            end = _argument(words, place + 1)
            out += f" {latex_name(word[:-1])}_{{{_latex(words[place + 2 : end])}}}"
        elif word[0].isalpha():
            out += f" {latex_name(word[0]) + '^{*}' if word.endswith('*') else latex_name(word)}"
        elif word in (*_OPENING, *_CLOSING, ",", "_+"):
            out += _OPERATORS.get(word, word)
        else:
            out += f" {_OPERATORS.get(word, word)} "
        place = end + 1
    return re.sub(r"(?<=[(\[]) +| +(?=[)\],^_])", "", " ".join(out.split()))


def _argument(words: list[str], place: int) -> int:
    """Return the last place of what is raised or put under a root: a bracket, or one token with its sign."""
    if words[place : place + 1] == ["-"]:
        return min(place + 1, len(words) - 1)
    depth = 0
    for end in range(place, len(words)):
        depth += (words[end] in _OPENING) - (words[end] in _CLOSING)
        if depth == 0:
            return end
    return len(words) - 1
