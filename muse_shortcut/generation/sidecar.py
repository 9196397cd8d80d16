"""Sidecars: JSON files with everything that is needed to generate a continuation again."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from unicodedata import category

import numpy as np
import torch

from muse_shortcut.checks import RANGES
from muse_shortcut.config import SamplingConfig
from muse_shortcut.earlier_names import PROMPT, SIDECAR, current_names
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.generation.request import MAXIMUM_CANDIDATES, Request
from muse_shortcut.version import __version__
from muse_tokenizers.base import Constraints, Ids, Prompt, Tokenizer
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import TokenizerError, Warn, warn_about_file
from muse_tokenizers.json_files import read_json, version_problem
from muse_tokenizers.levels import LOUDNESS, QUIETEST
from muse_tokenizers.midi.constraints import RULES
from muse_tokenizers.wording import counted

__all__ = ["Sidecar", "read_sidecar", "sidecar_text"]

VERSION = 2
"""Version 1 has no clocks, levels or kept prompts: a program that reads only version 1 would generate something else
from a newer sidecar."""
_MAX_STEPS = int(RANGES["max_new_tokens"])
_LARGEST_STEP = 2**30
"""Largest prompt in ticks, samples or bytes. The continuation is counted from there in 32 bits."""
_LARGEST_SPLIT_POINT = 2**24
"""Largest prompt in bytes; its seconds are fewer."""
_LONGEST_NAME = 200
"""Longest name in bytes; a file name has at most 255 with its number and suffix."""


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """The content of a sidecar."""

    domain: str
    request: Request
    checkpoint: str
    """SHA-256 of the weights."""
    candidate: int
    """Candidate of the request, from 0."""
    ids: Ids
    """(T, K) ids of the continuation."""
    name: str
    """Name of the output, without its number."""
    source: str | None
    """Name of the file of the prompt."""
    loudness: float | None
    """Loudness of its sound in LUFS; None for the level of the soundfont, as in older sidecars, which lack the
    field."""


def sidecar_text(
    domain: Domain[Any],
    request: Request,
    *,
    checkpoint: str,
    candidate: int,
    ids: Ids,
    log_probability: float,
    name: str,
    source: str | None,
    sound: dict[str, Any] | None,
    ranking: dict[str, Any] | None = None,
) -> str:
    """Return the JSON of one candidate.

    Args:
        checkpoint: SHA-256 of the weights.
        candidate: Number of the candidate, from 0.
        ids: (T, K) ids of its continuation.
        log_probability: Log-probability of all its steps, in nats.
        name: Name of the output, without its number.
        source: Name of the file of the prompt.
        sound: How the sound was rendered: name and SHA-256 of the soundfont, loudness; None without sound.
        ranking: Rank of the candidate with the reasons; None if the candidates were not ranked.
    """
    prompt = request.prompt
    piece = None if prompt.piece is None else base64.b64encode(domain.dumps(prompt.piece)).decode()
    content = {
        "version": VERSION,
        "domain": domain.kind,
        "tokenizer": domain.tokenizer.fingerprint(),
        "checkpoint": checkpoint,
        "name": _as_utf8(name),
        "candidate": candidate,
        "candidates": request.candidates,
        "seed": request.seed,
        "max_steps": request.max_steps,
        "sampling": asdict(request.sampling),
        "constraints": asdict(domain.constraints_type.of(request.constraints)),
        "prompt": {
            "ids": prompt.ids.tolist(),
            "piece": piece,
            "split_point": prompt.split_point,
            "split_index": prompt.split_index,
            "partial_frames": None if prompt.partial_frames is None else prompt.partial_frames.tolist(),
            "gain": prompt.gain,
            "timed": prompt.clock is not None,
            "divided": prompt.divided,
        },
        "forced_ids": None if request.forced_ids is None else request.forced_ids.tolist(),
        "ids": ids.tolist(),
        "log_probability": log_probability,
        "source": None if source is None else _as_utf8(source),
        "sound": sound,
        "ranking": ranking,
        "made_with": {
            "muse_shortcut": __version__,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "engine": request.engine,
        },
    }
    return json.dumps(content, ensure_ascii=False) + "\n"


def _as_utf8(name: str) -> str:
    """Convert a file name that is not valid UTF-8 to text that can be written."""
    return name.encode("utf-8", "replace").decode()


def read_sidecar(path: Path, domain: Domain[Any], *, warn: Warn = warn_about_file) -> Sidecar:
    """Read a sidecar.

    Args:
        path: Path of the sidecar.
        domain: Domain of its ids.
        warn: Called with one line for everything in its prompt that was repaired, or that will not be reproduced
            exactly.

    Raises:
        ArgumentsError: The sidecar is missing, damaged, or of another tokenizer.
    """
    content = read_json(path, ArgumentsError)
    if not isinstance(content, dict) or "version" not in content:
        raise ArgumentsError(f"{path} is not a sidecar: it has no field 'version'")
    problem = version_problem(content["version"], VERSION)
    if problem is not None:
        raise ArgumentsError(f"{path} cannot be read: {problem}")
    if content.get("tokenizer") != domain.tokenizer.fingerprint():
        raise ArgumentsError(f"{path} was made with another tokenizer; choose the checkpoint that made it")
    if content["version"] == 1 and domain.kind == "midi":
        warn(f"{path} has version 1: the same ids and notes are generated again, but the .mid has the current format")
    try:
        return _sidecar(content, domain, warn)
    except KeyError as error:
        raise ArgumentsError(f"{path} is not a complete sidecar: it has no {error}") from error
    except (TypeError, ValueError, OverflowError, ArgumentsError, TokenizerError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArgumentsError(f"{path} is not a complete sidecar: {reason}") from error


def _sidecar(content: dict[str, Any], domain: Domain[Any], warn: Warn) -> Sidecar:
    if content["domain"] != domain.kind:
        raise ValueError(f"domain is {_shown(content['domain'])}; allowed: {domain.kind}")
    content = current_names(content, SIDECAR)
    constraints = _constraints(_object(content, "constraints"), domain.constraints_type)
    stored = current_names(_object(content, "prompt"), PROMPT)
    # Sidecars from before prompts kept the times of their files use the times of the ids.
    timed = _flag(stored, "timed", "prompt.")
    # Version 1 precedes the assignment of notes to tracks, unless the sidecar has clocks.
    divided = _flag({"divided": timed or content["version"] > 1} | stored, "divided", "prompt.")
    prompt = replace(_prompt(stored, domain, warn), divided=divided)
    if timed:
        prompt = domain.timed(prompt, constraints)
    request = Request(
        prompt=prompt,
        sampling=SamplingConfig(**_object(content, "sampling")),
        constraints=constraints,
        candidates=_whole(content, "candidates", 1, MAXIMUM_CANDIDATES),
        max_steps=None if content["max_steps"] is None else _whole(content, "max_steps", 1, _MAX_STEPS),
        seed=_whole(content, "seed", 0, 2**63 - 1),
        engine=_engine(content),
        # Sidecars from before branches existed lack the field.
        forced_ids=None if content.get("forced_ids") is None else _ids(content["forced_ids"], domain.tokenizer),
    )
    return Sidecar(
        domain=domain.kind,
        request=request,
        checkpoint=_text(content, "checkpoint"),
        candidate=_whole(content, "candidate", 0, request.candidates - 1),
        ids=_ids(content["ids"], domain.tokenizer),
        name=_name(_text(content, "name")),
        source=None if content["source"] is None else _text(content, "source"),
        loudness=LOUDNESS if content.get("sound") is None else _loudness(_object(content, "sound")),
    )


def _engine(content: dict[str, Any]) -> str:
    """Read the engine; sidecars from before there was a native one lack the field."""
    engine = {"engine": "torch"} | _object({"made_with": {}} | content, "made_with")
    return _text(engine, "engine", "made_with.")


def _prompt(stored: dict[str, Any], domain: Domain[Any], warn: Warn) -> Prompt[Any]:
    piece = None
    if stored["piece"] is not None:
        data = base64.b64decode(_text(stored, "piece", "prompt."), validate=True)
        piece = domain.loads(data, warn=warn)
    ids = _ids(stored["ids"], domain.tokenizer)
    if not len(ids) or (ids[0] != domain.tokenizer.begin).any() or (piece is not None and len(ids) == 1):
        raise ValueError("prompt.ids do not start with the begin token")
    split_point, step = stored["split_point"], _whole(stored, "split_index", 0, _LARGEST_STEP, "prompt.")
    if not (type(split_point) in (int, float) and 0 <= split_point <= _LARGEST_SPLIT_POINT):
        raise ValueError(
            f"prompt.split_point is {_shown(split_point)}; allowed: a number from 0 to {_LARGEST_SPLIT_POINT:,}"
        )
    # Sidecars from before prompts had a gain use the level of the codec.
    gain = _number({"gain": 1.0} | stored, "gain", 0.01, 100.0, "prompt.")
    partial_frames = _partial_frames(stored.get("partial_frames"), domain.tokenizer)
    return Prompt(
        ids=ids, piece=piece, split_point=float(split_point), split_index=step, partial_frames=partial_frames, gain=gain
    )


def _object(content: dict[str, Any], name: str) -> dict[str, Any]:
    found = content[name]
    if not isinstance(found, dict):
        raise TypeError(f"{name} is {_shown(found)}; allowed: an object")
    return found


def _flag(content: dict[str, Any], name: str, inside: str) -> bool:
    """Read a Boolean, which is false if it is missing, as in older sidecars."""
    value = content.get(name, False)
    if not isinstance(value, bool):
        raise TypeError(f"{inside}{name} is {_shown(value)}; allowed: true or false")
    return value


def _whole(content: dict[str, Any], name: str, low: int, high: int, inside: str = "") -> int:
    value = content[name]
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{inside}{name} is {_shown(value)}; allowed: a whole number from {low:,} to {high:,}")
    return value


def _number(content: dict[str, Any], name: str, low: float, high: float, inside: str) -> float:
    value = content[name]
    if type(value) not in (int, float) or not low <= value <= high:
        raise ValueError(f"{inside}{name} is {_shown(value)}; allowed: a number from {low:g} to {high:g}")
    return float(value)


def _text(content: dict[str, Any], name: str, inside: str = "") -> str:
    value = content[name]
    if not _is_text(value):
        raise TypeError(f"{inside}{name} is {_shown(value)}; allowed: a string")
    return str(value)


def _is_text(value: Any) -> bool:
    """Whether a value is text that a file can contain: JSON can have unpaired surrogates."""
    return isinstance(value, str) and not any(category(one) == "Cs" for one in value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _name(text: str) -> str:
    """Check the name of an output: it must be a valid file name inside its folder."""
    name = "".join("_" if category(one) == "Cc" else one for one in text.replace("\\", "/").rpartition("/")[2])
    return name.encode()[:_LONGEST_NAME].decode("utf-8", "ignore").lstrip(".") or "again"


def _constraints(content: dict[str, Any], kind: type[Constraints]) -> Constraints:
    known = {field.name for field in fields(kind)}
    for name in known & _REQUIRED:
        content[name]
    # Sidecars from before each domain had its own constraints contain those of all domains, unset except for its own.
    foreign = next((name for name in content if name not in {*known, "rules"} and content[name] not in _NOTHING), None)
    if foreign is not None:
        raise ValueError(f"constraints.{foreign} is {_shown(content[foreign])}; allowed: null")
    values = {name: _constraint(content, name) for name in known - {"rules"} if name in content}
    if "rules" in known:
        # Sidecars from before rules 2 use rules 1.
        values["rules"] = _whole({"rules": 1} | content, "rules", 1, RULES, "constraints.")
    return kind(**values)


_REQUIRED = {"tempo", "bars", "seconds", "key", "instruments"}
"""Constraints that every sidecar of a domain has; the others were added later."""
_NOTHING: tuple[Any, ...] = (None, [], False)


def _constraint(content: dict[str, Any], name: str) -> Any:
    value = content[name]
    if name in ("keep_instruments", "keep_tempo"):
        return _flag(content, name, "constraints.")
    if name in ("instruments", "hold"):
        if not isinstance(value, list) or not all(map(_is_text, value)):
            raise TypeError(f"constraints.{name} is {_shown(value)}; allowed: a list of strings")
        return tuple(value)
    if name in ("key", "style"):
        if value is not None and not _is_text(value):
            raise TypeError(f"constraints.{name} is {_shown(value)}; allowed: a string or null")
        return value
    if value is not None and type(value) not in ((int,) if name in ("bars", "repeats", "bytes") else (int, float)):
        raise ValueError(f"constraints.{name} is {_shown(value)}; allowed: a number or null")
    return value


def _loudness(sound: dict[str, Any]) -> float | None:
    # Sidecars from before loudness was an option lack the field.
    return None if sound.get("loudness") is None else _number(sound, "loudness", QUIETEST, 0.0, "sound.")


def _partial_frames(rows: Any, tokenizer: Tokenizer[Any]) -> Ids | None:
    """Read partial frames: ids, or -1 for open positions, of fewer steps than there are streams."""
    if rows is None:
        return None
    partial_frames = _ids(rows, tokenizer, lowest=-1)
    if len(partial_frames) >= tokenizer.streams:
        raise ValueError(
            f"prompt.partial_frames has {counted(len(partial_frames), 'step')}; allowed: up to {tokenizer.streams - 1}"
        )
    return partial_frames


def _ids(rows: Any, tokenizer: Tokenizer[Any], lowest: int = 0) -> Ids:
    ids = np.array(rows) if isinstance(rows, list) else None
    if ids is not None and not ids.size:
        return np.zeros((0, tokenizer.streams), dtype=np.int64)
    if ids is None or ids.dtype != np.int64 or ids.ndim != 2 or ids.shape[1] != tokenizer.streams:
        raise ValueError(f"ids are {_shown(rows)}; allowed: rows of {tokenizer.streams} whole numbers")
    if ids.min() < lowest or ids.max() >= tokenizer.vocabulary_size:
        raise ValueError(
            f"ids go from {ids.min()} to {ids.max()}; allowed: {lowest} to {tokenizer.vocabulary_size - 1}"
        )
    return ids
