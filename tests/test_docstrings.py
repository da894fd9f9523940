"""What a docstring says of parameters, defaults, shapes and units agrees with the signature."""

import ast
import dataclasses
import functools
import importlib
import inspect
import itertools
import pkgutil
import re
import textwrap
import types
import typing

import numpy as np
import pytest
from numpy.typing import ArrayLike
from numpydoc.docscrape import FunctionDoc

from cuhlm_theory._fields import quantities
from cuhlm_theory.law import Beta, Law, Recorded, Uniform
from cuhlm_theory.parameters import Codec, Latency, Link, RateTrace
from cuhlm_theory.rejection import Line
from tests.annotations import alternatives

ROOMS = ("cuhlm_theory", "derivations", "calibration", "figures")
TRUNK = (
    *("schemes", "recommendation", "explanation", "table", "estimate", "optimisation.joint", "crossover"),
    "comparison",
)
"""Modules of `cuhlm_theory` that put formulas together: what is no formula itself may do with a paragraph."""
NUMERIC = re.compile(r"array_like|ndarray|\bfloat\b|\bint\b")


def modules():
    for room in ROOMS:
        package = importlib.import_module(room)
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{room}."):
            if ".cli" not in found.name and not found.name.split(".")[-1].startswith("_"):
                try:
                    yield importlib.import_module(found.name)
                except ModuleNotFoundError as error:  # an extra that is not installed
                    if error.name and error.name.split(".")[0] in ROOMS:
                        raise


def public_functions():
    seen = set()
    for module in modules():
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value) and value not in seen:
                seen.add(value)
                yield pytest.param(value, id=f"{module.__name__}.{name}")


def public_classes():
    for module in modules():
        for name, value in vars(module).items():
            if inspect.isclass(value) and not name.startswith("_") and value.__module__ == module.__name__:
                yield pytest.param(value, id=f"{module.__name__}.{name}")


def _altered(function, **changes):
    """A copy of a function or of a method with another docstring or other defaults."""
    if inspect.ismethod(function):
        return types.MethodType(_altered(function.__func__, **changes), function.__self__)
    copy = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__, copy.__annotations__ = function.__kwdefaults__, function.__annotations__
    copy.__module__, copy.__doc__ = function.__module__, function.__doc__
    for name, value in changes.items():
        setattr(copy, name, value)
    return copy


INSTANCES = (Line(0.8, -0.05, 0.6), Uniform(), Beta(2.0, 3.0), Recorded([0.1, 0.4], [0.0, 0.3]))
"""Values whose methods are formulas: checked as functions are, a law by what `Law` says of its methods."""


def formulas_of_values():
    for value in INSTANCES:
        kind = type(value)
        documented = kind if isinstance(value, Line) else Law
        for name, member in vars(documented).items():
            if inspect.isfunction(member) and "Parameters\n" in (member.__doc__ or ""):
                method = _altered(getattr(value, name), __doc__=member.__doc__)
                yield pytest.param(method, id=f"{kind.__module__}.{kind.__name__}.{name}")


FUNCTIONS = [*public_functions(), *formulas_of_values()]
CLASSES = list(public_classes())


def _parameters(function):
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("self", "cls")
    }


@functools.cache
def _sections(function):
    return FunctionDoc(function)


def _documented(function):
    with_names = {}
    for entry in _sections(function)["Parameters"] + _sections(function)["Other Parameters"]:
        for name in entry.name.split(","):
            with_names[name.strip().lstrip("*")] = entry
    return with_names


def check_the_parameters_block_is_the_signature(function):
    assert list(_documented(function)) == list(_parameters(function))


def check_every_parameter_has_a_type_and_a_meaning(function):
    for name, entry in _documented(function).items():
        assert entry.type, f"{name} has no type"
        assert " ".join(entry.desc).strip(), f"{name} has no meaning"


def check_documented_defaults_are_the_real_ones(function):
    parameters = _parameters(function)
    for name, entry in _documented(function).items():
        default = parameters[name].default
        stated = re.search(r"default[:=]?\s+([^\s,;]+)", entry.type)
        if "optional" in entry.type or stated:
            assert default is not inspect.Parameter.empty, f"{name} is documented as optional"
        if stated:
            text = stated.group(1).strip("`'\"")
            known = {repr(default), str(default), getattr(default, "name", None), repr(default).strip("'\"")}
            assert text in known, f"{name}: documented {text}, is {default!r}"
        elif isinstance(default, bool | int | float | str):
            assert stated, f"{name}: the default {default!r} is not documented"
        if default is None:
            assert "optional" in entry.type or "None" in entry.type, (
                f"{name} may be None, and is not said to be optional"
            )


