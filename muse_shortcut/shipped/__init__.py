"""What comes with the program: checkpoints and prompts."""

from __future__ import annotations

from pathlib import Path

__all__ = ["default_checkpoint", "named_checkpoint", "prompt_names", "shipped_prompt"]

_FOLDER = Path(__file__).parent


def default_checkpoint(domain: str) -> Path:
    """The checkpoint that is used where none is named."""
    return _FOLDER / f"{domain}-small"


def named_checkpoint(name: str | Path) -> Path:
    """What Python's caller names as a checkpoint: "midi", "audio" or "text" for the shipped one, else a path."""
    return default_checkpoint(str(name)) if name in ("midi", "audio", "text") else Path(name).expanduser()


def prompt_names(domain: str) -> list[str]:
    """Names of the shipped prompts of a domain."""
    return sorted(path.stem for path in (_FOLDER / "prompts" / domain).glob("*.*"))


def shipped_prompt(domain: str, name: str) -> Path | None:
    """The file of a shipped prompt, None if there is none of that name."""
    return next((path for path in (_FOLDER / "prompts" / domain).glob("*.*") if path.stem == name), None)
