"""The options of a continuation, checked and completed with the defaults of the model and its domain."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from numbers import Integral, Real
from typing import Any, TypedDict

import numpy as np

from muse_shortcut.checks import require, require_range
from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import ArgumentsError, OptionError
from muse_shortcut.generation.request import Request
from muse_tokenizers.base import Constraints, Prompt
from muse_tokenizers.built_in import ANCHORS, DEFAULT_LENGTHS, STYLES, refused_option
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import ConstraintError

__all__ = [
    "OPTION_NAMES",
    "Options",
    "build_request",
    "check_prompt_seconds",
    "check_values",
    "plain_number",
]


class Options(TypedDict, total=False):
    """Keyword arguments of `Model.continue_` and `Model.stream`. An option that is missing or None has its default."""

    prompt_seconds: float | None
    """Music and sound: how many seconds of the prompt to continue; the prompt is cut at a bar line or a frame. Default:
    all."""
    seconds: float | None
    """Music and sound: length of the continuation in seconds. Default: 20. If several lengths are set, the first one
    that is reached ends the continuation."""
    bytes: int | None
    """Text: length of the continuation in bytes. Default: 800."""
    bars: int | None
    """MIDI: length of the continuation in bars."""
    max_new_tokens: int | None
    """Length of the continuation in steps of the model."""
    num_samples: int | None
    """Number of continuations, generated in one batch. Default: 1."""
    keep: int | None
    """Return only the best of the `num_samples` continuations, best first, each with its `Continuation.ranking`.
    Default: all, in the order in which they were sampled."""
    seed: int | None
    """Seed of the sampling. The same seed and options give the same continuation. Default: a random seed, available as
    `Continuation.seed`."""
    instruments: str | Sequence[str | int] | None
    """MIDI: the only instruments that may play, by name, family or General MIDI program; "any" allows all. Default:
    those of the prompt."""
    key: str | None
    """MIDI: key of the continuation, such as "F# minor", or its pitch classes, such as "0,4,7"."""
    tempo: float | str | None
    """MIDI: tempo of the continuation in beats per minute; "free" lets it change. Default: the prevailing tempo of the
    prompt, within the range of the vocabulary."""
    silence: float | None
    """MIDI: longest silence in seconds; 0 allows any. Default: 2."""
    repeats: int | None
    """MIDI: most bars in a row that may repeat earlier ones; 0 allows any number. Default: 4."""
    style: str | None
    """MIDI: style of the music, such as "chorale", "song", "orchestra". Default: any."""
    hold: str | Sequence[str] | None
    """MIDI: what is led back to that of the prompt when it drifts: "dynamics", "register", "density", "balance" (of
    the instruments), or "none". Default: all, for checkpoints whose vocabulary is `parts`."""
    temperature: float | None
    """Temperature: values below 1 favour likely ids, values above 1 flatten the distribution. The defaults of this and
    the following options are those of the checkpoint."""
    top_k: int | None
    """Sample from the k likeliest ids only; 0 turns it off."""
    top_p: float | None
    """Sample from the smallest set of likeliest ids that together have this probability; 1 turns it off."""
    min_p: float | None
    """Sample only from ids that are at least this fraction as likely as the likeliest one; 0 turns it off."""
    repetition_penalty: float | None
    """Divide the odds of recent ids by this; 1 turns it off."""
    no_repeat_ngram: int | None
    """Never generate the same n-gram of steps twice; 0 turns it off."""
    greedy: bool | None
    """Always choose the likeliest id."""
    engine: str | None
    """What computes the steps: "native", "torch", or "auto" for the native step where it can. Default: "auto"."""


OPTION_NAMES = tuple(Options.__annotations__)
_SAMPLING = tuple(field.name for field in fields(SamplingConfig))
_LENGTHS = ("seconds", "bytes", "bars")
_CONSTRAINTS = (*_LENGTHS, "instruments", "key", "tempo", "silence", "repeats", "style", "hold")
"""Each domain supports some of these options."""


def check_values(options: Options | Mapping[str, Any], *, has_prompt: bool) -> None:
    """Check what can be checked without a model, which takes seconds to load.

    Args:
        options: The requested options.
        has_prompt: Whether there is a prompt.

    Raises:
        ArgumentsError: An option is unknown, or no model accepts its value.
    """
    requested = _requested(options)
    _check_part(requested.get("prompt_seconds"), has_prompt=has_prompt)
    values = _converted(requested)
    # As `Domain.constraints` understands them.
    bound = values | {name: values[name] or None for name in ("silence", "repeats") if name in values}
    bound |= {"tempo": None} if values.get("tempo") == "free" else {}
    _request(Prompt(ids=np.zeros((0, 1), dtype=np.int64), piece=None), SamplingConfig(), _Unbound(**bound), requested)
    _check_music(values)


def _check_music(values: Mapping[str, Any]) -> None:
    """Check the values that only music has."""
    from muse_tokenizers.midi.constraints import check_tempo, parse_instruments, parse_key

    if values.get("tempo", "free") != "free":
        check_tempo(values["tempo"])
    if "key" in values:
        parse_key(values["key"])
    if "any" not in [name.lower() for name in values.get("instruments", ())]:
        parse_instruments(values.get("instruments", ()))


class _Unbound:
    """The requested constraints, before a domain is known."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def _check_part(seconds: float | None, *, has_prompt: bool) -> None:
    require_range("prompt_seconds", seconds)
    if seconds is not None and not has_prompt:
        raise OptionError("prompt_seconds", seconds, "only with a prompt")


