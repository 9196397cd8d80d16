"""muse-export: a checkpoint of a run as one to give away, small and without what only training needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from muse_shortcut.commands.line import CommandLine, run_command
from muse_shortcut.commands.naming import checkpoint_folder, require_codec
from muse_shortcut.errors import ArgumentsError

if TYPE_CHECKING:
    from jsonargparse import Namespace

__all__ = ["main"]

PROGRAM = "muse-export"


def _parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM,
        description="Copy a checkpoint, or a codec, without its optimiser, in half precision, with a model card.",
    )
    parser.add_argument(
        "checkpoint", type=str, metavar="CHECKPOINT", help="folder of a checkpoint or a codec, or of a run: its best"
    )
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder of the copy")
    parser.add_argument(
        "--precision", choices=["float16", "bfloat16", "float32"], default="float16", help="of the weights"
    )
    parser.add_argument(
        "--card", type=str, metavar="FILE.md", help="the model card; default: written from what is known"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DIR where it is a checkpoint or a codec")
    return parser


def main() -> NoReturn:
    """The command."""
    arguments = _parser().parse_line()
    run_command(PROGRAM, lambda: _export(arguments))


def _export(arguments: Namespace) -> None:
    from dataclasses import replace

    import torch

    from muse_shortcut.checkpoints import load_checkpoint, save_checkpoint
    from muse_shortcut.files import atomic_folder

    folder, out = checkpoint_folder(arguments.checkpoint), Path(arguments.out)
    require_codec(folder)
    if (
        out.exists()
        and any(out.iterdir())
        and not any((out / name).is_file() for name in ("config.json", "codec.json"))
    ):
        raise ArgumentsError(f"{out} has other files in it; a checkpoint wants a folder of its own")
    if not arguments.overwrite and any((out / name).is_file() for name in ("config.json", "codec.json")):
        raise ArgumentsError(f"{out} is a checkpoint; --overwrite replaces it, or name another --out")
    if (folder / "codec.json").is_file():
        _export_codec(arguments, folder, out)
        return
    checkpoint = load_checkpoint(folder)
    card = _card(arguments)
    if card is not None:
        checkpoint = replace(checkpoint, card=card)
    with atomic_folder(out) as temporary:
        save_checkpoint(checkpoint, temporary, getattr(torch, arguments.precision))
    _say(out, checkpoint.core.parameter_count())


def _export_codec(arguments: Namespace, folder: Path, out: Path) -> None:
    from muse_shortcut.files import atomic_folder
    from muse_tokenizers.audio.codec import load_codec, save_codec

    if arguments.precision == "bfloat16":
        raise ArgumentsError("--precision is bfloat16; of a codec allowed: float16, float32")
    codec = load_codec(folder)
    tensors = codec.tensors()
    card = _card(arguments)
    if card is None:
        card = (folder / "README.md").read_text(encoding="utf-8") if (folder / "README.md").is_file() else ""
    with atomic_folder(out) as temporary:
        save_codec(tensors, codec.shape, temporary, half=arguments.precision == "float16", card=card)
    _say(out, sum(tensor.numel() for tensor in tensors.values()))


def _card(arguments: Namespace) -> str | None:
    if not arguments.card:
        return None
    try:
        return Path(arguments.card).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentsError(f"cannot read {arguments.card}: {error}") from error


def _say(out: Path, parameters: int) -> None:
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {parameters:,} parameters, {size / 2**20:.2f} MiB")
