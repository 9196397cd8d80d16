"""muse-train codec: trains a neural codec on sound files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import yaml
from jsonargparse import ActionConfigFile, set_parsing_settings  # type: ignore[attr-defined]

from muse_shortcut.codec.config import CODEC_PRESETS, CodecTrainConfig
from muse_shortcut.commands.checkpoint_names import codec_name
from muse_shortcut.commands.command_line import CommandLine, RawOptions, StopSwitch, Terminal, run_command
from muse_shortcut.commands.sources import GROUP_HELP, SOURCE_HELP, count_reasons, fetch_under_bars, name_source
from muse_shortcut.commands.typed_options import typed_options
from muse_shortcut.earlier_names import TRAIN, current_names
from muse_shortcut.errors import ArgumentsError, CheckpointError, OptionError
from muse_tokenizers.audio.codec_shape import CodecShape
from muse_tokenizers.wording import counted

if TYPE_CHECKING:
    from muse_shortcut.codec.sounds import Sounds
    from muse_shortcut.codec.trainer import CodecStatus
    from muse_shortcut.training.run import RunFolder

__all__ = ["build_parser", "main"]

PROGRAM = "muse-train"
_OPTIONS = "config.yaml"
_OLD_OPTIONS = "options.json"
"""Options of runs of 0.1.0; their `from` is the SHA-256 of a codec."""
_PARENT = "from_sha256"
"""Key in the options of a run: digest of the codec that it started from. It is not an option, but it must not change
when training resumes."""
_EXAMPLES = """examples:
  muse-train codec --data ~/recordings --out runs/codec
  muse-train codec --data librispeech,~/piano --out runs/codec --preset base --train.adversarial true
  muse-train --config runs/codec/config.yaml --resume auto"""
_FREE = frozenset({"eval_every", "save_every", "keep", "tensorboard"})
"""Options that may change when training resumes."""


@dataclass(frozen=True)
class _CodecOptions:
    """The parsed options; `build_parser` describes them."""

    domain: Literal["codec"]
    data: str
    out: str
    preset: str
    from_: str | None
    group_by: Literal["file", "folder"] | None
    held_out: float
    resume: Literal["auto", "never"]
    seed: int
    device: Literal["auto", "cpu", "cuda"]
    codec: CodecShape
    train: CodecTrainConfig
    quiet: bool
    json: bool


def build_parser(preset: str) -> CommandLine:
    """Build the parser, with the shape of a preset."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = CommandLine(
        prog=PROGRAM,
        description=f"Train a neural codec on sound. {SOURCE_HELP} Any field can be changed: --codec.filters 12, "
        f"--train.adversarial true. The run is what --codec of muse-prepare audio takes.\n\n{_EXAMPLES}",
    )
    parser.add_argument("domain", choices=["codec"], metavar="codec", help="the word codec")
    parser.add_argument("--data", type=str, required=True, metavar="SOURCES", help="SOURCEs with commas between them")
    parser.add_argument("-o", "--out", type=str, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--preset", choices=list(CODEC_PRESETS), default=preset, help="the shape of the codec")
    parser.add_argument(
        "--from",
        type=str,
        metavar="CODEC",
        help="train only the decoder of this codec further; encoder and codebooks are frozen, so stores stay valid",
    )
    parser.add_argument(
        "--config",
        action=ActionConfigFile,
        metavar="FILE.yaml",
        help="read options from a file, such as a run's config.yaml; options of the command line take precedence",
    )
    parser.add_argument("--group_by", choices=["file", "folder"], help=GROUP_HELP)
    parser.add_argument(
        "--held_out", type=float, default=0.05, help="fraction of the sounds for validation, and the same for test"
    )
    parser.add_argument("--resume", choices=["auto", "never"], default="never", help="auto: resume the training of RUN")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, clips and the random split")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="device to train on")
    parser.add_argument("--codec", type=CodecShape, default=CODEC_PRESETS[preset], help="the codec, field by field")
    parser.add_argument(
        "--train", type=CodecTrainConfig, default=CodecTrainConfig(), help="the training, field by field"
    )
    parser.add_terminal_options(json="steps, the best mel distance, the run")
    return parser


def main() -> NoReturn:
    """The command."""
    options = RawOptions()
    preset = options.value("preset")
    parser = build_parser(preset if preset in CODEC_PRESETS else "small")
    # A preset on the command line overrides the codec fields of a file.
    without = [_PARENT, *(["codec"] if options.on_line("preset") is not None else [])]
    arguments = parser.parse_line(without=without)
    run_command(
        PROGRAM, lambda: _train(typed_options(_CodecOptions, parser.instantiated(arguments))), parser.option_name
    )


def _train(options: _CodecOptions) -> int:
    from muse_shortcut.codec.trainer import CodecTrainer
    from muse_shortcut.devices import choose_device
    from muse_shortcut.files import write_text
    from muse_shortcut.training.run import RunFolder

    terminal = Terminal(PROGRAM, options)
    if not 0 <= options.seed < 2**63:
        raise ArgumentsError(f"--seed is {options.seed}; allowed: 0 to 2^63 - 1")
    if not 0 <= options.held_out <= 0.4:
        raise ArgumentsError(f"--held-out is {options.held_out}; allowed: 0 to 0.4")
    config = options.train
    run = RunFolder(Path(options.out))
    with run.claimed(go_on=options.resume == "auto", first_save=config.save_every):
        device = choose_device("cpu" if options.device == "auto" and not _has_cuda() else options.device)
        shape, start, digest = options.codec, None, None
        if options.from_:
            from muse_tokenizers.audio.codecs import find_codec

            codec = find_codec(codec_name(options.from_, terminal))
            if options.preset != "small" or options.codec not in (codec.shape, CODEC_PRESETS["small"]):
                raise ArgumentsError("--codec cannot be changed with --from, which keeps the shape of that codec")
            shape, start, digest = codec.shape, codec.tensors(), codec.digest
        elif config.quantise_after >= config.max_steps:
            allowed = f"less than {{max_steps}}, {config.max_steps}: otherwise no codebook would be learned"
            raise OptionError("quantise_after", config.quantise_after, allowed)
        sounds = _sounds(options, run, shape, terminal)
    written: dict[str, Any] = {
        "domain": options.domain,
        "data": options.data,
        "out": options.out,
        "preset": options.preset,
        "from": options.from_,
        "group_by": options.group_by,
        "held_out": options.held_out,
        "seed": options.seed,
        "device": options.device,
        _PARENT: digest,
        "codec": asdict(shape),
        "train": asdict(config),
    }
    written = json.loads(json.dumps(written))
    latest = run.latest(terminal.warn)
    if latest is None and run.logged() is not None:
        terminal.inform(f"{run.folder} has no checkpoint yet: starting at step 0")
    if latest is not None:
        _compare(run.folder, written)
    write_text(run.folder / _OPTIONS, str(yaml.safe_dump(written, sort_keys=False)))
    facts = {name: value for name, value in written.items() if name not in ("domain", "out", "device", "from")}
    trainer = CodecTrainer(shape, sounds, run, config, seed=options.seed, device=device, facts=facts, start=start)
    if latest is not None:
        trainer.resume(latest)
        terminal.inform(f"resuming from {latest}")
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    minutes = len(sounds.samples) / sounds.sample_rate / 60
    terminal.inform(f"{parameters:,} parameters, {counted(minutes, 'minute', '.1f')} of sound; {device.type}")
    with terminal.progress("training", config.max_steps) as bar, StopSwitch() as stop:

        def show(status: CodecStatus) -> None:
            if status.distance is not None:
                words = f"held out {status.distance:.3f} dB mel distance"
                bar.show(status.step, f"step {status.step:,} of {config.max_steps:,}: {words}", line=True)
            else:
                bar.show(status.step, f"loss {status.loss:.3f}, {status.speed:.1f} times real time")

        progress = trainer.train(show, stop)
    best = "none" if progress.best is None else f"{progress.best:.3f} dB"
    terminal.hint(f"step {progress.step}: best mel distance {best}")
    if terminal.quiet:
        terminal.result(str(run.folder))
    terminal.finish(
        {
            "run": str(run.folder),
            "steps": progress.step,
            "best_mel_distance": progress.best,
            "stopped": stop.pressed,
        }
    )
    return 130 if stop.pressed else 0


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _sounds(options: _CodecOptions, run: RunFolder, shape: CodecShape, terminal: Terminal) -> Sounds:
    from muse_shortcut.codec.sounds import gather_sounds, open_sounds
    from muse_shortcut.data.sources import find_files
    from muse_tokenizers.audio.waveforms import SUFFIXES

    folder = run.folder / "sounds"
    named = [name_source(word.strip(), "audio") for word in options.data.split(",") if word.strip()]
    made_of: dict[str, object] = {
        "sources": [[recipe and recipe.name, place and str(place.absolute())] for recipe, place in named],
        "group_by": options.group_by,
        "seed": options.seed,
        "held_out": options.held_out,
    }
    if not folder.is_dir():
        fetch = fetch_under_bars(terminal)
        sources, unused = find_files(named, SUFFIXES, options.group_by, domain="audio", fetch=fetch)
        for line in count_reasons(unused):
            terminal.inform(f"not read: {line.strip()}")
        with terminal.progress("reading", None) as bar:
            rejects = gather_sounds(
                sources,
                folder,
                shape.sample_rate,
                seed=options.seed,
                held_out=options.held_out,
                made_of=made_of,
                watch=lambda done, total: bar.show(done, f"of {counted(total, 'file')}"),
                warn=terminal.warn,
            )
        for line in rejects:
            terminal.inform(f"left out: {line}")
    return open_sounds(folder, shape.sample_rate, made_of)


def _compare(run: Path, now: dict[str, Any]) -> None:
    """Check that the options of a resumed training have not changed."""
    path = run / _OPTIONS
    try:
        if not path.exists() and (run / _OLD_OPTIONS).exists():
            path = run / _OLD_OPTIONS
            before = json.loads(path.read_text(encoding="utf-8"))
            before[_PARENT] = before["from"]
        else:
            before = yaml.safe_load(path.read_text(encoding="utf-8"))
        pairs = [
            (name, before[name], now[name]) for name in ("data", "group_by", "held_out", "seed", _PARENT, "codec")
        ] + [
            (f"train.{name}", value, now["train"].get(name))
            for name, value in current_names(before["train"], TRAIN).items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError, RecursionError) as error:
        raise CheckpointError(f"{path} is missing or damaged") from error
    for name, then, value in pairs:
        if name.removeprefix("train.") not in _FREE and then != value:
            option = "from" if name == _PARENT else name if "." in name else name.replace("_", "-")
            raise ArgumentsError(
                f"--{option} is {value}, but the training began with {then}; allowed when it is resumed: {then}"
            )
