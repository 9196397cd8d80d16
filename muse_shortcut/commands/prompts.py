"""Resolves what muse-generate continues: domain, prompt and options, checked before anything slow is loaded."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from muse_shortcut.api import finding
from muse_shortcut.commands.subcommands import split_positionals
from muse_shortcut.commands.typed_options import given_options
from muse_shortcut.errors import ArgumentsError, HubError, MuseError, OutputError
from muse_shortcut.runs import find_checkpoint
from muse_shortcut.shipped import named_checkpoint, prompt_names, shipped_prompt
from muse_shortcut.suggesting import did_you_mean, spelt
from muse_tokenizers.built_in import BUILT_IN, OPTION_DOMAINS, domain_info, refused_option
from muse_tokenizers.contents import content_of, describe_foreign, head_of, kind_of_file
from muse_tokenizers.errors import TokenizerError, UnreadablePieceError, Warn
from muse_tokenizers.plugins import BUILT_IN_DOMAINS, installed_domains
from muse_tokenizers.suffixes import TEXT, kind_by_suffix

if TYPE_CHECKING:
    from muse_shortcut.commands.generate_options import GenerateOptions

__all__ = [
    "STANDARD_INPUT",
    "Target",
    "check_options",
    "choose_target",
    "find_prompt",
    "positionals_first",
    "read_standard_input",
    "request_options",
]  # fmt: skip

Piece = TypeVar("Piece")

STANDARD_INPUT = "-"
_LONGEST_INPUT = 2**30
"""Largest size of standard input in bytes."""
_SHOWN = 3
"""Number of prompts that an error lists."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What to continue."""

    domain: str
    prompt: str | None
    """A file, the name of a shipped prompt, or text; None to generate without a prompt."""


def positionals_first(words: Sequence[str], parser: ArgumentParser) -> list[str]:
    """Move positional arguments before the options.

    Before Python 3.12 argparse accepts an optional positional argument only next to the others.
    """
    positionals, options = split_positionals(words, parser)
    return [*positionals, *options]


def choose_target(options: GenerateOptions) -> Target:
    """Determine the domain and the prompt of a command line; the domain may follow from other options.

    Raises:
        ArgumentsError: They cannot be determined, or do not fit each other.
    """
    domains = installed_domains()
    words = [word for word in (options.domain, *(options.file or ())) if word is not None]
    domain = words.pop(0) if words and words[0] in domains else None
    if len(words) > 1:
        _refuse_several(domain, words)
    if words and options.prompt is not None:
        raise ArgumentsError(
            f"there are two prompts, {words[0]!r} and --prompt {options.prompt!r}; allowed: one at a time"
        )
    prompt = words[0] if words else options.prompt
    if prompt == "":
        raise ArgumentsError("--prompt is empty; omit it to generate without a prompt")
    if prompt is None and options.from_json is not None:
        return Target(domain=_domain_of_sidecar(options.from_json, domain), prompt=None)
    found = None if prompt is None else _domain_of_prompt(prompt)
    if domain is None:
        of_checkpoint = _domain_of_checkpoint(options.checkpoint)
        # A domain of another package knows its own files, whatever they look like here.
        plugin = None if of_checkpoint in BUILT_IN_DOMAINS else of_checkpoint
        domain = plugin or found or of_checkpoint or _domain_of_suffix(prompt) or _unknown(prompt)
    elif domain in BUILT_IN_DOMAINS and found not in (None, domain) and prompt is not None and finding.exists(prompt):
        raise ArgumentsError(
            f"{prompt} is {BUILT_IN[str(found)].content}, not {BUILT_IN[domain].content}; leave out {domain}, or name "
            "another file"
        )
    return Target(domain=domain, prompt=prompt)


