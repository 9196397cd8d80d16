"""The command line itself: dashes or underscores, one line for a mistake, exit codes.

0 done    2 the user's input or arguments    130 interrupted, what was made so far is kept    1 anything else
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from jsonargparse import ArgumentParser, Namespace

from muse_shortcut.errors import MuseError
from muse_tokenizers.errors import TokenizerError, Warn

__all__ = ["CommandLine", "StopSwitch", "run_command", "say", "warn_on_terminal"]


class CommandLine(ArgumentParser):
    """A parser that takes `--top-k` for `--top_k` and says what is wrong in one line."""

    def parse_line(self, arguments: Sequence[str] | None = None) -> Namespace:
        """Parse arguments, or those of the process."""
        return self.parse_args([_with_underscores(word) for word in (sys.argv[1:] if arguments is None else arguments)])

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with 2."""
        del ex
        print(f"{self.prog}: {_plainly(_one_line(message))} (see --help)", file=sys.stderr)
        raise SystemExit(2)


def _with_underscores(word: str) -> str:
    """Dashes in the name of an option become underscores; its value is left alone."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


_WRONG_TYPE = re.compile(
    r"Parser key \"(?P<key>[\w.]+)\": Expected a <class '(?P<type>\w+)'>. Got value: (?P<value>.*)"
)
_NAMES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}


def _plainly(message: str) -> str:
    """jsonargparse's words for a value of the wrong type, as the other messages put it."""
    found = _WRONG_TYPE.fullmatch(message)
    if found is None:
        return message
    option = found["key"].replace("_", "-") if "." not in found["key"] else found["key"]
    return f"--{option} is {found['value']!r}; allowed: {_NAMES.get(found['type'], found['type'])}"


def _one_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines)


def run_command(program: str, body: Callable[[], int | None]) -> NoReturn:
    """Run the body of a command and exit with the code its outcome deserves."""
    try:
        code = body() or 0
        sys.stdout.flush()
    except (MuseError, TokenizerError) as error:
        print(f"{program}: {_one_line(str(error))}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        _say_no_more()
        code = 1
    raise SystemExit(code)


def warn_on_terminal(program: str) -> Warn:
    """What prints a reader's warnings to standard error, a line each."""
    return lambda message: print(f"{program}: {_one_line(message)}", file=sys.stderr)


def say(text: str) -> None:
    """Print to standard output, of which not all letters may be there. Where nobody reads it any more, work whose
    result is files goes on."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        _say_no_more()


def _say_no_more() -> None:
    # Without this Python complains once more while it shuts down.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class StopSwitch:
    """Turns the first Ctrl-C or SIGTERM into a question that long work asks between two steps; the second one kills."""

    def __init__(self) -> None:
        self.pressed = False

    def __enter__(self) -> StopSwitch:
        self._before = {name: signal.signal(name, self._press) for name in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _press(self, *_: object) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    def __call__(self) -> bool:
        return self.pressed
