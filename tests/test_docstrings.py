"""What a docstring says of parameters, defaults, shapes and units agrees with the signature."""

import functools
import importlib
import inspect
import pkgutil
import re

import pytest
from numpydoc.docscrape import FunctionDoc

ROOMS = ("cuhlm_theory", "derivations", "calibration", "figures")
UNITS = (
    r"\[(?:-|s|Hz|W|W/Hz|bit|bit/s|bit/s/Hz|byte|token|token/s|J|J/token|m|dB|nat|nat\^2|K|s, -|[a-z/ ,-]*)\]"
)
INTERNAL = ("cuhlm_theory.schemes.rules",)
"""Rows of one table, not called from outside the package; their sentences need no sections."""
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


FUNCTIONS = list(public_functions())
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


def check_arrays_of_the_theory_have_a_shape_and_numbers_a_unit(function):
    sections = _sections(function)
    entries = [*sections["Parameters"], *sections["Returns"]]
    for entry in entries:
        if re.search(r"array_like|ndarray", entry.type or entry.name):
            assert "shape" in entry.type or "shape" in " ".join(entry.desc), (
                f"{entry.name} {entry.type}: no shape"
            )
        if NUMERIC.search(entry.type) and "bool" not in entry.type and "int64" not in entry.type:
            assert re.search(UNITS, " ".join(entry.desc)), (
                f"{entry.name}: no unit in {' '.join(entry.desc)!r}"
            )


def check_a_unit_in_a_name_is_the_unit_in_the_text(function):
    suffixes = {
        "_s": "s",
        "_w_per_hz": "W/Hz",
        "_hz": "Hz",
        "_w": "W",
        "_m": "m",
        "_bit": "bit",
        "_bit_per_s": "bit/s",
        "_j": "J",
    }
    for name, entry in _documented(function).items():
        suffix = max((one for one in suffixes if name.endswith(one)), key=len, default=None)
        if suffix and NUMERIC.search(entry.type):
            said = re.findall(r"\[([^\]]+)\]", " ".join(entry.desc))
            assert suffixes[suffix] in {unit.split(",")[0] for unit in said}, f"{name}: text says {said}"


ALWAYS = (
    check_the_parameters_block_is_the_signature,
    check_every_parameter_has_a_type_and_a_meaning,
    check_documented_defaults_are_the_real_ones,
)
THEORY = (
    check_a_returned_value_is_described,
    check_arrays_of_the_theory_have_a_shape_and_numbers_a_unit,
    check_a_unit_in_a_name_is_the_unit_in_the_text,
)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_docstring_agrees_with_the_signature(function):
    assert inspect.getdoc(function), "no docstring"
    theory = function.__module__.startswith("cuhlm_theory") and function.__module__ not in INTERNAL
    builder = function.__module__.startswith("derivations") and not _parameters(function)
    # a short function of the other rooms may do with a sentence; a Parameters block must be right everywhere
    if theory or (_documented(function) and not builder):
        for check in ALWAYS:
            check(function)
    if theory:
        for check in THEORY:
            check(function)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_public_class_says_what_it_is(kind):
    doc = inspect.getdoc(kind)
    assert doc
    assert not doc.startswith(f"{kind.__name__}("), "the docstring is the one dataclasses invent"


@pytest.mark.parametrize("kind", CLASSES)
def test_public_methods_with_parameters_are_documented(kind):
    for name, value in vars(kind).items():
        if not name.startswith("_") and inspect.isfunction(value):
            assert inspect.getdoc(value), f"{kind.__name__}.{name} has no docstring"


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
        check_arrays_of_the_theory_have_a_shape_and_numbers_a_unit,
    ):
        with pytest.raises(AssertionError):
            check(wrong)