def find_prompt(target: Target) -> Path | None:
    """Find the file of a prompt; None if there is no prompt, or if it is literal text.

    Raises:
        ArgumentsError: There is no such file.
    """
    if target.prompt is None:
        return None
    if target.prompt == STANDARD_INPUT:
        return Path("stdin")
    return finding.find_prompt(target.domain, target.prompt)


def read_standard_input(read: Callable[[Path, Warn], Piece], warn: Warn) -> Piece:
    """Read standard input through a temporary file with `read`; messages call it stdin.

    Raises:
        UnreadablePieceError: The input is too long or cannot be read.
        OutputError: There is no space for the temporary file.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        size = 0
        try:
            with path.open("wb") as file:
                while block := sys.stdin.buffer.read(2**20):
                    size += file.write(block)
                    if size > _LONGEST_INPUT:
                        raise UnreadablePieceError(f"stdin has more than {_LONGEST_INPUT:,} bytes")
        except OSError as error:
            raise OutputError(f"cannot keep standard input in {folder}: {error.strerror}") from error
        try:
            return read(path, lambda line: warn(line.replace(str(path), "stdin")))
        except TokenizerError as error:
            raise error.with_name(path, "stdin") from error


def request_options(options: GenerateOptions) -> dict[str, Any]:
    """Return the options for `Model.continue_` that were given. A flag that is off does not override the sampling of
    the checkpoint."""
    from muse_shortcut.api.options import OPTION_NAMES

    given = given_options(options)
    return {name: given[name] for name in OPTION_NAMES if name in given}


def check_options(options: GenerateOptions, target: Target) -> None:
    """Check options that can be checked before a model is loaded.

    Raises:
        ArgumentsError, ConstraintError: An option belongs to another domain, or no model accepts its value.
    """
    domain, given = target.domain, given_options(options)
    for name in OPTION_DOMAINS:
        reason = refused_option(name, domain, spelt)
        if name in given and reason is not None:
            raise ArgumentsError(reason)
    if options.encoding is not None:
        from muse_tokenizers.text.encodings import check_encoding

        check_encoding(options.encoding)
    if options.files.soundfont is not None and options.files.sound:
        from muse_tokenizers.midi.soundfonts import checked_soundfont

        checked_soundfont(Path(options.files.soundfont))
    if (requested := request_options(options)) and domain in BUILT_IN_DOMAINS:
        # A domain of another package checks the values of its own constraints.
        from muse_shortcut.api.options import check_values

        check_values(requested, has_prompt=target.prompt is not None)


def _domain_of_prompt(word: str) -> str | None:
    if finding.exists(word):
        return kind_of_file(Path(word))
    shipped = next((one for one in BUILT_IN_DOMAINS if shipped_prompt(one, word) is not None), None)
    return shipped or (kind_by_suffix(Path(word)) if " " not in word else None)


def _domain_of_suffix(word: str | None) -> str | None:
    """Return the domain of another package whose files have the suffix of a prompt."""
    suffix = "" if word is None or " " in word else Path(word).suffix.lower()
    others = [one for one in installed_domains() if one not in BUILT_IN_DOMAINS] if suffix else []
    return next((one for one in others if suffix in domain_info(one).suffixes), None)


def _domain_of_sidecar(file: str, domain: str | None) -> str:
    """Return the domain of a sidecar; other errors are reported when it is read."""
    expected = "--from-json takes a .json file that muse-generate wrote together with a continuation"
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))["domain"]
    except OSError as error:
        what = "it is a folder" if Path(file).is_dir() else error.strerror
        raise ArgumentsError(f"cannot read {file}: {what}; {expected}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        content = content_of(head_of(Path(file)))
        what = (
            "is not one" if content is None or (content.is_text and content.advice is None) else f"is {content.called}"
        )
        beside = Path(file).with_suffix(".json")
        hint = did_you_mean(str(beside), [str(beside)]) if str(beside) != file and beside.is_file() else ""
        raise ArgumentsError(f"{expected}; {file} {what}{hint}") from error
    domains = installed_domains()
    if domain is None and found in domains:
        return str(found)
    if domain is None or (found in domains and found != domain):
        raise ArgumentsError(f"{file} is a sidecar of {found}; allowed: {domain or ', '.join(domains)}")
    return domain


def _domain_of_checkpoint(word: str | None) -> str | None:
    if word is None:
        return None
    try:
        path = find_checkpoint(named_checkpoint(word)) / "tokenizer" / "tokenizer.json"
        kind = json.loads(path.read_text(encoding="utf-8"))["kind"]
    except HubError:
        raise
    except (MuseError, OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return kind if kind in installed_domains() else None


def _unknown(prompt: str | None) -> str:
    domains = installed_domains()
    names = [name for domain in BUILT_IN_DOMAINS for name in prompt_names(domain)]
    if prompt == STANDARD_INPUT:
        raise ArgumentsError(
            f"the domain of standard input is not known; name it: muse-generate DOMAIN -, where DOMAIN is one of "
            f"{', '.join(domains)}"
        )
    if prompt is None:
        raise ArgumentsError(
            f"there is no prompt; allowed: a file, a shipped prompt ({', '.join(names)}), or a domain alone "
            f"({', '.join(domains)}), which generates without a prompt"
        )
    if finding.exists(prompt):
        _refuse_file(Path(prompt))
    raise ArgumentsError(
        f"{prompt!r} is neither a file, nor a shipped prompt ({', '.join(names)}), nor a domain "
        f"({', '.join(domains)})"
        + (did_you_mean(prompt, [*names, *domains]) or '; to continue words: muse-generate text "WORDS"')
    )


def _refuse_file(path: Path) -> NoReturn:
    """Raise ArgumentsError for a file whose domain neither content nor suffix shows."""
    finding.check_one_file(path)
    if path.stat().st_size == 0:
        raise ArgumentsError(f"{path} is empty")
    foreign = describe_foreign(path)
    if foreign is not None:
        allowed = "" if ";" in foreign else "; allowed: a MIDI file, a sound file or a text file"
        raise ArgumentsError(f"{path} {foreign}{allowed}")
    content = content_of(head_of(path))
    if content is not None and content.is_text:
        if _is_sidecar(path):
            raise ArgumentsError(
                f"{path} is the sidecar of a continuation; to generate it again: muse-generate --from-json {path}"
            )
        raise ArgumentsError(
            f"{path} is text by its content, but {path.suffix} is not one of the endings of text "
            f"({', '.join(sorted(TEXT))}); to continue it as text: muse-generate text {path}"
        )
    raise ArgumentsError(
        f"neither content nor name of {path} shows its domain; a prompt is a MIDI file, a sound file or a text "
        f"file; to force a domain, put it before the file ({', '.join(installed_domains())})"
    )


def _is_sidecar(path: Path) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["domain"] in installed_domains()
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _refuse_several(domain: str | None, words: Sequence[str]) -> NoReturn:
    """Raise ArgumentsError for several prompts."""
    there = [word for word in words if finding.exists(word)]
    joined = " ".join(words)
    if finding.exists(joined):
        raise ArgumentsError(f"a file name with spaces needs quotes: {joined!r}")
    if not there and domain is not None and domain_info(domain).words:
        raise ArgumentsError(f'words to continue need quotes: muse-generate {domain} "{joined}"')
    if words[0] not in there and domain is None and not Path(words[0]).suffix:
        hint = (
            did_you_mean(words[0], installed_domains()) or '; words to continue need quotes: muse-generate text "WORDS"'
        )
        raise ArgumentsError(f"{words[0]!r} is not a domain; allowed: {', '.join(installed_domains())}{hint}")
    shown = ", ".join(words[:_SHOWN]) + (", ..." if len(words) > _SHOWN else "")
    raise ArgumentsError(
        f"there are {len(words)} prompts, {shown}; allowed: one at a time (run muse-generate once for each)"
    )
