"""Checkpoints that the page offers: the shipped ones and those in a folder. Each is loaded when it is first used."""

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
from muse_tokenizers.loading import domain_kinds
from muse_tokenizers.plugins import BUILT_IN_DOMAINS

__all__ = ["CheckpointRegistry"]

_MAX_LOADED = 6
"""Number of checkpoints kept in memory."""


class CheckpointRegistry:
    """Finds and loads checkpoints by domain and name."""

    def __init__(self, folder: Path | None, device: str = "auto") -> None:
        """
        Args:
            folder: Folder searched recursively for checkpoints and runs (a run offers its best checkpoint), or
                hf:OWNER/NAME. None offers the shipped checkpoints only.
            device: Device on which models compute.

        Raises:
            ArgumentsError: The folder or the device does not exist.
        """
        named = str(folder)
        if folder is not None and is_on_hub(folder):
            folder = fetch_model(folder)
        if folder is not None and not folder.is_dir():
            raise ArgumentsError(f"--checkpoints is {folder}; allowed: a folder that holds checkpoints")
        self._device = choose_device(device)
        shipped = {domain: default_checkpoint(domain) for domain in BUILT_IN_DOMAINS}
        self._folders = {domain: {path.name: path} for domain, path in shipped.items()}
        for found in _checkpoints(folder) if folder is not None else []:
            domain = _domain_of(found)
            if domain in domain_kinds() and folder is not None:
                name = str(found.relative_to(folder)) if found != folder else _name_of(named)
                self._folders.setdefault(domain, {}).setdefault(name, found)
        self._loaded: dict[Path, Checkpoint] = {}
        self._lock = threading.Lock()

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that have a checkpoint, the built-in ones first."""
        return tuple(self._folders)

    def names(self, domain: str) -> list[str]:
        """Return the names of a domain's checkpoints, the shipped one first."""
        return list(self._folders[domain])

    def get(self, domain: object, name: object = None) -> Checkpoint:
        """Return a checkpoint, and load it if necessary.

        Args:
            domain: One of `domains`.
            name: One of `names`; None or an empty string selects the shipped one.

        Raises:
            ArgumentsError: There is no checkpoint of that name.
            CheckpointError: The checkpoint is damaged.
        """
        if not isinstance(domain, str) or domain not in self._folders:
            raise ArgumentsError(f"domain is {domain!r}; allowed: {', '.join(self.domains)}")
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
                    # Visitors know the checkpoint by its name; they should not see its path on the server.
                    raise CheckpointError(str(error).replace(str(folder), name)) from error
                use_decoding_threads(checkpoint.core.parameter_count())
            self._loaded[folder] = checkpoint
            for old in list(self._loaded)[:-_MAX_LOADED]:
                del self._loaded[old]
        return checkpoint


def _name_of(named: str) -> str:
    """Return the displayed name of a checkpoint given by itself: its folder's name, or its name on the hub."""
    return named.removeprefix("hf:") if is_on_hub(named) else Path(named).absolute().name


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints and runs in a folder, which may be one itself."""
    found = (config.parent for config in sorted(folder.rglob("config.json")))
    return list(dict.fromkeys(_run_of(one, folder) or one for one in found))


def _run_of(checkpoint: Path, folder: Path) -> Path | None:
    """Return the run of a checkpoint (or its `checkpoints` folder, if that is `folder`); None outside a run."""
    if checkpoint.parent.name != "checkpoints" or not checkpoint.name.startswith("step-"):
        return None
    return folder if checkpoint.parent == folder else checkpoint.parents[1]


def _domain_of(folder: Path) -> str | None:
    """Return the domain of a checkpoint, None if the folder is not one. Damage is reported when it is selected."""
    try:
        folder = find_checkpoint(folder)
        kind = json.loads((folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, CheckpointError):
        return None
    return kind if isinstance(kind, str) else None