def check_a_returned_value_is_described(function):
    annotation = inspect.signature(function).return_annotation
    sections = _sections(function)
    if annotation in (None, "None"):
        return
    assert sections["Returns"] or sections["Yields"], "no Returns section"


def _kind(annotation):
    """The word a docstring's type must begin with, or None where the annotation does not say."""
    parts = alternatives(annotation)
    if alternatives(ArrayLike) <= parts:
        return "array_like"
    if np.ndarray in {*parts, *map(typing.get_origin, parts)}:
        return "ndarray"
    plain = parts - {types.NoneType}
    return {float: "float", int: "int", bool: "bool", str: "str"}.get(*plain) if len(plain) == 1 else None


def check_types_are_those_of_the_annotations(function):
    for name, entry in _documented(function).items():
        kind = _kind(_parameters(function)[name].annotation)
        assert kind is None or entry.type.startswith(kind), f"{name}: documented {entry.type}, is {kind}"
    kind = _kind(inspect.signature(function).return_annotation)
    if kind:
        (entry,) = _sections(function)["Returns"]
        said = entry.type or entry.name
        assert said.startswith(kind), f"returns {kind}, documented {said}"


SUFFIXES = {
    "_s": "s",
    "_w_per_hz": "W/Hz",
    "_hz": "Hz",
    "_w": "W",
    "_m": "m",
    "_db": "dB",
    "_bit": "bit",
    "_bits": "bit",
    "_byte": "byte",
    "_bit_per_s": "bit/s",
    "_token_per_s": "token/s",
    "_j": "J",
}
"""A quantity with a dimension says so in its name; what does not is a ratio [-], but for these names:"""
NAMED = {
    **dict.fromkeys(
        ("k", "k_grid", "sizes", "vocab_size", "draft", "max_drafts", "first_divergence"), "token"
    ),
    **dict.fromkeys(("num_drafts", "num_tokens", "num_entries", "num_kept", "most_kept"), "token"),
    **dict.fromkeys(("most_kept_tokens", "tokens_per_round"), "token"),
    **dict.fromkeys(("exact_k", "printed_k", "printed_k_offline"), "token"),
    **dict.fromkeys(("best_num_drafts", "continuous_num_drafts", "printed_num_drafts"), "token"),
    **dict.fromkeys(("expected_tokens_per_round", "sync_tokens_per_round"), "token"),
    **dict.fromkeys(("spectral_efficiency", "arq_spectral_efficiency"), "bit/s/Hz"),
    **dict.fromkeys(("bits", "bits_per_draft"), "bit"),
    **dict.fromkeys(("equal_bits", "at_bits.bits"), "bit/token"),
    "bias_price_for_budget": "s",
    **dict.fromkeys(("block_rounds.entries", "block_rounds.length"), "token"),
    **dict.fromkeys(("round_parts_s.drafts", "round_parts_s.slm_catch_up"), "token"),
    **dict.fromkeys(("round_parts_s.llm_fed", "transmission_latency_s.width"), "token"),
    "devices_served.token_per_s": "token/s",
    "bandwidths_hz": "Hz",
    "logits": "nat",
    "varentropy_bound": "nat^2",
    "snr_from_db": "-",
    "db_from_snr": "dB",
}
UNITS = {*SUFFIXES.values(), *NAMED.values(), "-"}


def _unit(function, name):
    suffix = max((one for one in SUFFIXES if name.endswith(one)), key=len, default="")
    return NAMED.get(f"{function.__name__}.{name}") or NAMED.get(name) or SUFFIXES.get(suffix, "-")