def check_prompt_seconds(domain: Domain[Any], seconds: float | None, *, has_prompt: bool) -> None:
    """Check `prompt_seconds`.

    Raises:
        OptionError: There is no prompt to cut, or it has no seconds.
    """
    _check_part(seconds, has_prompt=has_prompt)
    if seconds is not None and domain.unit != "seconds":
        raise OptionError("prompt_seconds", seconds, f"only for music and sound, not for {domain.kind}")


def build_request(
    domain: Domain[Any],
    prompt: Prompt[Any],
    sampling: SamplingConfig,
    options: Options | Mapping[str, Any],
) -> Request:
    """Build the request that the engine of a model runs.

    Args:
        domain: Domain of the model.
        prompt: The prompt, already cut: `prompt_seconds` has no effect here.
        sampling: Sampling defaults of the checkpoint.
        options: The requested options.

    Raises:
        ArgumentsError: An option is unknown or out of its range.
        ConstraintError: The domain does not support a requested constraint.
    """
    requested = _requested(options)
    return _request(prompt, sampling, _constraints(domain, requested), requested)


def _requested(options: Options | Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(options) - set(OPTION_NAMES)
    if unknown:
        raise ArgumentsError(f"there is no option {sorted(unknown)[0]!r}; allowed: {', '.join(OPTION_NAMES)}")
    return {name: plain_number(value) for name, value in options.items() if value is not None}


def plain_number(value: Any) -> Any:
    """Return a number of NumPy, or of another library, as an int, float or bool of Python; other values unchanged."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def _request(prompt: Prompt[Any], sampling: SamplingConfig, constraints: Any, requested: Mapping[str, Any]) -> Request:
    request = Request(
        prompt=prompt,
        sampling=replace(sampling, **{name: requested[name] for name in _SAMPLING if name in requested}),
        constraints=constraints,
        candidates=requested.get("num_samples", 1),
        max_steps=requested.get("max_new_tokens"),
        seed=secrets.randbelow(2**32) if requested.get("seed") is None else requested["seed"],
        engine=requested.get("engine", "auto"),
    )
    keep = requested.get("keep", 1)
    require(
        type(keep) is int and 1 <= keep <= request.candidates,
        "keep",
        keep,
        f"1 to {{num_samples}}, {request.candidates}",
    )
    return request


def _constraints(domain: Domain[Any], requested: Mapping[str, Any]) -> Constraints:
    _check_domain(domain, requested)
    constraints = domain.constraints(_converted(requested))
    if not any(name in requested for name in (*_LENGTHS, "max_new_tokens")):
        constraints = constraints.with_length(DEFAULT_LENGTHS[domain.unit])
    return constraints


def _check_domain(domain: Domain[Any], requested: Mapping[str, Any]) -> None:
    """Refuse options of another domain."""
    for name in _CONSTRAINTS:
        if name in requested and (reason := refused_option(name, domain.kind)) is not None:
            raise ConstraintError(reason)


def _converted(requested: Mapping[str, Any]) -> dict[str, Any]:
    """Return the requested constraints, converted to the types that domains expect."""
    values = {name: requested[name] for name in _CONSTRAINTS if name in requested}
    for name, parse in _PARSERS.items():
        if name in values:
            values[name] = parse(values[name])
    # The sidecar has the same bytes for 20 and 20.0.
    return values | {name: float(values[name]) for name in _IN_SECONDS if type(values.get(name)) is int}


def _style(requested: object) -> str:
    name = requested.strip().lower() if isinstance(requested, str) else requested
    if name not in STYLES:
        raise OptionError("style", requested, ", ".join(STYLES))
    return str(name)


def _hold(requested: object) -> tuple[str, ...]:
    names = requested.split(",") if isinstance(requested, str) else requested
    kept = tuple(str(name).strip() for name in names) if isinstance(names, Sequence) else ()
    if kept == ("none",):
        return ()
    if not kept or not set(kept) <= set(ANCHORS):
        raise OptionError("hold", requested, f"{', '.join(ANCHORS)} with commas between them, or none")
    return kept


_IN_SECONDS = ("seconds", "silence")


def _tempo(requested: Any) -> float | str:
    if str(requested).strip().lower() == "free":
        return "free"
    try:
        return float("no" if isinstance(requested, bool) else requested)
    except (TypeError, ValueError, OverflowError):
        raise OptionError("tempo", requested, "beats per minute, or free") from None


def _key(requested: object) -> str:
    if not isinstance(requested, str) or not requested.strip():
        raise OptionError("key", requested, "a key such as 'F# minor', or pitch classes such as '0,4,7'")
    return requested.strip()


def _instruments(requested: object) -> tuple[str, ...]:
    names = requested.split(",") if isinstance(requested, str) else requested
    kept: tuple[str, ...] = ()
    if isinstance(names, Sequence | np.ndarray):
        names = [plain_number(name) for name in names]
    if isinstance(names, Sequence) and all(type(name) in (str, int) for name in names):
        kept = tuple(str(name).strip() for name in names if str(name).strip())
    if not kept:
        raise OptionError("instruments", requested, "names or numbers with commas between them")
    return kept


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "instruments": _instruments,
    "tempo": _tempo,
    "key": _key,
    "style": _style,
    "hold": _hold,
}
"""What converts the value of a constraint, by its name."""
