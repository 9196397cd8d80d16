"""Finds the file of a prompt by name. Cheap to import: commands check prompts before they load anything slow."""

from __future__ import annotations

from pathlib import Path

from muse_shortcut.errors import ArgumentsError
from muse_shortcut.shipped import prompt_names, shipped_prompt
from muse_shortcut.suggesting import did_you_mean
from muse_tokenizers.suffixes import kind_by_suffix

__all__ = ["exists", "find_prompt"]


def find_prompt(domain: str, word: str, *, words: bool | None = None) -> Path | None:
    """Return the file or shipped prompt of this name; None if the word is itself text to continue.

    Args:
        domain: Kind of the model's domain.
        word: A path, the name of a shipped prompt, or a text.
        words: Whether a prompt of the domain may be literal text; None takes the rule of the built-in domain.

    Raises:
        ArgumentsError: The word is none of these.
    """
    if not word:
        raise ArgumentsError("the prompt is empty; leave it out to begin from nothing")
    if exists(word):
        return Path(word)
    shipped = shipped_prompt(domain, word)
    if shipped is not None:
        return shipped
    if domain == "text" if words is None else words:
        if kind_by_suffix(Path(word)) == "text" and " " not in word:
            raise ArgumentsError(f"no prompt {word!r}: it is no file here, and looks like no words")
        return None
    names = prompt_names(domain)
    raise ArgumentsError(
        f"no prompt {word!r}: it is no file here"
        + (f", nor one of the shipped {', '.join(names)}" if names else "")
        + did_you_mean(word, names)
    )


def exists(word: str) -> bool:
    """Whether a file or folder of this name exists."""
    try:
        return Path(word).exists()
    except (OSError, ValueError):
        # A text may be longer than any file name.
        return False
