"""muse-doctor: what is installed, which devices and precisions there are, what is missing and how to get it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NoReturn

from muse_shortcut.commands.command_line import CommandLine, run_command, say
from muse_shortcut.commands.typed_options import typed_options

__all__ = ["main"]

PROGRAM = "muse-doctor"


@dataclass(frozen=True)
class _DoctorOptions:
    """The parsed options; `_parser` describes them."""

    json: bool


def _parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM,
        description="Report what is installed, which devices and precisions there are, and how to get what is missing.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main() -> NoReturn:
    """The command."""
    options = typed_options(_DoctorOptions, _parser().parse_line())
    run_command(PROGRAM, lambda: _look(options))


def _look(options: _DoctorOptions) -> int:
    from muse_shortcut.installation import inspect_installation

    found = inspect_installation()
    missing = [one for one in found if one.value == "missing"]
    if options.json:
        say(json.dumps([one.to_json() for one in found], ensure_ascii=False, indent=1) + "\n")
        return 1 if missing else 0
    group = ""
    for one in found:
        if one.group != group:
            group = one.group
            say(f"{group}\n")
        say(f"  {one.name:<16} {one.value}\n")
        if one.fix:
            say(f"  {'':<16} -> {one.fix}\n")
    say("something is missing\n" if missing else "everything that is needed is installed\n")
    return 1 if missing else 0