def check_numbers_have_the_unit_of_their_name(function):
    sections = _sections(function)
    entries = [(entry.name, entry) for entry in sections["Parameters"]]
    if len(sections["Returns"]) == 1:
        entries.append((function.__name__, sections["Returns"][0]))
    for name, entry in entries:
        if NUMERIC.search(entry.type) and not re.search(r"bool|int64|tuple", entry.type):
            text = " ".join(entry.desc)
            said = set(re.findall(r"\[([^\]]+)\]", text)) & UNITS
            assert said == {_unit(function, name)}, f"{name}: no [{_unit(function, name)}] in {text!r}"


def check_arrays_have_a_shape(function):
    for entry in [*_sections(function)["Parameters"], *_sections(function)["Returns"]]:
        if re.search(r"array_like|ndarray", entry.type or entry.name):
            assert "shape" in entry.type or "shape" in " ".join(entry.desc), (
                f"{entry.name} {entry.type}: no shape"
            )


# Shapes are tried out: every array gets its documented shape, and so must the answer.

SIZES = {"V": 5, "N": 7, "K": 4, "R": 6, "A": 3, "M": 20, "G": 3}
OBJECTS = {
    "link": Link(bandwidth_hz=1e6, snr=3.0, fading="short-packet"),  # its rate depends on the bits
    "trace": RateTrace(time_s=[0.0, 1.0], rate_bit_per_s=[1e6, 2e5]),
    "latency": Latency(slm_s=0.01, llm_s=0.1),
    "codec": Codec(vocab_size=5),
    "rng": np.random.default_rng(0),
    "line": Line(0.8, -0.05, 0.3),
    "law": Uniform(),
}
VALUES = {
    "acceptance": 0.6, "alpha": 2.0, "answer_bit": 1.0, "bonus": True, "kept_bit": 1.0, "rejected_bit": 1.0,
     "bandwidth_hz": 1e6, "beta": 3.0, "bias": 0.1, "bias_price_s": 1.0,
    "bits": 690.0, "block_error": 0.01, "budget": 0.9, "clip": True, "correlation": 0.5, "delta": 0.6,
    "distance_m": 10.0, "downlink_bit": 10.0, "draft": 1, "draft_cost": 0.1, "draft_prob": 0.3,
    "draft_uplink_s": 0.01, "duration_s": 1.0, "exponent": 3.0, "factor": 0.8, "full_uplink_s": 1.0,
    "index_bits": 8, "index_uplink_s": 0.01, "intercept": -0.05, "k": 2, "kept_prob": 0.3, "kind": "printed",
    "drafts": 2.0, "llm_calls": 1.0, "slm_catch_up": 0.0, "llm_fed": 3.0, "width": 1.0,
    "token_per_s": 2.0, "estimate": 0.1, "replicates": 0.1,
    "jackknife": 0.1,
    "latency_ratio": 0.1, "latency_s": 1.0, "level": 0.5, "llm_prob": 0.3, "llm_s": 0.1, "max_bias": 0.1,
    "max_temperature": 2.0, "mean_of_uncertainty": 0.4, "mean_snr": 3.0, "mean_uncertainty": 0.4,
    "most_kept": 5, "noise_psd_w_per_hz": 4e-21, "num_drafts": 3, "num_entries": 5, "num_kept": 2,
    "num_samples": 20, "num_tokens": 2, "outage": 0.1, "path_gain": 1e-9, "payload_ratio": 0.1,
    "prob_bits": 8, "ratio": 0.9, "reference_distance_m": 1.0, "reference_gain": 1e-4, "rejection": 0.3,
    "risk": 0.05, "share": 0.5, "skip": 0.5, "skip_rate": 0.5, "slm_s": 0.02, "slope": 0.8, "snr": 3.0,
    "snr_db": 3.0,
    "spectral_efficiency": 1.0, "speedup": 2.0, "threshold": 0.5, "tie_probability": 0.5, "tolerance": 1e-6,
    "transmit_probability": 0.3, "transmit_s": 0.1, "transmitted_rejection": 0.2, "tv": 0.1,
    "tv_from_llm": 0.3, "tv_profile": 0.1, "tx_power_w": 0.2, "uncertainty": 0.4, "uplink_s": 0.1,
    "vocab_size": 5, "weight": 1.0, "split_ties": True,
    "saves_s": 0.2, "keeps": 0.5, "skip_mass": 0.5, "excess": 0.05, "draft_s": 0.01,
    "num_packets": 20, "chance": 0.5,
    "verify_s": 0.1, "delay_s": 0.05, "start_s": 3.0, "most": 3.0, "round_s": 1.0,
    "rate_adaptive_mean_latency_s.bits": 0.0,  # of more its mean diverges
}  # fmt: skip
LAWS = {"kept_law", "dist", "p", "q", "draft_dist", "llm_dist", "draft_law", "llm_law", "verify_with"}
LAWS |= {"frequency", "state_value_s.weight"}


