"""Argument parsing of all commands: dashes or underscores, errors in one line, exit codes.

0 done    2 the user's input or arguments    130 interrupted; existing results are kept    1 anything else
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from argparse import SUPPRESS, Action, ArgumentError, _HelpAction
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from jsonargparse import ArgumentParser, Namespace

from muse_shortcut.commands.completion import SHELLS
from muse_shortcut.commands.error_messages import reword_error
from muse_shortcut.commands.help_formatter import HelpFormatter
from muse_shortcut.commands.subcommands import Subcommand, suggest_subcommand
from muse_shortcut.earlier_names import current_name, current_options
from muse_shortcut.errors import ArgumentsError, MuseError
from muse_shortcut.suggesting import spelt
from muse_tokenizers.errors import one_line

if TYPE_CHECKING:
    from muse_shortcut.commands.progress import ProgressBar

__all__ = ["CommandLine", "RawOptions", "StopSwitch", "Terminal", "read_options", "run_command", "say"]


class CommandLine(ArgumentParser):
    """A parser that accepts `--top-k` for `--top_k`, lets the command line override a file of options in any order, and
    reports errors in one line."""

    def __init__(
        self,
        *,
        nested: Mapping[str, type[Any]] | None = None,
        subcommands: Sequence[Subcommand] = (),
        renamed: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            nested: Nested configurations, for which jsonargparse has no options, by name.
            subcommands: Commands that replace this one; `run_subcommand` runs them.
            renamed: Options that have another name in Python: {"start": "from"}.
            kwargs: Arguments of jsonargparse's parser.
        """
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **kwargs)
        self.subcommands = subcommands
        self._words: list[str] = []
        self._renamed = renamed or {}
        if subcommands:
            lines = "\n".join(f"{one.name:<21} {one.summary}" for one in subcommands)
            self.add_argument_group("subcommands, each with a --help of its own", lines)
        self._fields = {
            f"{name}.{one.name}": str(one.type) for name, kind in (nested or {}).items() for one in fields(kind)
        }

    def add_terminal_options(self, *, json: str | None = None) -> None:
        """Add the option --quiet, and --json if a program may read the result.

        Args:
            json: Contents of the JSON object; None for a command without it.
        """
        group = self.add_argument_group("what is printed")
        group.add_argument("--quiet", action="store_true", help="print results and errors only: no progress, no hints")
        if json is not None:
            group.add_argument("--json", action="store_true", help=f"print a JSON object and nothing else: {json}")

    def parse_line(
        self,
        arguments: Sequence[str] | None = None,
        *,
        without: Collection[str] = (),
    ) -> Namespace:
        """Parse arguments, or those of the process.

        Args:
            arguments: The arguments; None for those of the process.
            without: Options of a file that are ignored.
        """
        # Set here, because jsonargparse creates parsers of this class for groups of options too.
        self.add_argument("--version", action=_Version, help="show the program's version and exit")
        self.add_argument(
            "--print_completion",
            action=_Completion,
            choices=SHELLS,
            metavar="SHELL",
            help=f"print a script for shell completion and exit: {', '.join(SHELLS)}",
        )
        words = self._words = _words(arguments)
        if any(action.dest == "config" for action in self._actions):
            files, words = _files_of_options(words)
            content = [name_value for file in files for name_value in self._read(file, without)]
            words = [*content, *words]
        return self.parse_args(self._lists(words))

    def _read(self, file: str, without: Collection[str]) -> list[str]:
        try:
            content = read_options(Path(file))
        except ArgumentsError as error:
            self.error(str(error))
        return ["--config", json.dumps({name: content[name] for name in content if name not in without}, default=str)]

    def _lists(self, words: list[str]) -> list[str]:
        """Convert comma-separated numbers to the list syntax of jsonargparse: [2,4]."""
        tuples = {f"--{name}" for name, kind in self._fields.items() if kind.startswith("tuple")}
        tuples |= {
            one for a in self._actions for one in a.option_strings if "tuple" in str(getattr(a, "_typehint", ""))
        }
        result: list[str] = []
        for word in words:
            name, equals, value = word.partition("=")
            if equals and name in tuples:
                word = f"{name}={_as_list(value)}"
            elif result and result[-1] in tuples:
                word = _as_list(word)
            result.append(word)
        return result

    def option_name(self, option: str) -> str:
        """Return the command-line form of an option of Python: `--top-k`, `--train.max_steps`, `--resume auto` for
        "resume=True". It is unchanged if the command has no such option."""
        option, equals, _ = option.partition("=")
        option = self._renamed.get(option, option)
        known = [one.removeprefix("--") for action in self._actions for one in action.option_strings]
        known = sorted([*known, *self._fields], key=lambda one: one.count("."))
        found = next((one for one in known if one == option or one.endswith(f".{option}")), None)
        action = self._option_string_actions.get(f"--{found}")
        value = " auto" if equals and action is not None and "auto" in (action.choices or ()) else ""
        return option if found is None else spelt(found) + value

    def instantiated(self, arguments: Namespace) -> Namespace:
        """Build the configurations from parsed arguments.

        Raises:
            ArgumentsError: A configuration is invalid.
        """
        try:
            result: Namespace = self.instantiate(arguments)
            return result
        except ValueError as error:
            # jsonargparse lists every type that a nested field could have had, each with its reason.
            reason: BaseException | None = error
            while reason is not None and not isinstance(reason, ArgumentsError):
                reason = reason.__cause__ or reason.__context__
            if reason is None:
                raise
            raise reason from None

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with code 2."""
        if not self.exit_on_error:
            raise ArgumentError(None, message) from ex
        options = [one[2:] for action in self._actions for one in action.option_strings if one.startswith("--")]
        places = {name: _place(a) for a in self._actions if not a.option_strings for name in (a.dest, str(a.metavar))}
        reworded = reword_error(one_line(message), [*options, *self._fields], places)
        if "did you mean" not in reworded:
            reworded += suggest_subcommand(self._words, self, self.subcommands)
        print(f"{self.prog}: {reworded} (see --help)", file=sys.stderr)
        raise SystemExit(2)


class _Version(_HelpAction):
    """Prints the version, which is slow to look up. Like --help, it is not an option of the configuration."""

    def __call__(self, parser: Any, *_: object) -> NoReturn:
        from muse_shortcut.version import __version__

        print(f"{parser.prog} {__version__}")
        raise SystemExit(0)


class _Completion(_HelpAction):
    """Prints a completion script. Like --help, it is not an option of a configuration."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        Action.__init__(self, option_strings, SUPPRESS, default=SUPPRESS, **kwargs)

    def __call__(self, parser: Any, _: object, values: Any, option_string: str | None = None) -> NoReturn:
        from muse_shortcut.commands.completion import completion_script

        try:
            say(completion_script(parser, parser.subcommands, list(parser._fields), values))
        except ArgumentsError as error:
            parser.error(str(error))
        raise SystemExit(0)


