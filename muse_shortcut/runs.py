"""Finds the checkpoints of a run folder. Imports no torch.

    run/checkpoints/step-000500/training/progress.json   how far it had come
                                        /checksums.json  SHA-256 of what must not change

`latest` and `best` next to them are for people and scripts: they may be missing, stale, or dangling. Does not know how
a run is written; see `muse_shortcut.training.run`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muse_shortcut.errors import CheckpointError
from muse_shortcut.files import hash_file, write_text
from muse_shortcut.hub import fetch_model, is_on_hub
from muse_tokenizers.json_files import parse_json, read_json

__all__ = [
    "POINTERS",
    "best_checkpoint",
    "checkpoint_steps",
    "find_checkpoint",
    "is_unevaluated",
    "newest_checkpoint",
    "problem_of",
    "read_progress",
    "unimproved_steps",
    "write_checksums",
]

POINTERS = ("latest", "best")
"""Names of the files beside the checkpoints of a run that name one of them."""
_NAME = re.compile(r"step-(\d{1,15})")
_CHECKSUMS = Path("training") / "checksums.json"
_OBJECTS = ("config.json", "generation.json", "tokenizer/tokenizer.json")
_NEEDED = ("config.json", "model.safetensors", "training/optimiser.safetensors")
_EDITABLE = ("README.md", "generation.json")
"""What people may change without damage."""


def checkpoint_steps(checkpoints: Path) -> dict[int, Path]:
    """Return the checkpoints of a folder by step, in ascending order, complete or not."""
    named = [(_NAME.fullmatch(path.name), path) for path in checkpoints.glob("step-*") if path.is_dir()]
    return dict(sorted((int(match[1]), path) for match, path in named if match is not None))


def newest_checkpoint(checkpoints: Path) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint from which a training can resume.

    Returns:
        The checkpoint, None if there are none; and for each newer one, why it cannot be used.

    Raises:
        CheckpointError: There are checkpoints, but none is complete.
    """
    problems: list[str] = []
    for folder in reversed(checkpoint_steps(checkpoints).values()):
        problem = problem_of(folder)
        if problem is None:
            return folder, problems
        problems.append(problem)
    if problems:
        raise CheckpointError(f"{checkpoints} has no complete checkpoint to resume from: {problems[0]}")
    return None, []


def problem_of(folder: Path) -> str | None:
    """Return why a training cannot resume from a checkpoint; None if it can."""
    codec = (folder / "training" / "state.safetensors").is_file()
    needed = ("training/state.safetensors",) if codec else _NEEDED
    for name in needed:
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
    try:
        # The runs of a comparison have no tokenizer, and no sampling.
        for name in () if codec else [name for name in _OBJECTS if (folder / name).exists()]:
            if not isinstance(read_json(folder / name, CheckpointError), dict):
                return f"{folder / name} is damaged: it is not an object"
        read_progress(folder)
        _check_sums(folder, needed)
    except CheckpointError as error:
        return str(error)
    except OSError as error:
        return f"cannot read {error.filename or folder}: {error.strerror or error}"
    return None


def best_checkpoint(checkpoints: Path, up_to: int | None = None) -> Path | None:
    """Return the best checkpoint up to a step: the first one whose validation loss is the lowest that the newest
    checkpoint records."""
    steps = checkpoint_steps(checkpoints)
    among = [folder for step, folder in steps.items() if up_to is None or step <= up_to]
    recorded: list[tuple[Path, float | None]] = []
    for folder in among:
        try:
            best = read_progress(folder).get("best")
        except CheckpointError:
            continue
        recorded.append((folder, best))
    lowest = recorded[-1][1] if recorded else None
    if lowest is not None:
        return next(folder for folder, best in recorded if best == lowest)
    return _named(checkpoints, "best", among)


def unimproved_steps(folder: Path) -> int:
    """The steps that a run has taken since step 0, if `folder` is its step 0 and no evaluation since was better; else
    0, also if there was no evaluation."""
    return 0 if is_unevaluated(folder) else _steps_since_best(folder)


def is_unevaluated(folder: Path) -> bool:
    """Whether `folder` is step 0 of a run that has taken steps since, and was stopped before it evaluated one."""
    if not _steps_since_best(folder):
        return False
    newest = next(reversed(checkpoint_steps(folder.absolute().parent).values()))
    try:
        return read_progress(newest).get("evaluations_without_improvement") == 0
    except CheckpointError:
        return False