def _dimensions(part):
    if part == "...":
        return (2, 3)
    return (SIZES[part[0]] + ("+ 1" in part) if part[0] in SIZES else None,)


def _shapes(text):
    """The shapes that a type allows, as tuples; a letter that depends on the values is None."""
    found = re.findall(r"(?:shape|or) \[([^\]]*)\]", text)
    return [
        tuple(size for part in one.split(",") if part.strip() for size in _dimensions(part.strip()))
        for one in found
    ]


def _sample(function, name, entry):
    if name in OBJECTS:
        return OBJECTS[name]
    rng = np.random.default_rng(len(name))
    shape = _shapes(entry.type)[0] if "shape" in entry.type else ()
    if {name, f"{function.__name__}.{name}"} & LAWS:
        draws = rng.gamma(1.0, size=shape)
        return draws / draws.sum(axis=-1, keepdims=True)
    if name == "logits":
        return rng.normal(size=shape)
    if name == "k_grid":
        return np.arange(1, shape[0] + 1)
    value = VALUES.get(f"{function.__name__}.{name}", VALUES.get(name))
    if isinstance(value, float) and value:
        return value * rng.uniform(0.9, 1.1, size=shape)
    return np.full(shape, value) if shape else value


def can_be_tried(function):
    entries = [*_documented(function).values(), *_sections(function)["Returns"]]
    known = {*OBJECTS, *VALUES, *LAWS, "logits", "k_grid"}
    return any("shape" in entry.type for entry in entries) and _documented(function).keys() <= known


def check_shapes_are_those_of_a_call(function):
    arguments = {name: _sample(function, name, entry) for name, entry in _documented(function).items()}
    try:
        answer = function(**arguments)
    except ValueError as error:
        raise AssertionError(f"refuses its documented shapes: {error}") from error
    (entry,) = _sections(function)["Returns"]
    if "shape" in entry.type:
        kind = re.search(r"ndarray of (\w+)", entry.type)
        for one in answer if isinstance(answer, tuple) else (answer,):
            fits = [
                len(shape) == one.ndim and all(map(lambda a, b: b in (a, None), one.shape, shape))
                for shape in _shapes(entry.type)
            ]
            assert any(fits), f"returns shape {one.shape}"
            assert kind is None or one.dtype == np.dtype(kind.group(1)), f"returns {one.dtype}"
    elif entry.type in ("float", "int"):
        assert np.shape(answer) == (), f"returns shape {np.shape(answer)}"


ALWAYS = (
    check_the_parameters_block_is_the_signature,
    check_every_parameter_has_a_type_and_a_meaning,
    check_documented_defaults_are_the_real_ones,
)
FORMULAS = (
    check_a_returned_value_is_described,
    check_types_are_those_of_the_annotations,
    check_numbers_have_the_unit_of_their_name,
    check_arrays_have_a_shape,
)


def _is_theory(function):
    room, _, module = function.__module__.partition(".")
    trunk = any(f"{module}.".startswith(f"{one}.") for one in TRUNK)
    return (
        room == "cuhlm_theory"
        and module != "bootstrap"
        and (not trunk or ".. math::" in (inspect.getdoc(function) or ""))
    )


TRIED = [one for one in FUNCTIONS if _is_theory(one.values[0]) and can_be_tried(one.values[0])]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_docstring_agrees_with_the_signature(function):
    assert inspect.getdoc(function), "no docstring"
    theory = _is_theory(function)
    builder = function.__module__.startswith("derivations") and not _parameters(function)
    # a short function of the other rooms may do with a sentence; a Parameters block must be right everywhere
    if theory or (_documented(function) and not builder):
        for check in ALWAYS:
            check(function)
    if theory:
        for check in FORMULAS:
            check(function)


@pytest.mark.parametrize("function", TRIED)
def test_documented_shapes_are_those_of_a_call(function):
    check_shapes_are_those_of_a_call(function)


