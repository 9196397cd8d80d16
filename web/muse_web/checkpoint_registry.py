"""Checkpoints that can be chosen on the page: those that ship, and those of a folder. Loaded once, when first used."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.devices import choose_device, use_decoding_threads
from muse_shortcut.errors import ArgumentsError, CheckpointError
from muse_shortcut.hub import fetch_model, is_on_hub
from muse_shortcut.runs import find_checkpoint
from muse_shortcut.shipped import default_checkpoint

__all__ = ["DOMAINS", "CheckpointRegistry"]

DOMAINS = ("midi", "audio", "text")
_LOADED = 6
"""Checkpoints that are held in memory."""


class CheckpointRegistry:
    """Checkpoints by domain and name."""

    def __init__(self, folder: Path | None, device: str = "auto") -> None:
        """
        Args:
            folder: which is, or whose subfolders, and theirs, may be checkpoints or runs, each of which stands for its
                best; None for those that ship alone.
            device: where cores compute.

        Raises:
            ArgumentsError: there is no such folder, or no such device.
        """
        named = str(folder)
        if folder is not None and is_on_hub(folder):
            folder = fetch_model(folder)
        if folder is not None and not folder.is_dir():
            raise ArgumentsError(f"--checkpoints is {folder}; allowed: a folder that holds checkpoints")
        self._device = choose_device(device)
        self._folders = {domain: {default_checkpoint(domain).name: default_checkpoint(domain)} for domain in DOMAINS}
        for found in _checkpoints(folder) if folder is not None else []:
            domain = _domain_of(found)
            if domain in self._folders and folder is not None:
                name = str(found.relative_to(folder)) if found != folder else _name_of(named)
                self._folders[domain].setdefault(name, found)
        self._loaded: dict[Path, Checkpoint] = {}
        self._lock = threading.Lock()

    def names(self, domain: str) -> list[str]:
        """Those of a domain, the one that ships first."""
        return list(self._folders[domain])

    def take(self, domain: object, name: object = None) -> Checkpoint:
        """A checkpoint, loaded.

        Args:
            domain: midi, audio or text.
            name: one of `names`; None or empty: the one that ships.

        Raises:
            ArgumentsError: there is none of that name.
            CheckpointError: it is damaged.
        """
        if not isinstance(domain, str) or domain not in self._folders:
            raise ArgumentsError(f"domain is {domain!r}; allowed: {', '.join(DOMAINS)}")
        folders = self._folders[domain]
        name = name or next(iter(folders))
        if not isinstance(name, str) or name not in folders:
            raise ArgumentsError(f"checkpoint is {name!r}; allowed of {domain}: {', '.join(folders)}")
        folder = folders[name]
        with self._lock:
            checkpoint = self._loaded.pop(folder, None)
            if checkpoint is None:
                try:
                    checkpoint = load_checkpoint(folder, self._device)
                except CheckpointError as error:
                    # Visitors know it by its name, not by where it lies here.
                    raise CheckpointError(str(error).replace(str(folder), name)) from error
                use_decoding_threads(checkpoint.core.parameter_count())
            self._loaded[folder] = checkpoint
            for old in list(self._loaded)[:-_LOADED]:
                del self._loaded[old]
        return checkpoint


def _name_of(named: str) -> str:
    """What visitors call the one checkpoint that was named: its folder's name, or that of its model on a hub."""
    return named.removeprefix("hf:") if is_on_hub(named) else Path(named).absolute().name


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints and runs below a folder, itself included."""
    found = (config.parent for config in sorted(folder.rglob("config.json")))
    return list(dict.fromkeys(_run_of(one, folder) or one for one in found))


def _run_of(checkpoint: Path, folder: Path) -> Path | None:
    """The run of a checkpoint, or its `checkpoints` where that is the folder; None for one that is of no run."""
    if checkpoint.parent.name != "checkpoints" or not checkpoint.name.startswith("step-"):
        return None
    return folder if checkpoint.parent == folder else checkpoint.parents[1]


def _domain_of(folder: Path) -> str | None:
    """What a folder continues if it is a checkpoint; a damaged one is told of when it is chosen."""
    try:
        folder = find_checkpoint(folder)
        kind = json.loads((folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, CheckpointError):
        return None
    return kind if isinstance(kind, str) else None
