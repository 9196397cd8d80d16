"""Shell completion: scripts that complete the options of a command, spelt as in its help."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from muse_shortcut.errors import ArgumentsError
from muse_shortcut.suggesting import spelt

if TYPE_CHECKING:
    from muse_shortcut.commands.subcommands import Subcommand

__all__ = ["SHELLS", "completion_script"]

SHELLS = ("bash", "zsh", "tcsh", "fish", "powershell")
_FOLDERS = frozenset({"DIR", "RUN", "STORE", "CODEC", "CHECKPOINT"})
_FILES = frozenset({"FILE", "FILE.yaml", "FILE.md", "PLACE", "PROMPT", "SOURCE", "SOURCES", "PLAN"})
"""Metavars of folders and of files."""


def completion_script(
    command: ArgumentParser, subcommands: Sequence[Subcommand], nested: Sequence[str], shell: str
) -> str:
    """Return a completion script for a command.

    Args:
        command: Parser of the command.
        subcommands: Its subcommands; their names and options are completed too.
        nested: Options that the parser accepts without an action of their own.
        shell: One of `SHELLS`.

    Raises:
        ArgumentsError: shtab, which writes the script, is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise ArgumentsError("--print-completion needs shtab; install it with python -m pip install shtab") from error
    # jsonargparse spells options with underscores; a plain argparse parser is all that shtab needs.
    plain = ArgumentParser(prog=command.prog, add_help=False)
    known: set[str] = set()
    parsers = [command, *(one.build_parser() for one in subcommands)]
    names_of_subcommands = [one.name for one in subcommands if not one.name.startswith("--")]
    for action in (action for parser in parsers for action in parser._actions):
        if action.help == SUPPRESS:
            continue
        if action.option_strings:
            names = [spelt(one[2:]) if one.startswith("--") else one for one in action.option_strings]
            names = [name for name in names if name not in known]
            known |= set(names)
            if names:
                _add(plain, names, action, shtab)
        elif action in command._actions:
            # Suggestions are what an argument may be other than a file.
            suggested = [*getattr(action, "suggestions", ())]
            choices = [*action.choices, *names_of_subcommands] if action.choices else []
            choices += suggested
            if suggested and shell == "bash":
                # Scripts for other shells complete either words or files.
                choices.append(shtab.Choice("file"))
            added = plain.add_argument(action.dest, nargs=action.nargs, choices=choices or None)
            _complete(added, str(action.metavar or action.dest.upper()), shtab)
    for name in nested:
        plain.add_argument(spelt(name))
    return str(shtab.complete(plain, shell))


def _add(plain: ArgumentParser, names: list[str], action: Action, shtab: Any) -> None:
    words = (action.help or "").replace("%", "%%")
    if action.nargs in (0, "?"):
        plain.add_argument(*names, action="store_true", help=words)
        return
    kind = getattr(action, "_typehint", None)
    choices = action.choices or (("true", "false") if kind is bool else _literals(kind)) or None
    _complete(plain.add_argument(*names, choices=choices, help=words), str(action.metavar), shtab)


def _complete(added: Any, metavar: str, shtab: Any) -> None:
    if not added.choices and metavar in _FOLDERS | _FILES:
        added.complete = shtab.DIRECTORY if metavar in _FOLDERS else shtab.FILE


def _literals(kind: object) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()
