"""Shell completion: scripts that complete the options of a command, spelt as in its help."""

from __future__ import annotations

import zlib
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
            suggested = [*getattr(action, "suggestions", ())]
            choices = [*action.choices, *names_of_subcommands] if action.choices else []
            added = plain.add_argument(action.dest, nargs=action.nargs, choices=choices or None)
            _complete(added, str(action.metavar or action.dest.upper()), shtab, suggested)
    for name in nested:
        plain.add_argument(spelt(name))
    return _with_repeated(str(shtab.complete(plain, shell)), plain, shell)


def _words_and_files(words: Sequence[str]) -> dict[str, Any]:
    """Return the value of shtab's attribute `complete` for an argument that is a word or the name of a file: for each
    shell a function or a command, and the code that defines it."""
    joined = " ".join(words)
    name = f"_muse_words_or_files_{zlib.crc32(joined.encode()):08x}"
    quoted = ", ".join(f"'{word}'" for word in words)
    return {
        "bash": name,
        "zsh": name,
        "fish": f"(printf '%s\\n' {joined}; __fish_complete_path (commandline -ct))",
        # The words, and what begins with the last word typed (a glob that always matches prevents an error). There are
        # no functions in tcsh, and its own lists are either words or files.
        "tcsh": f"`set typed=($COMMAND_LINE.); set typed=($typed[$#typed]:r* .[.]); echo {joined} $typed`",
        "powershell": name,
        "preamble": {
            "bash": f'{name}() {{ compgen -W "{joined}" -- $1; compgen -f -- $1; }}',
            "zsh": f"{name}() {{ _alternative 'words:word:({joined})' 'files:file:_files' }}",
            "powershell": (
                f"function {name} {{\n  param([string]$WordToComplete)\n"
                f'  @({quoted}) | Where-Object {{ $_ -like "$WordToComplete*" }}\n'
                "  _shtab_powershell_compgen_files $WordToComplete\n}"
            ),
        },
    }


def _with_repeated(script: str, plain: ArgumentParser, shell: str) -> str:
    """Let the last positional argument be completed as often as it may be given; in zsh and tcsh shtab does so
    once."""
    positionals = [action for action in plain._actions if not action.option_strings]
    if not positionals or positionals[-1].nargs not in ("*", "+"):
        return script
    if shell == "tcsh":
        return script.replace(f"'p/{len(positionals)}/", "'p/*/")
    if shell == "zsh":
        name = positionals[-1].dest
        for once in (f'"(*)::{name}:', f'"(*):{name}:'):
            script = script.replace(once, f'"*:{name}:')
        # Without a "(*)", the script would take the first argument for a subcommand.
        return script.replace("_defaults_added=0", "_defaults_added=1")
    return script


def _add(plain: ArgumentParser, names: list[str], action: Action, shtab: Any) -> None:
    words = (action.help or "").replace("%", "%%")
    if action.nargs in (0, "?"):
        plain.add_argument(*names, action="store_true", help=words)
        return
    kind = getattr(action, "_typehint", None)
    choices = action.choices or (("true", "false") if kind is bool else _literals(kind)) or None
    added = plain.add_argument(*names, choices=choices, help=words)
    _complete(added, str(action.metavar), shtab, getattr(action, "suggestions", ()))


def _complete(added: Any, metavar: str, shtab: Any, suggested: Sequence[str]) -> None:
    """Set what an argument is completed by; `suggested` is what it may be other than a file."""
    if suggested:
        added.complete = _words_and_files([*(added.choices or ()), *suggested])
        added.choices = None
    elif not added.choices and metavar in _FOLDERS | _FILES:
        added.complete = shtab.DIRECTORY if metavar in _FOLDERS else shtab.FILE


def _literals(kind: object) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()
