"""muse-evaluate codec: measures how well a codec reconstructs held-out sound."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from muse_shortcut.commands.checkpoint_names import codec_name
from muse_shortcut.commands.command_line import CommandLine, Terminal, run_command
from muse_shortcut.commands.evaluate_results import check_json
from muse_shortcut.commands.typed_options import typed_options
from muse_shortcut.errors import ArgumentsError
from muse_tokenizers.wording import counted

if TYPE_CHECKING:
    from muse_shortcut.codec.metrics import CodecMetrics

__all__ = ["build_parser", "main"]

PROGRAM = "muse-evaluate"


@dataclass(frozen=True)
class _CodecOptions:
    """The parsed options; `build_parser` describes them."""

    checkpoint: str | None
    data: str
    split: Literal["validation", "test", "train"]
    seconds: float
    seed: int
    json: str | None
    quiet: bool


def build_parser() -> CommandLine:
    """Build the parser."""
    parser = CommandLine(
        prog=PROGRAM,
        description="Evaluate a codec on sound that it was not trained on: the distance between its input and its "
        "output with 1, 2, 4 and 8 codebooks, compared with shuffled codes, random codes and a low-pass filter.\n\n"
        "examples:\n  muse-evaluate codec --data runs/codec --checkpoint runs/codec",
    )
    parser.add_argument("domain", choices=["codec"], metavar="codec", help="the word codec")
    parser.add_argument("--checkpoint", type=str, metavar="CODEC", help="the codec (default: the shipped one)")
    parser.add_argument(
        "--data", type=str, required=True, metavar="RUN", help="a run of muse-train codec, whose sounds are used"
    )
    parser.add_argument(
        "--split", choices=["validation", "test", "train"], default="validation", help="split of the sounds"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds from the middle of each file")
    parser.add_argument("--seed", type=int, default=0, help="seed of the shuffled and the random codes")
    parser.add_argument("--json", type=str, metavar="FILE", help="write all results to this file")
    parser.add_terminal_options()
    return parser


def main() -> NoReturn:
    """The command."""
    parser = build_parser()
    options = typed_options(_CodecOptions, parser.parse_line())
    run_command(PROGRAM, lambda: _evaluate(options), parser.option_name)


def _evaluate(options: _CodecOptions) -> None:
    from muse_shortcut.codec.metrics import measure_codec, measure_controls
    from muse_shortcut.codec.sounds import open_sounds
    from muse_shortcut.commands.evaluation_tables import Tables
    from muse_shortcut.files import write_text
    from muse_tokenizers.audio.codecs import SHIPPED, find_codec

    check_json(options.json)
    terminal = Terminal(PROGRAM, options)
    codec = find_codec(codec_name(options.checkpoint or SHIPPED, terminal))
    least = 8 * codec.shape.hop / codec.shape.sample_rate
    if not least <= options.seconds <= 3600:
        raise ArgumentsError(f"--seconds is {options.seconds}; allowed: {least:.2g} to 3600")
    if not 0 <= options.seed < 2**63:
        raise ArgumentsError(f"--seed is {options.seed}; allowed: 0 to 2^63 - 1")
    sounds = open_sounds(Path(options.data) / "sounds", codec.shape.sample_rate)
    length = round(options.seconds * codec.shape.sample_rate)
    by_source: dict[str, list[Any]] = {}
    for file in sounds.of_split(options.split):
        if file.stop - file.first >= 8 * codec.shape.hop:
            by_source.setdefault(file.source, []).append(sounds.middle(file, length))
    if not by_source:
        raise ArgumentsError(f"{options.data} has no sounds of at least 8 frames in its {options.split} split")
    taken = [sound for found in by_source.values() for sound in found]
    sources: dict[str, list[CodecMetrics]] = {}
    with terminal.progress("listening", len(taken)) as bar:
        done = 0
        for source, found in by_source.items():
            sources[source], _ = measure_codec(codec, found)
            sources[source] += measure_controls(codec, found, sources[source][-1].mel_distance, options.seed)
            done += len(found)
            bar.show(done, "sounds")
    whole, entropies = measure_codec(codec, taken)
    whole += measure_controls(codec, taken, whole[-1].mel_distance, options.seed)
    seconds = sum(map(len, taken)) / codec.shape.sample_rate
    title = f"{counted(len(taken), 'sound')} of the {options.split} split, {seconds:.0f} s"
    Tables().codec(title, whole, sources, entropies)
    if options.json:
        result = {
            "split": options.split,
            "seconds": seconds,
            "codec_sha256": codec.digest,
            "all": [one.to_json() for one in whole],
            "sources": {source: [one.to_json() for one in found] for source, found in sources.items()},
            "entropies": entropies,
        }
        write_text(Path(options.json), json.dumps(result, indent=1) + "\n")
