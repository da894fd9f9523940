"""Special functions that are imported late: scipy's own, and nothing but functions."""

import pytest
from scipy import special as scipys

from cuhlm_theory import _special as special


def test_a_special_function_is_that_of_scipy():
    assert special.lambertw is scipys.lambertw
    assert special.betainc is scipys.betainc


@pytest.mark.parametrize("name", ["__all__", "__path__"])
def test_what_python_asks_of_a_module_is_not_looked_up_in_scipy(name):
    assert hasattr(scipys, name)
    with pytest.raises(AttributeError, match=f"^{name}$"):
        getattr(special, name)
