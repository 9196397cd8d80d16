"""Validates the requests of visitors: opening a prompt, and continuing it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from muse_shortcut.api.options import build_request
from muse_shortcut.checkpoints import Checkpoint
from muse_shortcut.errors import ArgumentsError, OptionError
from muse_shortcut.generation.request import Request
from muse_shortcut.shipped import prompt_names, shipped_prompt
from muse_tokenizers.base import Prompt
from muse_tokenizers.built_in import DEFAULT_LENGTHS
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import TokenizerError, Warn, warn_about_file
from muse_tokenizers.midi.playing import score_of_notes
from muse_tokenizers.wording import counted
from muse_web.checkpoint_registry import CheckpointRegistry
from muse_web.session import Candidate, Limits, Run, Source, Visitor, lengths_of
from muse_web.uploads import Uploads

__all__ = ["Json", "new_run", "new_source"]

Json = Mapping[str, Any]
"""JSON sent by a browser or another client; not validated."""

_NUMBERS = ("temperature", "top_p", "min_p", "repetition_penalty", "silence")
_WHOLE_NUMBERS = ("top_k", "no_repeat_ngram", "bars", "repeats", "seed")
_WORDS = ("instruments", "key", "tempo", "style", "hold")
_LARGEST = 1e100
"""Largest accepted magnitude, so that products stay finite."""


def new_source(
    visitor: Visitor,
    registry: CheckpointRegistry,
    limits: Limits,
    payload: Json,
    uploads: Uploads,
    warn: Warn = warn_about_file,
) -> Source:
    """Open a prompt: a shipped `example`, an `upload` (its path and `name`), `notes`, or `words`.

    Args:
        payload: Names one of these, with `domain` and `checkpoint`.
        uploads: Uploaded files; one is removed after it has been opened.
        warn: Called with a line about what was repaired or left out.

    Raises:
        ArgumentsError, TokenizerError: The prompt does not exist, is not of its domain, or is too long.
    """
    domain, checkpoint = payload.get("domain"), payload.get("checkpoint")
    if payload.get("example"):
        name = str(payload["example"])
        known_domain = domain in registry.domains
        path = shipped_prompt(str(domain), name) if known_domain and "/" not in name else None
        if path is None:
            known = (known_domain and ", ".join(prompt_names(str(domain)))) or "none"
            raise ArgumentsError(f"example is {name!r}; allowed of {domain}: {known}")
        return _source_of_file(visitor, registry, limits, (domain, checkpoint), path, path.name, warn)
    if payload.get("upload"):
        with uploads.opened(payload["upload"], visitor.folder.name) as path:
            name = Path(str(payload.get("name") or path.name)).name
            return _source_of_file(visitor, registry, limits, (domain, checkpoint), path, name, warn)
    if payload.get("notes") is not None:
        return _source_of_notes(visitor, limits, registry.get(domain, checkpoint), payload)
    return _source_of_words(visitor, limits, registry.get(domain, checkpoint), payload.get("words"))


def _source_of_file(
    visitor: Visitor,
    registry: CheckpointRegistry,
    limits: Limits,
    chosen: tuple[Any, Any],
    path: Path,
    name: str,
    warn: Warn,
) -> Source:
    """Open a file. Reading stops soon after the longest prompt that is allowed.

    Args:
        chosen: Domain and checkpoint.
        path: Path of the file on the server.
        name: The visitor's name for the file.
        warn: Called with a line about what was repaired or left out.

    Raises:
        ArgumentsError, UnreadablePieceError: The file is too large, too long, or not of its domain.
    """
    checkpoint = registry.get(*chosen)
    size = path.stat().st_size
    if size > limits.upload_bytes:
        raise ArgumentsError(f"{name} has {size / 2**20:.1f} MiB; allowed: up to {limits.upload_bytes / 2**20:.0f}")
    domain, most = checkpoint.domain, limits.longest_prompt(checkpoint.domain.kind)

    # Visitors know their files by name; they should not see paths on the server.
    try:
        piece = domain.read(path, limit=most + 1, warn=lambda message: warn(message.replace(str(path), name)))
    except TokenizerError as error:
        raise error.with_name(path, name) from error
    return _keep(visitor, limits, checkpoint, piece, name, name)


def _source_of_notes(visitor: Visitor, limits: Limits, checkpoint: Checkpoint, payload: Json) -> Source:
    """Open notes that were played on the page. Raises ArgumentsError, UnreadablePieceError."""
    notes = payload["notes"]
    try:
        played = [(int(pitch), int(velocity), float(down), float(up)) for pitch, velocity, down, up in notes]
        tempo = float(payload.get("tempo") or 120)
        finite = all(math.isfinite(value) for note in played for value in note)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentsError("notes should be lists of a pitch, a velocity, and two times in seconds") from error
    if len(played) > 20_000:
        raise ArgumentsError(f"{len(played):,} notes were played; allowed: up to 20,000")
    if not finite:
        raise ArgumentsError("a played note has no start or no end")
    piece = checkpoint.domain.piece_of(score_of_notes(played, tempo))
    if piece is None:
        raise ArgumentsError(f"notes are not a prompt of {checkpoint.domain.kind}")
    return _keep(visitor, limits, checkpoint, piece, "played", None)


def _source_of_words(visitor: Visitor, limits: Limits, checkpoint: Checkpoint, words: object) -> Source:
    """Open text that was typed. Raises ArgumentsError, UnreadablePieceError."""
    if not isinstance(words, str) or not words:
        raise ArgumentsError("there is no text to continue; type some, or start from nothing")
    if not checkpoint.domain.info.words:
        raise ArgumentsError(f"text is not a prompt of {checkpoint.domain.kind}")
    piece = checkpoint.domain.loads(words.encode("utf-8", "replace"), "what was typed")
    return _keep(visitor, limits, checkpoint, piece, "words", None)


def _keep(visitor: Visitor, limits: Limits, checkpoint: Any, piece: Any, name: str, file: str | None) -> Source:
    domain = checkpoint.domain
    most = limits.longest_prompt(domain.kind)
    if domain.duration(piece) > most:
        raise ArgumentsError(f"{name} is too long; allowed: up to {_length_text(most, domain.unit)}")
    source = Source(
        id=secrets.token_hex(8), domain=domain.kind, name=name, file=file, checkpoint=checkpoint, piece=piece
    )
    visitor.keep_source(source, limits.sources)
    return source


def _length_text(length: float, unit: str) -> str:
    if unit == "bytes":
        return counted(length, "byte", ",.0f")
    return counted(length, "second", "g") if length < 120 else counted(length / 60, "minute", "g")


def new_run(visitor: Visitor, registry: CheckpointRegistry, limits: Limits, payload: Json) -> Run:
    """Create a run for a generation request, and keep it with the visitor.

    Args:
        payload: `domain` and `checkpoint`; the prompt, which is `source` up to `length`, or the `candidate` of another
            `run`, or missing; `step`, `stream` and `id` for a branch, which replaces the id there; `amount` to
            generate, `candidates`, `seed`, and the other options of `muse_shortcut.api.options`.

    Raises:
        ArgumentsError, TokenizerError, NotFoundError: The request is invalid.
    """
    run = (
        _branch(visitor, payload)
        if payload.get("step") is not None
        else _continuation(visitor, registry, limits, payload)
    )
    visitor.keep_run(run, limits)
    return run


def _continuation(visitor: Visitor, registry: CheckpointRegistry, limits: Limits, payload: Json) -> Run:
    checkpoint = registry.get(payload.get("domain"), payload.get("checkpoint"))
    name, file = "from-nothing", None
    domain = checkpoint.domain
    prompt: Prompt[Any]
    if payload.get("run"):
        before = visitor.run(payload["run"])
        candidate, _ = before.finished_candidate(_whole(payload.get("candidate"), "candidate", 0))
        if before.domain != domain.kind:
            raise ArgumentsError(f"a continuation of {before.domain} cannot be continued as {domain.kind}")
        if before.checkpoint.tokenizer.fingerprint() == domain.tokenizer.fingerprint():
            prompt = domain.extended(before.request.prompt, candidate.ids)
        else:
            prompt = domain.prompt(domain.loads(before.checkpoint.domain.dumps(candidate.piece)))
        name, file = before.name, before.file
    elif payload.get("source"):
        source = visitor.source(payload["source"])
        if source.domain != domain.kind:
            raise ArgumentsError(f"{source.name} is {source.domain}, not {domain.kind}")
        piece = source.piece
        if source.checkpoint.tokenizer.fingerprint() != domain.tokenizer.fingerprint():
            piece = domain.loads(source.checkpoint.domain.dumps(piece), source.name)
        length = _number(payload.get("length"), "prompt_seconds", None)
        if length is not None and length <= 0:
            raise OptionError("prompt_seconds", length, "more than 0")
        prompt, name, file = domain.prompt(piece, length), Path(source.name).stem, source.file
    else:
        prompt = domain.prompt(None)
    request = build_request(domain, prompt, checkpoint.sampling, _options(payload, domain, limits))
    return _make_run(checkpoint, name, file, request)


def _branch(visitor: Visitor, payload: Json) -> Run:
    """Repeat a continuation with another id at one step, and generate anew from there."""
    before = visitor.run(payload.get("run"))
    candidate, trace = before.finished_candidate(_whole(payload.get("candidate"), "candidate", 0))
    step, stream = _whole(payload["step"], "step", 0), _whole(payload.get("stream"), "stream", 0)
    if not 0 <= step < trace.steps or not 0 <= stream < candidate.ids.shape[1]:
        raise ArgumentsError(f"step is {step}, stream {stream}; this continuation has {counted(trace.steps, 'step')}")
    other = _whole(payload.get("id"), "id", -1)
    # Where fewer than five ids are allowed, the remaining alternatives are -1.
    if other < 0 or other not in trace.alternatives[step, stream]:
        raise ArgumentsError(f"id is {other}; allowed: one of the five alternatives of that step")
    forced = candidate.ids[: step + 1].copy()
    forced[step, stream] = other
    return _make_run(
        before.checkpoint, before.name, before.file, replace(before.request, candidates=1, forced_ids=forced)
    )


def _make_run(checkpoint: Any, name: str, file: str | None, request: Request) -> Run:
    domain = checkpoint.domain
    if request.prompt.clock is not None:
        request = replace(request, prompt=domain.timed(request.prompt, request.constraints))
    nothing = np.zeros((0, domain.tokenizer.streams), dtype=np.int64)
    candidates = [Candidate(ids=nothing, ready=request.prompt.split_point) for _ in range(request.candidates)]
    return Run(
        id=secrets.token_hex(8),
        domain=checkpoint.domain.kind,
        name=name,
        file=file,
        checkpoint=checkpoint,
        request=request,
        candidates=candidates,
    )


def _options(payload: Json, domain: Domain[Any], limits: Limits) -> dict[str, Any]:
    """Return keyword arguments for `muse_shortcut.api.options`; empty fields become None.

    Raises:
        OptionError: A value has the wrong type or exceeds a limit.
    """
    # The length of a domain whose grammar does not end at one is counted in steps.
    unit = domain.unit if domain.constraints_type.length_field else "max_new_tokens"
    options: dict[str, Any] = {name: _number(payload.get(name), name, None) for name in _NUMBERS}
    options |= {name: _whole(payload.get(name), name, None) for name in _WHOLE_NUMBERS}
    options |= {name: payload.get(name) if payload.get(name) not in ("", []) else None for name in _WORDS}
    options["num_samples"] = _whole(payload.get("candidates"), "num_samples", 1)
    options["greedy"] = _boolean(payload.get("greedy"), "greedy")
    options[unit] = (_number if unit == "seconds" else _whole)(payload.get("amount"), unit, None)
    if options[unit] is None and options["bars"] is None:
        options[unit] = int(DEFAULT_LENGTHS[domain.unit]) if unit == "max_new_tokens" else DEFAULT_LENGTHS[unit]
    for name, most in (
        ("num_samples", limits.candidates),
        ("bars", limits.bars),
        (unit, lengths_of(domain.kind).longest),
    ):
        if options[name] is not None and not 0 < options[name] <= most:
            raise OptionError(name, options[name], f"more than 0, up to {most:g}")
    return options


def _boolean(value: object, name: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise OptionError(name, value, "true or false")


def _number(value: object, name: str, default: Any) -> Any:
    """Return a finite number, also from a string; a missing or empty value becomes `default`."""
    if isinstance(value, str) and value.strip():
        with suppress(ValueError):
            value = float(value)
    if value is None or value == "":
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise OptionError(name, value, "a number")
    return float(value)


def _whole(value: object, name: str, default: Any) -> Any:
    if type(value) is int and abs(value) < 2**63:
        # Unchanged: a large seed does not fit into a float.
        return value
    number = _number(value, name, None)
    if number is None:
        return default
    if number != int(number):
        raise OptionError(name, value, "a whole number")
    return int(number)
