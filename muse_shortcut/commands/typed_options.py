"""Converts parsed arguments to a dataclass of a command, whose fields have types."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from jsonargparse import Namespace

    Options = TypeVar("Options", bound=DataclassInstance)

__all__ = ["given_options", "typed_options"]


def typed_options(kind: type[Options], arguments: Namespace) -> Options:
    """Return parsed arguments as a dataclass.

    Args:
        kind: The dataclass. A field is an option of the command, or a dataclass of several of them. The field of an
            option whose name is a keyword ends with an underscore: `from_`.
        arguments: The parsed arguments.
    """
    hints, values = get_type_hints(kind), {}
    for one in fields(kind):
        option = one.name.removesuffix("_")
        nested = is_dataclass(hints[one.name]) and option not in arguments
        values[one.name] = typed_options(hints[one.name], arguments) if nested else getattr(arguments, option)
    return kind(**values)


def given_options(options: DataclassInstance) -> dict[str, Any]:
    """Return the options that have a value, by name, those of nested dataclasses too: neither None nor a flag that is
    off."""
    given: dict[str, Any] = {}
    for one in fields(options):
        value = getattr(options, one.name)
        if is_dataclass(value) and not isinstance(value, type):
            given |= given_options(value)
        elif value is not None and value is not False:
            given[one.name] = value
    return given
