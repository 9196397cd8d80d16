"""Everything that is needed to make a continuation again, as JSON beside it."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.generation.engine import Request
from muse_shortcut.version import __version__
from muse_tokenizers.base import RULES, Ids, Prompt, Tokenizer, Wishes
from muse_tokenizers.errors import TokenizerError

__all__ = ["Sidecar", "read_sidecar", "sidecar_text"]

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """A sidecar that was read."""

    domain: str
    request: Request
    checkpoint: str
    """SHA-256 of the weights."""
    candidate: int
    """Which of the request's candidates it belongs to, from 0."""
    ids: Ids
    """(T, K), the continuation as it was made."""
    name: str
    """Of the output, without its number."""
    source: str | None
    """The name of the file the prompt was read from."""


def sidecar_text(
    tokenizer: Tokenizer[Any],
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
    """The JSON of one candidate.

    Args:
        checkpoint: SHA-256 of the weights.
        candidate: its number, from 0.
        ids: (T, K), its continuation.
        log_probability: of all its steps, nats.
        name: of the output, without number.
        source: the name of the file the prompt was read from.
        sound: what the sound was made with: the soundfont's name and SHA-256; None without sound.
        ranking: its place among the candidates, and why; None where they were not ranked.
    """
    prompt = request.prompt
    piece = None if prompt.piece is None else base64.b64encode(tokenizer.dumps(prompt.piece)).decode()
    content = {
        "version": VERSION,
        "domain": tokenizer.kind,
        "tokenizer": tokenizer.fingerprint(),
        "checkpoint": checkpoint,
        "name": name,
        "candidate": candidate,
        "candidates": request.candidates,
        "seed": request.seed,
        "max_steps": request.max_steps,
        "sampling": asdict(request.sampling),
        "wishes": asdict(request.wishes),
        "prompt": {
            "ids": prompt.ids.tolist(),
            "piece": piece,
            "cut": prompt.cut,
            "cut_step": prompt.cut_step,
            "begun": None if prompt.begun is None else prompt.begun.tolist(),
        },
        "given": None if request.given is None else request.given.tolist(),
        "ids": ids.tolist(),
        "log_probability": log_probability,
        "source": source,
        "sound": sound,
        "ranking": ranking,
        "made_with": {
            "muse_shortcut": __version__,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        },
    }
    return json.dumps(content, ensure_ascii=False) + "\n"


def read_sidecar(path: Path, tokenizer: Tokenizer[Any]) -> Sidecar:
    """Read a sidecar that belongs to a tokenizer.

    Raises:
        ArgumentsError: it is missing, damaged, or of another tokenizer.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentsError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ArgumentsError(f"{path} is not a sidecar: it is not JSON") from error
    try:
        if content["version"] != VERSION:
            raise ArgumentsError(f"{path} has version {content['version']}; this program reads version {VERSION}")
        if content["tokenizer"] != tokenizer.fingerprint():
            raise ArgumentsError(f"{path} was made with another tokenizer; name its checkpoint with --checkpoint")
        given = content["prompt"]
        piece = None if given["piece"] is None else tokenizer.loads(base64.b64decode(given["piece"], validate=True))
        ids = _ids(given["ids"], tokenizer)
        if not len(ids) or (ids[0] != tokenizer.begin).any() or (piece is not None and len(ids) == 1):
            raise ValueError("ids of the prompt")
        request = Request(
            prompt=Prompt(
                ids=ids,
                piece=piece,
                cut=float(given["cut"]),
                cut_step=int(given["cut_step"]),
                begun=_begun(given.get("begun"), tokenizer),
            ),
            sampling=SamplingConfig(**content["sampling"]),
            wishes=_wishes(content["wishes"]),
            candidates=content["candidates"],
            max_steps=None if content["max_steps"] is None else int(content["max_steps"]),
            seed=content["seed"],
            # Those made before there were branches have none.
            given=None if content.get("given") is None else _ids(content["given"], tokenizer),
        )
        candidate = int(content["candidate"])
        if not 0 <= candidate < request.candidates:
            raise ValueError("candidate")
        return Sidecar(
            domain=content["domain"],
            request=request,
            checkpoint=str(content["checkpoint"]),
            candidate=candidate,
            ids=_ids(content["ids"], tokenizer),
            name=Path(str(content["name"])).name or "again",
            source=None if content["source"] is None else str(content["source"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, TokenizerError) as error:
        raise ArgumentsError(f"{path} is not a whole sidecar: {type(error).__name__} at {error}") from error


def _wishes(content: Any) -> Wishes:
    # Those made before there were the last three had none of them.
    numbers = {name: content[name] for name in ("tempo", "bars", "seconds")}
    numbers |= {name: content.get(name) for name in ("silence", "repeats", "bytes")}
    for name, value in numbers.items():
        if value is not None and type(value) not in ((int,) if name in ("bars", "repeats", "bytes") else (int, float)):
            raise ValueError(f"wishes.{name}")
    key, instruments = content["key"], tuple(content["instruments"])
    if not all(isinstance(text, str) for text in (*instruments, key or "")):
        raise ValueError("wishes")
    # What was made before there were rules 2 repeats by rules 1.
    rules = content.get("rules", 1)
    if type(rules) is not int or not 1 <= rules <= RULES:
        raise ValueError("wishes.rules")
    return Wishes(instruments=instruments, key=key, rules=rules, **numbers)


def _begun(rows: Any, tokenizer: Tokenizer[Any]) -> Ids | None:
    """Ids, or -1 where they are open."""
    if rows is None:
        return None
    return _ids(np.array(rows, dtype=np.int64).reshape(-1, tokenizer.streams) + 1, tokenizer) - 1


def _ids(rows: Any, tokenizer: Tokenizer[Any]) -> Ids:
    ids = np.array(rows, dtype=np.int64).reshape(-1, tokenizer.streams)
    if ids.size and not (ids.min() >= 0 and ids.max() < tokenizer.vocabulary_size):
        raise ValueError("ids")
    return ids
