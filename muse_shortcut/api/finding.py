"""Finds the file of a prompt by name. Cheap to import: commands check prompts before they load anything slow."""

from __future__ import annotations

import os
from pathlib import Path

from muse_shortcut.errors import ArgumentsError
from muse_shortcut.shipped import prompt_names, shipped_prompt
from muse_shortcut.suggesting import did_you_mean
from muse_tokenizers.built_in import domain_info
from muse_tokenizers.suffixes import kind_by_suffix

__all__ = ["check_one_file", "exists", "find_prompt"]


def find_prompt(domain: str, word: str) -> Path | None:
    """Return the file or shipped prompt of this name; None if the word is itself text to continue.

    Args:
        domain: Kind of the model's domain.
        word: A path, the name of a shipped prompt, or a text.

    Raises:
        ArgumentsError: The word names a folder, or none of these.
        UnknownTokenizerError: There is no such domain.
    """
    if not word:
        raise ArgumentsError("the prompt is empty; omit it to generate without a prompt")
    if exists(word):
        check_one_file(Path(word))
        return Path(word)
    shipped = shipped_prompt(domain, word)
    if shipped is not None:
        return shipped
    info = domain_info(domain)
    if info.words:
        if Path(word).suffix.lower() in info.suffixes and " " not in word:
            raise ArgumentsError(f"there is no file {word}, and by its suffix it is not text to continue")
        return None
    names = prompt_names(domain)
    shipped_ones = f"; the shipped prompts are {', '.join(names)}" if names else ""
    raise ArgumentsError(f"there is no file {word}{did_you_mean(word, names) or shipped_ones}")


def check_one_file(path: Path) -> None:
    """Raises ArgumentsError: a prompt is a folder."""
    if not path.is_dir():
        return
    found = (one for one in sorted(path.iterdir()) if one.is_file() and kind_by_suffix(one)) if _listable(path) else ()
    example = next((f", such as {one}" for one in found), "")
    raise ArgumentsError(
        f"{path} is a folder, but a prompt is one file{example}; continue its files one by one "
        "(only muse-prepare reads whole folders, for training)"
    )


def _listable(path: Path) -> bool:
    return os.access(path, os.R_OK | os.X_OK)


def exists(word: str) -> bool:
    """Whether a file or folder of this name exists."""
    try:
        return Path(word).exists()
    except (OSError, ValueError):
        # A text may be longer than any file name.
        return False
