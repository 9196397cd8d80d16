"""Formats --help: a short usage, options with dashes, and a description of each."""

from __future__ import annotations

import textwrap
from argparse import SUPPRESS, Action
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from jsonargparse import DefaultHelpFormatter, Namespace

from muse_shortcut.suggesting import spelt

__all__ = ["HelpFormatter", "describe_fields"]

_PRINT_CONFIG = "print all options as a configuration file and exit; =skip_default omits the defaults"
"""jsonargparse's own sentence is longer, and not English."""
_VALUES = {"int": "N", "float": "X", "bool": "{true,false}", "str": "TEXT"}


class HelpFormatter(DefaultHelpFormatter):
    """jsonargparse's formatter without its wording of types and without "default: null"."""

    def _format_usage(self, usage: Any, actions: Iterable[Action], groups: Any, prefix: Any) -> str:
        required = [action for action in actions if action.required and action.help != SUPPRESS]
        words = [_place_in_usage(one) for one in actions if _is_place(one)]
        options = [one for one in required if one.option_strings]
        words += [f"{spelt(one.option_strings[-1][2:])} {one.metavar or ''}".strip() for one in options]
        return f"usage: {' '.join([self._prog, *words])} [OPTIONS]\n\n"

    def _get_help_string(self, action: Action) -> str:
        words = _PRINT_CONFIG if "--print_config" in action.option_strings else action.help or ""
        if action.required and action.option_strings:
            return f"{words} (required)"
        default = action.default
        if default is None or default is SUPPRESS or default is False or isinstance(default, (dict, Namespace, type)):
            return words
        shown = isinstance(default, (str, int, float, tuple)) and default != "" and "default" not in words
        return f"{words} (default: {_plain(default)})".strip() if shown else words

    def _format_action_invocation(self, action: Action) -> str:
        words = super()._format_action_invocation(action)
        for option in action.option_strings:
            if option.startswith("--"):
                words = words.replace(option, spelt(option[2:]), 1)
        return words

    def _get_default_metavar_for_optional(self, action: Action) -> str:
        kind = getattr(action, "_typehint", None) or action.type
        return _VALUES.get(getattr(kind, "__name__", ""), "VALUE")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Wrap text; lines that begin with spaces are unchanged."""
        parts: list[str] = []
        for line in text.splitlines():
            parts += [line] if line.startswith(" ") or not line else textwrap.wrap(line, width)
        return "\n".join(indent + part for part in parts)


def _is_place(action: Action) -> bool:
    """Whether an argument is positional."""
    return not action.option_strings and action.help != SUPPRESS


def _place_in_usage(action: Action) -> str:
    name = str(action.metavar or action.dest)
    return f"[{name}]" if action.nargs in ("?", "*") else f"{name} ..." if action.nargs == "+" else name


def describe_fields(name: str, config: type[Any], default: object, width: int = 100) -> str:
    """Describe the fields of a configuration as lines of help.

    Args:
        name: Option of the configuration: "model.shortcut".
        config: A dataclass with a docstring for every field.
        default: An instance whose values are shown; None shows none.
        width: Width of a line.
    """
    import docstring_parser

    parsed = docstring_parser.parse_from_object(config)
    words = {param.arg_name: " ".join((param.description or "").split()) for param in parsed.params}
    lines = []
    for field in fields(config):
        value = "" if default is None else f" (default: {_plain(getattr(default, field.name))})"
        lines.append(f"  --{name}.{field.name}")
        lines += textwrap.wrap(
            words.get(field.name, "") + value, width, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    return "\n".join(lines)


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
