"""Subcommands, such as `muse-train codec`: which one a command line names, and their lines in --help."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NoReturn

from muse_shortcut.suggesting import did_you_mean

__all__ = ["Subcommand", "run_subcommand", "split_positionals", "suggest_subcommand"]


@dataclass(frozen=True)
class Subcommand:
    """A command with options of its own, which the first positional argument or an option of another one chooses."""

    name: str
    """The first positional argument, or an option: "codec", "--continue"."""
    summary: str
    """What it does, for --help."""
    build_parser: Callable[[], ArgumentParser]
    """Builds its parser, whose first positional argument is `name` unless that is an option."""
    main: Callable[[], NoReturn]
    """Parses the arguments of the process, and runs it."""


def run_subcommand(parser: ArgumentParser, subcommands: Sequence[Subcommand], default: object = None) -> None:
    """Run the subcommand that the arguments of the process choose, which exits; return if they choose none.

    Args:
        parser: Parser of the command.
        subcommands: Its subcommands.
        default: Name of a subcommand, or any other object, if there are no positional arguments.
    """
    flags = [one.name for one in subcommands]
    positionals, options = split_positionals(sys.argv[1:], parser, flags)
    first = positionals[0] if positionals else default
    for one in subcommands:
        if one.name == first or (one.name.startswith("--") and one.name in options):
            one.main()


def split_positionals(
    words: Sequence[str], parser: ArgumentParser, more_flags: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """Return the positional arguments, and the options with their values.

    Args:
        words: Arguments of a command line.
        parser: A parser that has those of the options that take no value.
        more_flags: Options without a value that it lacks.
    """
    flags = {option for action in parser._actions if action.nargs == 0 for option in action.option_strings}
    flags.update(more_flags)
    positionals: list[str] = []
    options: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            positionals.append(word)
            continue
        options.append(word)
        if "=" not in word and word not in flags and f"--{word[2:].replace('-', '_')}" not in flags:
            options += [value for value in [next(rest, None)] if value is not None]
    return positionals, options


def suggest_subcommand(words: Sequence[str], parser: ArgumentParser, subcommands: Sequence[Subcommand]) -> str:
    """Return the end of an error message, such as "; did you mean codec?", if the first positional argument is similar
    to a subcommand and is not an allowed value itself."""
    positionals, _ = split_positionals(words, parser)
    first = next((action for action in parser._actions if not action.option_strings), None)
    if not positionals or (first is not None and first.choices and positionals[0] in first.choices):
        return ""
    return did_you_mean(positionals[0], [one.name for one in subcommands if not one.name.startswith("--")])
