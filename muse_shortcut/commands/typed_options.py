"""Converts parsed arguments to a dataclass of a command, whose fields have types."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from jsonargparse import Namespace

    Options = TypeVar("Options", bound=DataclassInstance)

__all__ = ["typed_options"]


def typed_options(kind: type[Options], arguments: Namespace) -> Options:
    """Return parsed arguments as a dataclass, each field of which is an option of the command."""
    return kind(**{one.name: getattr(arguments, one.name) for one in fields(kind)})
