"""The checkpoints and prompts that are part of the package."""

from __future__ import annotations

from pathlib import Path

from muse_shortcut.errors import ArgumentsError
from muse_tokenizers.plugins import BUILT_IN_DOMAINS

__all__ = ["default_checkpoint", "is_shipped", "named_checkpoint", "prompt_names", "shipped_prompt"]

_FOLDER = Path(__file__).parent


def default_checkpoint(domain: str) -> Path:
    """Return the default checkpoint of a domain. Raises ArgumentsError: none is shipped."""
    if domain not in BUILT_IN_DOMAINS:
        raise ArgumentsError(
            f"no model of {domain} is shipped; name a checkpoint with {{checkpoint}}", options=("checkpoint",)
        )
    return _FOLDER / f"{domain}-small"


def is_shipped(name: str | Path) -> bool:
    """Whether a name is that of a shipped checkpoint. A folder that is called so is named with its path: "./midi"."""
    return isinstance(name, str) and name.removesuffix("-small") in BUILT_IN_DOMAINS


def named_checkpoint(name: str | Path) -> Path:
    """Resolve the name of a checkpoint: "midi" or "midi-small" (or "audio", "text") for a shipped one, otherwise a
    path."""
    return default_checkpoint(str(name).removesuffix("-small")) if is_shipped(name) else Path(name).expanduser()


def prompt_names(domain: str) -> list[str]:
    """Return the names of the shipped prompts of a domain."""
    return sorted(path.stem for path in (_FOLDER / "prompts" / domain).glob("*.*"))


def shipped_prompt(domain: str, name: str) -> Path | None:
    """Return the file of a shipped prompt; None if there is none of that name."""
    return next((path for path in (_FOLDER / "prompts" / domain).glob("*.*") if path.stem == name), None)
