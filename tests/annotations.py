"""What an annotation allows, whether numpy spells its types as unions or as aliases."""

import types
import typing


def alternatives(annotation):
    """Types that an annotation allows; an alias is what it stands for."""
    origin = typing.get_origin(annotation)
    value = getattr(origin or annotation, "__value__", None)  # a type alias of Python 3.12
    if value is not None:
        return alternatives(value)
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(alternatives, typing.get_args(annotation)))
    return {annotation}
