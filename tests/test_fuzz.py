"""Any number into any public function: a result without a NaN, or an error that its docstring names."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from numpydoc.docscrape import FunctionDoc

import cuhlm_theory
from cuhlm_theory.parameters import Codec, Latency, Link
from cuhlm_theory.rejection import Line
from tests.annotations import alternatives

NUM_CASES = 100_000
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-300, 5e-324, 1e308, -1e308, 1e18, np.inf, -np.inf, np.nan, 0.1]
NUMBER = st.one_of(st.sampled_from(SPECIAL), st.floats(0.0, 1.0), st.floats(), st.integers(-3, 200_000))
ARRAY = st.one_of(NUMBER, st.lists(NUMBER, max_size=4).map(np.array), st.sampled_from(["x", None, 1j, True]))
VALUES = {
    "float": NUMBER,
    "int": st.one_of(st.integers(-3, 200_000), st.sampled_from(SPECIAL)),
    "bool": st.booleans(),
    "Codec": st.sampled_from([Codec(vocab_size=2), Codec(vocab_size=32_000, prob_bits=16)]),
    "Latency": st.sampled_from(
        [Latency(slm_s=0.02, llm_s=0.1), Latency(slm_s=1e-9, llm_s=1.0, round_trip_s=1.0)]
    ),
    "Line": st.sampled_from([Line(0.815, -0.066), Line(0.5, 0.0), Line(1e-9, 0.0)]),
    "Link": st.sampled_from([Link(bandwidth_hz=1e6, snr=3.0), Link(bandwidth_hz=1.0, snr=0.0)]),
}


def _values(parameter):
    """Return what may be given, or None where only a whole setting would do."""
    allowed = alternatives(parameter.annotation)
    kinds = {one.__name__ for one in allowed if isinstance(one, type)}
    drawn = [VALUES[kind] for kind in sorted(kinds) if kind in VALUES]
    if alternatives(ArrayLike) <= allowed:
        drawn = [ARRAY]
    if not drawn:
        return None
    return st.one_of(*drawn, st.none()) if "NoneType" in kinds else st.one_of(*drawn)


def _functions():
    for module in pkgutil.walk_packages(cuhlm_theory.__path__, "cuhlm_theory."):
        if any(part.startswith("_") or part == "cli" for part in module.name.split(".")):
            continue
        for name, function in vars(importlib.import_module(module.name)).items():
            ours = inspect.isfunction(function) and function.__module__ == module.name
            if not ours or name.startswith("_"):
                continue
            drawn = {one.name: _values(one) for one in inspect.signature(function).parameters.values()}
            if drawn and None not in drawn.values():
                yield f"{module.name.removeprefix('cuhlm_theory.')}.{name}", function, drawn


FUNCTIONS = {name: (function, drawn) for name, function, drawn in _functions()}


def _numbers(result):
    if dataclasses.is_dataclass(result):
        result = [getattr(result, one.name) for one in dataclasses.fields(result)]
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, list | tuple):
        return [number for part in result for number in _numbers(part)]
    if isinstance(result, np.ndarray) and result.dtype.kind in "fc":
        return [result]
    return [np.asarray(result)] if isinstance(result, float) else []


def _documented(function):
    return {name for said in FunctionDoc(function)["Raises"] for name in (said.type, said.name) if name}


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_result_has_no_nan_and_an_error_is_documented(name):
    function, drawn = FUNCTIONS[name]
    documented, ended = _documented(function), Counter()
    said = "nan" in " ".join(line for one in FunctionDoc(function)["Returns"] for line in one.desc).lower()

    @settings(
        max_examples=-(-NUM_CASES // len(FUNCTIONS)),
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.fixed_dictionaries(drawn))
    def check(arguments):
        given_by_place = inspect.signature(function).parameters
        plain = [arguments[one.name] for one in given_by_place.values() if one.kind is not one.KEYWORD_ONLY]
        named = {
            one.name: arguments[one.name] for one in given_by_place.values() if one.kind is one.KEYWORD_ONLY
        }
        try:
            result = function(*plain, **named)
        except Exception as error:
            if not documented & {base.__name__ for base in type(error).__mro__}:
                raise
            ended["refused"] += 1
        else:
            assert said or not any(np.isnan(numbers).any() for numbers in _numbers(result)), result
            ended["answered"] += 1

    check()
    print(f"{name}: {ended['answered']} answered, {ended['refused']} refused")
