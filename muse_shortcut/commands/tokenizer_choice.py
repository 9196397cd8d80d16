"""Chooses the tokenizer of muse-prepare: from a checkpoint, by name, from a file, or trained on the texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from muse_shortcut.commands.checkpoint_names import checkpoint_folder, codec_name
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.runs import find_checkpoint
from muse_shortcut.shipped import named_checkpoint
from muse_tokenizers.built_in import TOKENIZER_OPTIONS
from muse_tokenizers.wording import about, counted

if TYPE_CHECKING:
    from muse_shortcut.commands.command_line import Terminal
    from muse_shortcut.commands.progress import ProgressBar
    from muse_shortcut.data.recipe import Recipe
    from muse_shortcut.data.scan import SourceFile
    from muse_tokenizers.base import Tokenizer

__all__ = ["TokenizerOptions", "choose_tokenizer", "refuse_others_options"]

_LEARNED_FROM = 2**27
"""Largest number of bytes of the training split on which a vocabulary is trained, spread evenly over the split."""
_CHOOSING = ("codec", "codebooks", "vocabulary_size", "line_ends")
"""Options that choose a tokenizer."""


@dataclass(frozen=True)
class TokenizerOptions:
    """The options of muse-prepare that choose a tokenizer, and those of the training split, on which a vocabulary may
    be trained."""

    domain: str
    tokenizer: str | None
    vocabulary_size: int | None
    line_ends: Literal["lf", "keep"] | None
    encoding: str | None
    codec: str | None
    codebooks: int | None
    device: Literal["auto", "cpu", "cuda"] | None
    held_out: float
    seed: int


def refuse_others_options(options: TokenizerOptions) -> None:
    """Raise ArgumentsError if an option belongs to another domain."""
    for option, domain in TOKENIZER_OPTIONS.items():
        if domain != options.domain and getattr(options, option) is not None:
            name = option.replace("_", "-")
            raise ArgumentsError(f"--{name} is an option of {domain}, not of {options.domain}")


def choose_tokenizer(
    options: TokenizerOptions,
    recipes: Sequence[Recipe | None],
    sources: Sequence[Sequence[SourceFile]],
    terminal: Terminal,
) -> Tokenizer[Any]:
    """Choose the tokenizer of a command line.

    Args:
        options: Options of muse-prepare.
        recipes: Recipe of each source; None if it has none.
        sources: Files of each source, on which a vocabulary may be trained.
        terminal: Output of the command.

    Raises:
        ArgumentsError, TokenizerError: There is no such tokenizer, or it belongs to another domain.
    """
    from muse_tokenizers.base import NewTokenizer
    from muse_tokenizers.loading import load_tokenizer, tokenizer_class

    if options.tokenizer is not None and _is_checkpoint(named_checkpoint(options.tokenizer)):
        found = load_tokenizer(checkpoint_folder(options.tokenizer, terminal) / "tokenizer")
        if found.kind != options.domain:
            raise ArgumentsError(f"--tokenizer names a checkpoint of {found.kind}, not of {options.domain}")
        for option in _CHOOSING:
            if getattr(options, option) is not None:
                name = option.replace("_", "-")
                raise ArgumentsError(f"--{name} chooses a tokenizer; --tokenizer names a checkpoint, which has its own")
        # The encoding of these files, not of those on which the tokenizer was trained.
        found.use_encoding(options.encoding)
        return found
    given = {name: getattr(options, name) for name in TOKENIZER_OPTIONS}
    if options.codec is not None:
        given["codec"] = codec_name(options.codec, terminal)
    new = NewTokenizer(
        name=options.tokenizer,
        of_recipe=next((recipe.tokenizer for recipe in recipes if recipe is not None), None),
        options={name: value for name, value in given.items() if value is not None},
        progress=lambda label: terminal.progress(label, None),
        texts=lambda bar: _training_texts(options, sources, bar),
    )
    return tokenizer_class(options.domain).create(new)


def _is_checkpoint(folder: Path) -> bool:
    return (folder / "tokenizer").is_dir() or find_checkpoint(folder) != folder


def _training_texts(
    options: TokenizerOptions, sources: Sequence[Sequence[SourceFile]], bar: ProgressBar
) -> Iterator[bytes]:
    """Yield training texts file by file; if there are too many, every second, third, ... file or part."""
    from muse_shortcut.data.splits import draw_splits

    # The splits of the store, without unusable files and duplicates.
    problems: list[str] = []
    usable = [[(file, digest) for file in source if (digest := _digest(file, options, problems))] for source in sources]
    splits, _ = draw_splits(usable, options.seed, options.held_out)
    files = [file for source in usable for file, _ in source if splits.get(file.name) == "train"]
    if not files:
        if problems and not any(usable):
            raise ArgumentsError(
                f"none of the files can be used ({counted(len(problems), 'file')} found); the first: {problems[0]}"
            )
        raise ArgumentsError("the train split has no text to learn a vocabulary from; name a --tokenizer")
    total = sum(file.size() for file in files)
    stride, read = -(-total // _LEARNED_FROM) or 1, 0
    for file in files[::stride]:
        data = _read(file, options)
        read += len(data)
        bar.show(round(read / 2**20, 1), "MiB read")
        yield data


def _read(file: SourceFile, options: TokenizerOptions) -> bytes:
    """Read a text as it will be in the store; conversions are reported when the store is made. Raises
    UnreadablePieceError."""
    from muse_tokenizers.text.files import read_text

    return read_text(file.path, file.part, options.line_ends or "lf", encoding=options.encoding, warn=lambda _: None)


def _digest(file: SourceFile, options: TokenizerOptions, problems: list[str]) -> str | None:
    """Return a digest of the text of a file; None if it cannot be used, with the reason appended to `problems`."""
    from muse_tokenizers.errors import UnreadablePieceError

    if file.reason:
        problems.append(about(file.name, file.reason))
        return None
    try:
        return hashlib.sha256(_read(file, options)).hexdigest()
    except UnreadablePieceError as error:
        problems.append(str(error))
        return None
