"""The checkpoints and prompts that are part of the package."""

from __future__ import annotations

from pathlib import Path

__all__ = ["default_checkpoint", "named_checkpoint", "prompt_names", "shipped_prompt"]

_FOLDER = Path(__file__).parent


def default_checkpoint(domain: str) -> Path:
    """Return the default checkpoint of a domain."""
    return _FOLDER / f"{domain}-small"


def named_checkpoint(name: str | Path) -> Path:
    """Resolve the name of a checkpoint: "midi", "audio" or "text" for a shipped one, otherwise a path."""
    return default_checkpoint(str(name)) if name in ("midi", "audio", "text") else Path(name).expanduser()


def prompt_names(domain: str) -> list[str]:
    """Return the names of the shipped prompts of a domain."""
    return sorted(path.stem for path in (_FOLDER / "prompts" / domain).glob("*.*"))


def shipped_prompt(domain: str, name: str) -> Path | None:
    """Return the file of a shipped prompt; None if there is none of that name."""
    return next((path for path in (_FOLDER / "prompts" / domain).glob("*.*") if path.stem == name), None)