def _place(action: Any) -> str:
    """Return the name of a positional argument in the usage, and its allowed values."""
    name = str(action.metavar or action.dest)
    return f"{name} ({', '.join(action.choices)})" if action.choices else name


def _words(arguments: Sequence[str] | None) -> list[str]:
    return [_with_underscores(word) for word in (sys.argv[1:] if arguments is None else arguments)]


def _with_underscores(word: str) -> str:
    """Replace dashes in the name of an option by underscores, and an earlier name by the current one; the value is
    unchanged."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + current_name(name[2:].replace("-", "_")) + equals + value


def _as_list(value: str) -> str:
    return f"[{value}]" if re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", value) else value


def _files_of_options(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the files of `--config` in order, and the arguments without them."""
    files: list[str] = []
    others: list[str] = []
    for word in words:
        if others and others[-1] == "--config":
            others.pop()
            files.append(word)
        elif word.startswith("--config="):
            files.append(word.partition("=")[2])
        else:
            others.append(word)
    return files, others


def read_options(path: Path) -> dict[str, Any]:
    """Read a file of options. Raises ArgumentsError."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentsError(f"--config: cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark is not None else ""
        raise ArgumentsError(f"--config: {path} is not YAML{place}") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ArgumentsError(f"--config: {path} has no options; allowed: lines such as `preset: tiny`")
    return current_options(content)


class RawOptions:
    """Reads options before the parser is built, because its defaults may depend on them."""

    def __init__(self, arguments: Sequence[str] | None = None) -> None:
        """Errors are left to the parser, which reports them."""
        files, self._line = _files_of_options(_words(arguments))
        self._file: dict[str, Any] = {}
        for file in files:
            with suppress(ArgumentsError):
                self._file |= read_options(Path(file))

    def on_line(self, name: str) -> str | None:
        """The value of an option on the command line."""
        found = None
        for word, following in zip(self._line, [*self._line[1:], None], strict=False):
            if word == f"--{name}" and following is not None:
                found = following
            elif word.startswith(f"--{name}="):
                found = word.partition("=")[2]
        return found

    def value(self, name: str) -> Any:
        """The value of an option: that of the command line, else of the last file of options that has it."""
        on_line = self.on_line(name)
        return self._file.get(name) if on_line is None else on_line

    def domain(self, allowed: Collection[str]) -> Any:
        """Return the positional domain on the command line, or else in a file of options."""
        for before, word in zip(["", *self._line], self._line, strict=False):
            if word in allowed and (not before.startswith("--") or "=" in before or before == "--print_config"):
                return word
        return self._file.get("domain")


def run_command(program: str, body: Callable[[], int | None], option_name: Callable[[str], str] = str) -> NoReturn:
    """Run the body of a command, and exit with the code of its outcome.

    Args:
        program: Name of the program, which prefixes its errors.
        body: The work; it may return an exit code.
        option_name: Returns the command-line form of an option of Python: `CommandLine.option_name`.
    """
    try:
        code = body() or 0
        sys.stdout.flush()
    except MuseError as error:
        print(f"{program}: {error.worded(option_name)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        _silence(sys.stdout)
        code = 1
    raise SystemExit(code)


class Terminal:
    """The output of a command. With `quiet`, only results and errors are printed; with `json`, standard output has one
    JSON object and nothing else."""

    def __init__(self, program: str, options: object = None) -> None:
        """
        Args:
            program: Name of the command, before its warnings.
            options: Options of the command, with `quiet` and `json` if it has them.
        """
        self._program = program
        self.quiet = getattr(options, "quiet", False) is True
        self.json = getattr(options, "json", False) is True

    def result(self, text: str) -> None:
        """Print a result to standard output; with `json`, the object has it."""
        if not self.json:
            say(f"{text}\n")

    def hint(self, text: str) -> None:
        """Print help for the user that is not a result to standard output."""
        if not self.quiet and not self.json:
            say(f"{text}\n")

    def inform(self, text: str) -> None:
        """Print a line about the progress of the work to standard error."""
        if not self.quiet and not self.json:
            _print_error(text)

    def warn(self, message: str) -> None:
        """Print a warning about a file or a result to standard error, as one line. This is a `Warn`."""
        if not self.quiet:
            _print_error(f"{self._program}: {one_line(message)}")

    def progress(self, label: str, total: float | None) -> ProgressBar:
        """Return a progress bar on standard error."""
        from muse_shortcut.commands.progress import ProgressBar

        return ProgressBar(label, total, quiet=self.quiet or self.json)

    def finish(self, content: Mapping[str, Any]) -> None:
        """Print the JSON object, with `json`."""
        if self.json:
            say(json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def say(text: str) -> None:
    """Print to standard output, replacing characters that its encoding lacks. If the output is closed, work that writes
    files continues."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)


def _print_error(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    # Without this Python reports the closed pipe once more at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class StopSwitch:
    """Turns the first Ctrl-C or SIGTERM into a flag that long work checks between steps; the second one kills the
    process."""

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
