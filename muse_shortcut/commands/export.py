"""muse-export: writes a checkpoint for distribution, without its training state, to a folder or a hub."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from muse_shortcut.commands.checkpoint_names import checkpoint_folder, require_codec
from muse_shortcut.commands.command_line import CommandLine, Terminal, run_command
from muse_shortcut.commands.typed_options import typed_options
from muse_shortcut.errors import ArgumentsError

if TYPE_CHECKING:
    from muse_shortcut.checkpoints import Checkpoint

__all__ = ["main"]

PROGRAM = "muse-export"


@dataclass(frozen=True)
class _ExportOptions:
    """The parsed options; `_parser` describes them."""

    checkpoint: str
    out: str | None
    push: str | None
    private: bool
    precision: Literal["float16", "bfloat16", "float32"]
    card: str | None
    overwrite: bool
    quiet: bool
    json: bool


def _parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM,
        description="Copy a checkpoint, or a codec, without its optimiser, in half precision, with a model card.\n\n"
        "examples:\n"
        "  muse-export runs/mine --out mine\n"
        "  muse-export runs/mine --push OWNER/NAME --private\n"
        "  muse-export runs/codec --out my-codec",
    )
    parser.add_argument(
        "checkpoint", type=str, metavar="CHECKPOINT", help="folder of a checkpoint or a codec, or of a run: its best"
    )
    parser.add_argument("-o", "--out", type=str, metavar="DIR", help="folder of the copy; optional with --push")
    parser.add_argument(
        "--push",
        type=str,
        metavar="OWNER/NAME",
        help="upload the copy to the Hugging Face Hub, creating the repository if there is none; log in with `hf auth "
        "login` or HF_TOKEN. Its name for other commands is hf:OWNER/NAME",
    )
    parser.add_argument("--private", action="store_true", help="create the repository as private")
    parser.add_argument(
        "--precision", choices=["float16", "bfloat16", "float32"], default="float16", help="precision of the weights"
    )
    parser.add_argument(
        "--card", type=str, metavar="FILE.md", help="the model card; default: written from the facts of the training"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DIR if it is a checkpoint or a codec")
    parser.add_terminal_options(json="the copy, its parameters and bytes, the URL of the repository")
    return parser


def main() -> NoReturn:
    """The command."""
    parser = _parser()
    options = typed_options(_ExportOptions, parser.parse_line())
    run_command(PROGRAM, lambda: _export(options), parser.option_name)


def _export(options: _ExportOptions) -> None:
    from muse_shortcut.hub import check_repository

    if not options.out and options.push is None:
        raise ArgumentsError("there is no destination; allowed: --out, --push, or both")
    if options.private and options.push is None:
        raise ArgumentsError("--private needs --push")
    if options.push is not None:
        check_repository(options.push)
    terminal, url = Terminal(PROGRAM, options), None
    folder = checkpoint_folder(options.checkpoint, terminal)
    require_codec(folder)
    if options.push is not None and (folder / "codec.json").is_file():
        raise ArgumentsError("--push uploads models; the model of a codec contains it")
    with TemporaryDirectory() as temporary:
        out = Path(options.out or Path(temporary) / (options.push or "").rpartition("/")[2])
        parameters, next_line = _export_to(options, folder, out)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        terminal.hint(f"{options.out or options.push}: {parameters:,} parameters, {size / 2**20:.2f} MiB")
        if options.push is not None:
            url = _push(options.push, out, private=options.private)
            next_line = f"{url}: to try it, muse-generate --checkpoint hf:{options.push}"
    terminal.hint(next_line)
    if terminal.quiet:
        for place in (options.out, url):
            if place is not None:
                terminal.result(place)
    terminal.finish({"out": options.out, "parameters": parameters, "bytes": size, "url": url})


def _push(repository: str, out: Path, *, private: bool) -> str:
    from muse_shortcut.hub import push_model

    return push_model(out, repository, private=private, message="Exported by muse-shortcut")


def _export_to(options: _ExportOptions, folder: Path, out: Path) -> tuple[int, str]:
    """Return the number of parameters, and what can be done with the copy."""
    import torch

    from muse_shortcut.cards import with_metadata
    from muse_shortcut.checkpoints import load_checkpoint, save_checkpoint
    from muse_shortcut.files import atomic_folder

    if (
        out.exists()
        and any(out.iterdir())
        and not any((out / name).is_file() for name in ("config.json", "codec.json"))
    ):
        raise ArgumentsError(f"{out} has other files in it; a checkpoint needs a folder of its own")
    if not options.overwrite and any((out / name).is_file() for name in ("config.json", "codec.json")):
        raise ArgumentsError(f"{out} is a checkpoint already; replace it with --overwrite, or choose another --out")
    if (folder / "codec.json").is_file():
        return _export_codec(options, folder, out)
    checkpoint = load_checkpoint(folder)
    card = _card(options)
    if card is None:
        card = _written_card(checkpoint, folder, out)
    if options.push is not None:
        card = with_metadata(card, checkpoint.tokenizer.kind)
    checkpoint = replace(checkpoint, card=card)
    with atomic_folder(out) as temporary:
        save_checkpoint(checkpoint, temporary, getattr(torch, options.precision))
    next_line = f"to try it: muse-generate {checkpoint.tokenizer.kind} --checkpoint {shlex.quote(str(out))}"
    return checkpoint.core.parameter_count(), next_line


def _written_card(checkpoint: Checkpoint, folder: Path, out: Path) -> str:
    """Return the card of a checkpoint, or write one from its metadata."""
    from muse_shortcut.cards import model_card
    from muse_shortcut.runs import unimproved_steps

    facts = checkpoint.facts
    if not (folder / "training").is_dir():
        if checkpoint.card.strip():
            return checkpoint.card
    elif "parent" not in facts:
        # Runs of 0.1.0 have the card of their parent, and name the parent only in their options.
        facts = facts | _old_parent(folder.parents[1] / "config.yaml" if len(folder.parents) > 1 else None)
    if unimproved := unimproved_steps(folder):
        facts = facts | {"unimproved_steps": unimproved}
    core = checkpoint.core
    return model_card(out.absolute().name, checkpoint.tokenizer.kind, core.config, core.parameter_count(), facts)


def _old_parent(options: Path | None) -> dict[str, Any]:
    from muse_shortcut.commands.command_line import read_options

    try:
        named = read_options(options).get("from") if options is not None else None
    except ArgumentsError:
        return {}
    return {"parent": {"name": Path(named).name}} if isinstance(named, str) else {}


def _export_codec(options: _ExportOptions, folder: Path, out: Path) -> tuple[int, str]:
    from muse_shortcut.files import atomic_folder
    from muse_tokenizers.audio.codec import load_codec, save_codec

    if options.precision == "bfloat16":
        raise ArgumentsError("--precision is bfloat16; of a codec allowed: float16, float32")
    codec = load_codec(folder)
    tensors = codec.tensors()
    card = _card(options)
    if card is None:
        card = (folder / "README.md").read_text(encoding="utf-8") if (folder / "README.md").is_file() else ""
    with atomic_folder(out) as temporary:
        save_codec(tensors, codec.shape, temporary, half=options.precision == "float16", card=card)
    next_line = f"to use it: muse-prepare audio SOURCE --codec {shlex.quote(str(out))} --out STORE"
    return sum(tensor.numel() for tensor in tensors.values()), next_line


def _card(options: _ExportOptions) -> str | None:
    if not options.card:
        return None
    try:
        return Path(options.card).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ArgumentsError(f"cannot read {options.card}: {reason}") from error
