"""muse-evaluate midi --continue: continues music files, and compares with what truly follows."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from muse_shortcut.commands.command_line import CommandLine, Terminal, run_command
from muse_shortcut.commands.evaluate_results import check_json
from muse_shortcut.commands.generate_options import MusicOptions, SamplingOptions, add_option
from muse_shortcut.commands.typed_options import given_options, typed_options
from muse_shortcut.errors import ArgumentsError

if TYPE_CHECKING:
    from muse_shortcut.evaluation.continuity import Measured

__all__ = ["build_parser", "main"]

PROGRAM = "muse-evaluate"


@dataclass(frozen=True)
class _ContinueOptions:
    """The parsed options; `build_parser` describes them."""

    domain: Literal["midi"]
    data: str
    split: Literal["train", "validation", "test", "all"] | None
    checkpoint: str | None
    pieces: int
    samples: int
    prompt_seconds: float
    seconds: float
    music: MusicOptions
    sampling: SamplingOptions
    classifier: bool
    seed: int
    json: str | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    quiet: bool


def build_parser() -> CommandLine:
    """Build the parser."""
    parser = CommandLine(
        prog=PROGRAM,
        description="Continue music files and compare each continuation with what truly follows in its file, with "
        "another piece at the same time, and with the prompt repeated. Files are read as they are, not from a store."
        "\n\nexamples:\n  muse-evaluate midi --continue --data ~/my-music --pieces 20 --samples 2",
    )
    parser.add_argument("domain", choices=["midi"], metavar="midi", help="domain of the files")
    parser.add_argument(
        "--continue", action="store_true", required=True, dest="continue_", help="evaluate on files, not on a store"
    )
    parser.add_argument(
        "--data", type=str, required=True, metavar="SOURCE", help="a folder of files, or RECIPE=FOLDER for its splits"
    )
    parser.add_argument(
        "--split",
        choices=["train", "validation", "test", "all"],
        help="which of the files (default: test for a recipe with an official split, otherwise all)",
    )
    parser.add_argument(
        "--checkpoint", type=str, metavar="DIR", help="the model, hf:OWNER/NAME too (default: the shipped one)"
    )
    parser.add_argument("--pieces", type=int, default=20, help="how many pieces, chosen at random")
    parser.add_argument("--samples", type=int, default=2, help="continuations of each piece")
    parser.add_argument("--prompt_seconds", type=float, default=15.0, help="length of the prompts in seconds")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the continuations in seconds")
    for one in (*fields(MusicOptions), *fields(SamplingOptions)):
        add_option(parser, one.name)
    parser.add_argument(
        "--classifier",
        type=bool,
        default=True,
        help="also train a classifier of true and generated music",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the choice of pieces, the samples and the intervals"
    )
    parser.add_argument("--json", type=str, metavar="FILE", help="write the features of all continuations to this file")
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="device to generate on"
    )
    parser.add_terminal_options()
    return parser


def main() -> NoReturn:
    """The command."""
    parser = build_parser()
    options = typed_options(_ContinueOptions, parser.parse_line())
    run_command(PROGRAM, lambda: _evaluate(options), parser.option_name)


def _evaluate(options: _ContinueOptions) -> None:
    from muse_shortcut.api.model import load
    from muse_shortcut.commands.evaluation_tables import Tables
    from muse_shortcut.evaluation.classifier import classification_accuracy
    from muse_shortcut.evaluation.continuity import CANDIDATES, Lengths, choose_excerpts, continue_excerpts, table
    from muse_shortcut.files import write_text

    check_json(options.json)
    terminal = Terminal(PROGRAM, options)
    for name, value, most in (("pieces", options.pieces, 100_000), ("samples", options.samples, 64)):
        if not 1 <= value <= most:
            raise ArgumentsError(f"--{name} is {value}; allowed: 1 to {most}")
    if not 0 <= options.seed < 2**32:
        raise ArgumentsError(f"--seed is {options.seed}; allowed: 0 to 2^32 - 1")
    lengths = Lengths(prompt=options.prompt_seconds, continuation=options.seconds)
    model = load(options.checkpoint or options.domain, device=options.device)
    files = _files(options, model.domain.info.suffixes, terminal)
    requested = given_options(options.music) | given_options(options.sampling)
    with terminal.progress("choosing", options.pieces) as bar:
        excerpts = choose_excerpts(
            model, files, lengths, options.pieces, options.seed, lambda done: bar.show(done, "pieces")
        )
    with terminal.progress("continuing", len(excerpts)) as bar:
        measured = continue_excerpts(
            model,
            excerpts,
            lengths,
            requested,
            samples=options.samples,
            seed=options.seed,
            watch=lambda done: bar.show(done, "pieces"),
        )
    rows = table(measured, options.seed)
    accuracy = (
        {name: classification_accuracy(measured, name, options.seed) for name in CANDIDATES}
        if options.classifier
        else None
    )
    Tables().continued(rows, len(excerpts), len(measured), lengths.prompt, lengths.continuation, accuracy)
    if options.json:
        content = {
            "checkpoint": model.checkpoint.digest,
            "data": options.data,
            "prompt_seconds": lengths.prompt,
            "seconds": lengths.continuation,
            "seed": options.seed,
            "options": requested,
            "classifier": accuracy,
            "rows": [row.to_json() for row in rows],
            "continuations": [_json_of(one) for one in measured],
        }
        write_text(Path(options.json), json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _json_of(one: Measured) -> dict[str, Any]:
    features = {
        candidate: {name: value if isinstance(value, float) else value.tolist() for name, value in found.items()}
        for candidate, found in one.features.items()
    }
    return {"piece": one.name, "sample": one.sample, "start": one.start, "steps": one.steps, "features": features}


def _files(options: _ContinueOptions, suffixes: frozenset[str], terminal: Terminal) -> list[tuple[str, Path]]:
    from muse_shortcut.commands.sources import fetch_under_bars, name_source
    from muse_shortcut.data.sources import find_files
    from muse_shortcut.data.splits import split_files
    from muse_tokenizers.built_in import domain_info

    source, domain = name_source(options.data, options.domain), options.domain
    any_ending, fetch = domain_info(domain).divisible, fetch_under_bars(terminal)
    [files], _ = find_files([source], suffixes, None, domain=domain, any_ending=any_ending, fetch=fetch)
    chosen = options.split or ("test" if any(file.split for file in files) else "all")
    if chosen == "all":
        return [(file.name, file.path) for file in files]
    # Without an official split, use the one that muse-prepare draws by default.
    splits = split_files(files, seed=0, held_out=0.05)
    kept = [(file.name, file.path) for file, split in zip(files, splits, strict=True) if split == chosen]
    if not kept:
        raise ArgumentsError(f"the {chosen} split of {options.data} has no files")
    return kept
