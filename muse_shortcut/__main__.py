"""`python -m muse_shortcut` lists the commands; `python -m muse_shortcut generate ...` runs `muse-generate ...`."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, distribution, version

__all__ = ["main"]

_SUMMARIES = {
    "generate": "continue music, sound or text",
    "web": "serve the web page, which continues pieces and explains every token",
    "prepare": "turn files into a token store",
    "train": "train or fine-tune a model, or a codec",
    "evaluate": "evaluate a model or a codec on held-out pieces",
    "export": "export a checkpoint of a run, to share it",
    "bench": "measure speed on this machine",
    "compare": "train several cores on the same batches, and compare them",
    "doctor": "report what is installed, and what is missing",
}


def _commands() -> dict[str, EntryPoint]:
    scripts = [one for one in distribution("muse-shortcut").entry_points if one.group == "console_scripts"]
    return {one.name.removeprefix("muse-"): one for one in scripts}


def main() -> None:
    """Run a command, or list all commands."""
    commands, words = _commands(), sys.argv[1:]
    if words and words[0] in commands:
        sys.argv = [f"muse-{words[0]}", *words[1:]]
        commands[words[0]].load()()
        return
    if words == ["--version"]:
        print(f"muse_shortcut {version('muse-shortcut')}")
        return
    if words and words[0] not in ("-h", "--help"):
        print(f"muse_shortcut: no command {words[0]!r}; allowed: {', '.join(sorted(commands))}", file=sys.stderr)
        raise SystemExit(2)
    print("usage: python -m muse_shortcut COMMAND [OPTIONS]\n\nEach command is also a program: muse-COMMAND.\n")
    for name in sorted(commands, key=lambda name: list(_SUMMARIES).index(name)):
        print(f"  {name:<10} {_SUMMARIES[name]}")
    print("\n`python -m muse_shortcut COMMAND --help` lists a command's options.")


if __name__ == "__main__":
    main()