def _steps_since_best(folder: Path) -> int:
    folder = folder.absolute()
    steps = checkpoint_steps(folder.parent)
    if steps.get(0) != folder or best_checkpoint(folder.parent) != folder:
        return 0
    return max(steps)


def find_checkpoint(folder: Path) -> Path:
    """Resolve a path to a checkpoint: a run to its best one, or else its newest; `RUN/checkpoints/latest` and `best` to
    its newest intact one and its best; `hf:OWNER/NAME@REVISION` to its folder in the cache; any other to itself.

    Raises:
        CheckpointError: The run has no checkpoint.
        HubError: The model could not be downloaded.
    """
    if is_on_hub(folder):
        return fetch_model(folder)
    if folder.name in POINTERS and not folder.is_dir() and checkpoint_steps(folder.parent):
        named = newest_checkpoint(folder.parent)[0] if folder.name == "latest" else best_checkpoint(folder.parent)
        return named or folder
    checkpoints = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    steps = checkpoint_steps(checkpoints)
    if not steps and checkpoints == folder:
        return folder
    found = best_checkpoint(checkpoints) or next(reversed(steps.values()), None)
    if found is None:
        raise CheckpointError(f"the run {folder} has no checkpoint yet")
    return found


def _named(checkpoints: Path, pointer: str, among: list[Path]) -> Path | None:
    try:
        name = (checkpoints / pointer).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return next((folder for folder in among if folder.name == name), None)


def read_progress(folder: Path) -> dict[str, Any]:
    """Read the progress of the training of a checkpoint: finite numbers by name.

    Raises:
        CheckpointError: The file is missing or damaged, or belongs to another checkpoint.
    """
    path = folder / "training" / "progress.json"
    content = read_json(path, CheckpointError)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: it is not an object")
    for name, value in content.items():
        if value is not None and not (type(value) in (int, float) and math.isfinite(value) and abs(value) < 2**63):
            raise CheckpointError(f"{path} is damaged: {name} is {repr(value)[:40]}; allowed: a finite number")
    step, named = content.get("step"), _NAME.fullmatch(folder.name)
    if type(step) is not int or step < 0:
        raise CheckpointError(f"{path} is damaged: step is {step!r}; allowed: a whole number from 0")
    if named is not None and int(named[1]) != step:
        raise CheckpointError(f"{path} is damaged: it says step {step:,}, its folder is called {folder.name}")
    return content


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of a checkpoint's weights and training state to a file next to the state.

    Raises:
        OutputError: The file could not be written.
    """
    left_out = {folder / name for name in (_CHECKSUMS, *_EDITABLE)}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path not in left_out)
    sums = {path.relative_to(folder).as_posix(): hash_file(path) for path in files}
    write_text(folder / _CHECKSUMS, json.dumps(sums, indent=2) + "\n")


def _check_sums(folder: Path, needed: Sequence[str]) -> None:
    """Check the checksums, which must include those of the `needed` tensors. Older checkpoints have no checksums: only
    the headers of their files are checked."""
    path = folder / _CHECKSUMS
    if not path.exists():
        for tensors in folder.rglob("*.safetensors"):
            _check_length(tensors)
        return
    sums = read_json(path, CheckpointError)
    if not isinstance(sums, dict):
        raise CheckpointError(f"{path} is damaged: it is not an object")
    for name in needed:
        if name.endswith(".safetensors") and name not in sums:
            raise CheckpointError(f"{path} is damaged: it has no checksum of {name}")
    for name, digest in sums.items():
        file = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise CheckpointError(f"{path} is damaged: it names {name!r}, which is not in its checkpoint")
        if not file.is_file():
            raise CheckpointError(f"{file} is missing")
        if hash_file(file) != digest:
            raise CheckpointError(f"{file} is damaged: its SHA-256 differs from the recorded one")


def _check_length(path: Path) -> None:
    """Check that a safetensors file has the length that its header states."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size
        if not 2 <= length <= size - 8:
            raise CheckpointError(f"{path} is damaged: it is cut short")
        heading = parse_json(file.read(length), str(path), CheckpointError)
    try:
        end = max((entry["data_offsets"][1] for name, entry in heading.items() if name != "__metadata__"), default=0)
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{path} is damaged: its heading is no table of tensors") from error
    if end != size - 8 - length:
        raise CheckpointError(f"{path} is damaged: its length is not what its heading says")
