"""The options of muse-evaluate, and their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from muse_shortcut.commands.command_line import CommandLine
from muse_shortcut.commands.generate_options import SamplingOptions, add_option
from muse_shortcut.commands.subcommands import Subcommand
from muse_tokenizers.plugins import installed_domains

__all__ = ["EvaluateOptions", "ScoringOptions", "WindowOptions", "build_parser"]


@dataclass(frozen=True)
class ScoringOptions:
    """How pieces are scored."""

    context: int | None
    stride: int | None
    max_pieces: int | None
    batch_size: int
    precision: Literal["auto", "float32", "bfloat16"]
    hide_depths: bool


@dataclass(frozen=True)
class WindowOptions:
    """How many pieces are continued, from how much of them, how far, and with which constraints."""

    windows: int
    prompt_seconds: float | None
    seconds: float | None
    prompt_bytes: int | None
    bytes: int | None
    rules: bool


@dataclass(frozen=True)
class EvaluateOptions:
    """The parsed options; `build_parser` describes them."""

    domain: str
    checkpoint: str | None
    data: str
    split: Literal["validation", "test", "train"]
    sources: str | None
    likelihood: bool
    continuations: bool
    copies: bool
    scoring: ScoringOptions
    continued: WindowOptions
    sampling: SamplingOptions
    seed: int
    json: str | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    quiet: bool


def build_parser(program: str, subcommands: Sequence[Subcommand]) -> CommandLine:
    """Build the parser of muse-evaluate."""
    parser = CommandLine(
        prog=program,
        description="Evaluate a checkpoint on pieces that it was not trained on: how likely they are under the "
        "model, how close its continuations are to the true ones, and how much of them is copied from the training "
        "pieces. The defaults of sampling are those of the checkpoint.\n\n"
        "examples:\n"
        "  muse-evaluate midi --data stores/mine\n"
        "  muse-evaluate midi --data stores/mine --checkpoint runs/mine --split test --hide-depths\n"
        "  muse-evaluate text --data stores/novels --copies false --json scores.json",
        subcommands=subcommands,
    )
    domains = installed_domains()
    parser.add_argument("domain", choices=domains, metavar="DOMAIN", help=f"what the store holds: {', '.join(domains)}")
    parser.add_argument(
        "--checkpoint",
        type=str,
        metavar="DIR",
        help="a checkpoint, a run, hf:OWNER/NAME, or midi, audio, text: the shipped models (default: that of DOMAIN)",
    )
    parser.add_argument("--data", type=str, required=True, metavar="STORE", help="a token store, made by muse-prepare")
    parser.add_argument(
        "--split", choices=["validation", "test", "train"], default="validation", help="split of the pieces"
    )
    parser.add_argument(
        "--sources", type=str, metavar="LIST", help="only these sources of the store, such as mutopia,groove"
    )
    likelihood = parser.add_argument_group("likelihood")
    likelihood.add_argument("--likelihood", type=bool, default=True, help="score all pieces of the split")
    likelihood.add_argument(
        "--hide_depths",
        action="store_true",
        help="score them again with each depth, then all depths, hidden from the last layer",
    )
    likelihood.add_argument(
        "--context", type=int, help="context of a scored window in steps; default: the checkpoint's"
    )
    likelihood.add_argument(
        "--stride", type=int, help="steps from one scored window to the next; default: half the context"
    )
    likelihood.add_argument("--max_pieces", type=int, help="score at most N pieces of each source, spread evenly")
    likelihood.add_argument("--batch_size", type=int, default=8, help="windows scored at once")
    likelihood.add_argument(
        "--precision", choices=["auto", "float32", "bfloat16"], default="float32", help="numeric precision of scoring"
    )
    continued = parser.add_argument_group("continuations")
    continued.add_argument("--continuations", type=bool, default=True, help="continue pieces and compare")
    continued.add_argument(
        "--copies", type=bool, default=True, help="search the training pieces for copies of continuations"
    )
    continued.add_argument("--windows", type=int, default=100, help="pieces to continue, shared evenly by the sources")
    continued.add_argument("--rules", type=bool, default=True, help="apply the default constraints of muse-generate")
    continued.add_argument(
        "--seed", type=int, default=0, help="seed of the choice of pieces and split points, and of continuations"
    )
    timed = parser.add_argument_group("lengths in music and sound")
    timed.add_argument("--prompt_seconds", type=float, help="least length of a prompt (default: 12)")
    timed.add_argument("--seconds", type=float, help="length of a continuation (default: 16)")
    text = parser.add_argument_group("lengths in text")
    text.add_argument("--prompt_bytes", type=int, help="least length of a prompt (default: 1,000)")
    text.add_argument("--bytes", type=int, help="length of a continuation (default: 1,000)")
    sampling = parser.add_argument_group("sampling (defaults: those of the checkpoint)")
    for item in fields(SamplingOptions):
        add_option(sampling, item.name)
    parser.add_argument("--json", type=str, metavar="FILE", help="write all results, window by window, to this file")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="device to compute on")
    parser.add_terminal_options()
    return parser
