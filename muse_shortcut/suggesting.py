"""Suggests known names that are similar to an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean", "options_like", "spelt"]

_MOST = 3
_OTHER_NAMES = {
    "lr": "train.learning_rate", "steps": "train.max_steps", "epochs": "train.max_steps", "output": "out", "o": "out",
    "n": "num_samples", "samples": "num_samples", "length": "seconds", "input": "prompt", "model": "checkpoint",
}  # fmt: skip
"""Names of the options in other programs."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message, such as "; did you mean greensleeves?"; empty if no name is similar."""
    found = _near(word, list(known))
    return f"; did you mean {' or '.join(found)}?" if found else ""


def options_like(name: str, options: Iterable[str]) -> list[str]:
    """Return the options that are similar to an unknown one.

    Args:
        name: The unknown option, without its leading dashes and with underscores.
        options: The known options in the same form: "out", "train.max_steps".
    """
    known = list(options)
    tails = {one: one.rpartition(".")[2] for one in known}
    if _OTHER_NAMES.get(name) in known:
        return [_OTHER_NAMES[name]]
    same = [one for one in known if tails[one] == name.rpartition(".")[2]]
    near = same or _near(name, known)
    by_tail = _near(name.rpartition(".")[2], list(tails.values()))
    return (near or [one for one in known if tails[one] in by_tail])[:_MOST]


def spelt(option: str) -> str:
    """Return the command-line form of an option: --top-k; a field of a configuration keeps its underscores:
    --train.max_steps."""
    return f"--{option}" if "." in option else f"--{option.replace('_', '-')}"


def _near(word: str, known: list[str]) -> list[str]:
    """Return the names that begin with the word, then those with a similar spelling."""
    names = {name.lower(): name for name in known}
    wanted = word.lower()
    started = [name for low, name in names.items() if len(wanted) > 1 and low.startswith(wanted)]
    alike = [names[low] for low in get_close_matches(wanted, names, n=_MOST, cutoff=0.7)]
    return list(dict.fromkeys([*started, *alike]))[:_MOST]