def test_nearly_every_function_of_arrays_is_tried():
    tried = {one.values[0] for one in TRIED}
    with_shapes = [
        one.values[0]
        for one in FUNCTIONS
        if _is_theory(one.values[0]) and any("[..." in e.type for e in _documented(one.values[0]).values())
    ]
    assert [function.__name__ for function in with_shapes if function not in tried] == []
    assert len(tried) >= 70


@pytest.mark.parametrize("kind", CLASSES)
def test_every_public_class_says_what_it_is(kind):
    doc = inspect.getdoc(kind)
    assert doc
    assert not doc.startswith(f"{kind.__name__}("), "the docstring is the one dataclasses invent"


@pytest.mark.parametrize(
    "kind", [one for one in CLASSES if _is_theory(one.values[0]) and dataclasses.is_dataclass(one.values[0])]
)
def test_every_field_says_what_it_is(kind):
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    said = {
        node.target.id
        for node, after in itertools.pairwise(body.body)
        if isinstance(node, ast.AnnAssign)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }
    said |= {one.keyword.removesuffix("_db") for one in quantities(kind).values()}  # or in its metadata
    own = set(kind.__annotations__)
    assert [field.name for field in dataclasses.fields(kind) if field.name in own - said] == []


@pytest.mark.parametrize("kind", CLASSES)
def test_public_methods_with_parameters_are_documented(kind):
    for name, value in vars(kind).items():
        if not name.startswith("_") and inspect.isfunction(value):
            assert inspect.getdoc(value), f"{kind.__name__}.{name} has no docstring"


def _complains(function):
    for check in (
        *ALWAYS,
        *FORMULAS,
        *((check_shapes_are_those_of_a_call,) if can_be_tried(function) else ()),
    ):
        try:
            check(function)
        except (AssertionError, KeyError):
            return True
    return False


@pytest.mark.parametrize("function", [one for one in FUNCTIONS if _is_theory(one.values[0])])
def test_a_wrong_unit_type_or_default_is_seen_in_every_function(function):
    assert not _complains(function)
    doc = function.__doc__
    for entry in [*_sections(function)["Parameters"], *_sections(function)["Returns"]]:
        if NUMERIC.search(entry.type) and not re.search(r"bool|int64|tuple", entry.type):
            line = next(one for one in entry.desc if set(re.findall(r"\[([^\]]+)\]", one)) & UNITS)
            (unit,) = set(re.findall(r"\[([^\]]+)\]", line)) & UNITS
            wrong = line.replace(f"[{unit}]", "[Hz]" if unit != "Hz" else "[kHz]")
            assert _complains(_altered(function, __doc__=doc.replace(line, wrong))), line
    for name, parameter in _parameters(function).items():
        if parameter.default not in (inspect.Parameter.empty, None):
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                other = _altered(function, __kwdefaults__={**function.__kwdefaults__, name: "other"})
            else:
                defaults = list(function.__defaults__)
                optional = [
                    one
                    for one, given in _parameters(function).items()
                    if given.kind is not inspect.Parameter.KEYWORD_ONLY
                    and given.default is not inspect.Parameter.empty
                ]
                defaults[optional.index(name)] = "other"
                other = _altered(function, __defaults__=tuple(defaults))
            assert _complains(other), name


@pytest.mark.parametrize("function", TRIED)
def test_a_wrong_shape_is_seen(function):
    doc = function.__doc__
    for found in re.finditer(r"(?:array_like|ndarray)[^\n]*shape (\[[^\]]*\])", doc):
        wrong = "[N]" if found.group(1) == "[...]" else "[...]"
        assert _complains(_altered(function, __doc__=doc[: found.start(1)] + wrong + doc[found.end(1) :])), (
            found.group()
        )


def test_the_check_sees_a_docstring_that_disagrees():
    def wrong(k: float, size: int = 3) -> float:
        """Return something.

        Parameters
        ----------
        size : int, default 4
            A size [token].
        k : float
            A number.

        Returns
        -------
        float
            Something [-].
        """
        return k * size

    for check in (
        check_the_parameters_block_is_the_signature,
        check_documented_defaults_are_the_real_ones,
        check_numbers_have_the_unit_of_their_name,
    ):
        with pytest.raises(AssertionError):
            check(wrong)
