"""Which file a prompt that is named by a word means. Cheap to import: commands ask before anything slow is loaded."""

from __future__ import annotations

from pathlib import Path

from muse_shortcut.errors import ArgumentsError
from muse_shortcut.shipped import prompt_names, shipped_prompt
from muse_shortcut.suggesting import did_you_mean
from muse_tokenizers.suffixes import kind_by_suffix

__all__ = ["exists", "find_prompt"]


def find_prompt(domain: str, word: str, *, words: bool | None = None) -> Path | None:
    """The file that is called so, or the shipped prompt; None where the word is itself text to continue.

    Args:
        domain: of the model.
        word: a path, a name or a text.
        words: whether a prompt of the domain may be the words themselves; None: as of the built-in one.

    Raises:
        ArgumentsError: it is none of that.
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
    """Whether a file or folder is called so."""
    try:
        return Path(word).exists()
    except (OSError, ValueError):
        # Words may be longer than any file's name.
        return False
