"""What can be asked of a continuation, checked and completed with the defaults of the model and its domain."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypedDict

from muse_shortcut.checks import require_range
from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import ArgumentsError, OptionError
from muse_shortcut.generation.request import Request
from muse_tokenizers.base import Constraints, Prompt, Unit
from muse_tokenizers.domain import Domain

__all__ = ["DEFAULT_LENGTH", "OPTION_NAMES", "Options", "build_request", "check_prompt_seconds"]

DEFAULT_LENGTH: dict[Unit, float] = {"seconds": 20.0, "bytes": 800.0}
"""Length of a continuation where none is asked for, by the unit of its domain."""


class Options(TypedDict, total=False):
    """Keyword arguments of `Model.continue_` and `Model.stream`. What is left out or None has its default."""

    prompt_seconds: float | None
    """Music and sound: continue the first so many seconds of the prompt, cut at a bar line or a frame. Default: all."""
    seconds: float | None
    """Music and sound: length of the continuation. Default: 20. Of several lengths the one that is reached first ends
    it."""
    bytes: int | None
    """Text: length of the continuation. Default: 800."""
    bars: int | None
    """MIDI: length of the continuation in bars."""
    max_new_tokens: int | None
    """Length in steps of the model."""
    num_samples: int | None
    """Continuations, generated side by side. Default: 1."""
    seed: int | None
    """Same seed and options, same continuation. Default: a random one, found in `Continuation.seed`."""
    instruments: str | Sequence[str | int] | None
    """MIDI: the only instruments allowed to play, by name, family or General MIDI program; "any": whatever comes.
    Default: those of the prompt."""
    key: str | None
    """MIDI: "F# minor", or pitch classes "0,4,7"."""
    tempo: float | str | None
    """MIDI: beats per minute of the continuation; "free": any. Default: the prompt's prevailing tempo, in its range."""
    silence: float | None
    """MIDI: the longest silence in seconds; 0: any. Default: 2."""
    repeats: int | None
    """MIDI: the most bars in a row that repeat earlier ones; 0: any. Default: 4."""
    temperature: float | None
    """Below 1 the likely ids become likelier, above 1 less so. Sampling defaults are the checkpoint's."""
    top_k: int | None
    """Only the k likeliest ids; 0: all."""
    top_p: float | None
    """Only the likeliest ids that together have this probability; 1: all."""
    min_p: float | None
    """Only ids at least this fraction as likely as the likeliest; 0: all."""
    repetition_penalty: float | None
    """Divides the odds of recent ids; 1: off."""
    no_repeat_ngram: int | None
    """No run of n ids twice; 0: off."""
    greedy: bool | None
    """Always the likeliest id."""


OPTION_NAMES = tuple(Options.__annotations__)
_SAMPLING = tuple(field.name for field in fields(SamplingConfig))
_LENGTHS = ("seconds", "bytes", "bars")
_CONSTRAINTS = (*_LENGTHS, "instruments", "key", "tempo", "silence", "repeats")
"""Each domain grants some of them."""


def check_prompt_seconds(domain: Domain[Any], seconds: float | None, *, has_prompt: bool) -> None:
    """Raises OptionError: a part of the prompt is asked for where there is none, or where it has no seconds."""
    if seconds is None:
        return
    require_range("prompt_seconds", seconds)
    if not has_prompt:
        raise OptionError("prompt_seconds", seconds, "none without a prompt")
    if domain.unit != "seconds":
        raise OptionError("prompt_seconds", seconds, f"none of {domain.kind}, only of music and sound")


def build_request(
    domain: Domain[Any],
    prompt: Prompt[Any],
    sampling: SamplingConfig,
    options: Options | Mapping[str, Any],
) -> Request:
    """The request that a model's engine runs.

    Args:
        domain: of the model.
        prompt: cut already: `prompt_seconds` has no effect here.
        sampling: the checkpoint's defaults.
        options: what is asked for.

    Raises:
        ArgumentsError: an option is unknown or out of its range.
        ConstraintError: the domain cannot grant what is asked for.
    """
    unknown = set(options) - set(OPTION_NAMES)
    if unknown:
        raise ArgumentsError(f"no option is called {sorted(unknown)[0]!r}; allowed: {', '.join(OPTION_NAMES)}")
    asked: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    seed = asked.get("seed")
    return Request(
        prompt=prompt,
        sampling=replace(sampling, **{name: asked[name] for name in _SAMPLING if name in asked}),
        constraints=_constraints(domain, asked),
        candidates=asked.get("num_samples", 1),
        max_steps=asked.get("max_new_tokens"),
        seed=secrets.randbelow(2**32) if seed is None else seed,
    )


def _constraints(domain: Domain[Any], asked: Mapping[str, Any]) -> Constraints:
    given = {name: asked[name] for name in _CONSTRAINTS if name in asked}
    for name, parse in (("instruments", _instruments), ("tempo", _tempo), ("key", _key)):
        if name in given:
            given[name] = parse(given[name])
    # A sidecar has the same bytes whether 20 was asked for or 20.0.
    given |= {name: float(given[name]) for name in _IN_SECONDS if type(given.get(name)) is int}
    constraints = domain.constraints(given)
    if not any(name in asked for name in (*_LENGTHS, "max_new_tokens")):
        constraints = constraints.with_length(DEFAULT_LENGTH[domain.unit])
    return constraints


_IN_SECONDS = ("seconds", "silence")


def _tempo(asked: Any) -> float | str:
    if str(asked).strip().lower() == "free":
        return "free"
    try:
        return float("no" if isinstance(asked, bool) else asked)
    except (TypeError, ValueError, OverflowError):
        raise OptionError("tempo", asked, "beats per minute, or free") from None


def _key(asked: object) -> str:
    if not isinstance(asked, str) or not asked.strip():
        raise OptionError("key", asked, "a key such as 'F# minor', or pitch classes such as '0,4,7'")
    return asked.strip()


def _instruments(asked: object) -> tuple[str, ...]:
    names = asked.split(",") if isinstance(asked, str) else asked
    kept: tuple[str, ...] = ()
    if isinstance(names, Sequence) and all(type(name) in (str, int) for name in names):
        kept = tuple(str(name).strip() for name in names if str(name).strip())
    if not kept:
        raise OptionError("instruments", asked, "names or numbers with commas between them")
    return kept
