"""muse-train: trains a model on a token store."""

from __future__ import annotations

import json
from argparse import SUPPRESS
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from jsonargparse import ActionConfigFile, set_parsing_settings  # type: ignore[attr-defined]

from muse_shortcut.commands.checkpoint_names import checkpoint_folder, describe_unimproved
from muse_shortcut.commands.command_line import CommandLine, RawOptions, StopSwitch, Terminal, run_command
from muse_shortcut.commands.help_formatter import describe_fields
from muse_shortcut.commands.progress import check_ids
from muse_shortcut.commands.subcommands import Subcommand, run_subcommand
from muse_shortcut.commands.typed_options import typed_options
from muse_shortcut.config import ModelConfig, ShortcutConfig, TrainConfig
from muse_shortcut.errors import MuseError
from muse_shortcut.presets import PRESET_WORDS, PRESETS, preset_of
from muse_shortcut.runs import find_checkpoint, is_unevaluated
from muse_shortcut.shipped import named_checkpoint
from muse_tokenizers.plugins import installed_domains
from muse_tokenizers.wording import counted

if TYPE_CHECKING:
    from muse_shortcut.data.store import Store
    from muse_shortcut.training.loop import Status
    from muse_shortcut.training.training import TrainingObserver, TrainingOptions, TrainingPlan

__all__ = ["main"]

PROGRAM = "muse-train"
_EXAMPLES = """examples:
  muse-train midi --data stores/mine --out runs/mine --from midi
  muse-train text --data stores/novels --out runs/novels --preset small --train.max_steps 20000
  muse-train --config runs/mine/config.yaml --out runs/again
  muse-train --config runs/mine/config.yaml --resume auto"""


@dataclass(frozen=True)
class _TrainOptions:
    """The parsed options; `_parser` describes them."""

    domain: str
    data: str
    out: str
    preset: str
    from_: str | None
    resume: Literal["auto", "never"]
    seed: int
    device: Literal["auto", "cpu", "cuda", "mps"]
    model: ModelConfig
    train: TrainConfig
    quiet: bool
    json: bool


def _parser(preset: str, shape: ModelConfig, train: TrainConfig) -> CommandLine:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = CommandLine(
        prog=PROGRAM,
        description="Train a model on a token store, or fine-tune a trained one. Any field of the model and of "
        "the training can be changed: --model.layers 8, --model.shortcut null for a plain GPT, "
        f"--train.max_steps 5000.\n\n{_EXAMPLES}",
        epilog=_epilog(shape),
        nested={"model.shortcut": ShortcutConfig},
        renamed={"start": "from"},
        subcommands=[Subcommand("codec", "train a neural codec on sound", _codec_parser, _train_codec)],
    )
    domains = installed_domains()
    known = f"what the store holds: {', '.join(domains)}"
    parser.add_argument("domain", choices=domains, metavar="DOMAIN", help=known)
    parser.add_argument("--data", type=str, required=True, metavar="STORE", help="a token store, made by muse-prepare")
    parser.add_argument("-o", "--out", type=str, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--preset", choices=list(PRESETS), default=preset, help="the shape of the model; see below")
    parser.add_argument(
        "--from",
        type=str,
        metavar="CHECKPOINT",
        help="start from this checkpoint, a run's best, midi, audio or text (the shipped models) or hf:OWNER/NAME; "
        "its shape is used instead of --preset and --model",
    )
    parser.add_argument(
        "--config",
        action=ActionConfigFile,
        metavar="FILE.yaml",
        help="read options from a file, such as a run's config.yaml; options of the command line take precedence",
    )
    parser.add_argument("--resume", choices=["auto", "never"], default="never", help="auto: resume the training of RUN")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and dropout")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="device to train on")
    parser.add_argument("--model", type=ModelConfig, default=shape, help="the model, field by field")
    # jsonargparse's page shows the defaults of the class; the epilog has those of the preset.
    parser._option_string_actions["--model.shortcut.help"].help = SUPPRESS
    parser.add_argument("--train", type=TrainConfig, default=train, help="the training, field by field")
    parser.add_terminal_options(json="steps, the best validation, the run and its best checkpoint")
    return parser


def _epilog(shape: ModelConfig) -> str:
    shortcut = describe_fields("model.shortcut", ShortcutConfig, shape.shortcut)
    presets = "\n".join(f"  {name:<8} {words}" for name, words in PRESET_WORDS.items())
    return f"the last layer's shortcut, field by field:\n{shortcut}\n\npresets:\n{presets}"


def _codec_parser() -> CommandLine:
    from muse_shortcut.commands.train_codec import build_parser

    return build_parser("small")


def _train_codec() -> NoReturn:
    from muse_shortcut.commands.train_codec import main as train_codec

    train_codec()


def main() -> NoReturn:
    """The command."""
    options = RawOptions()
    domain = options.domain(installed_domains())
    preset = options.value("preset")
    if preset not in PRESETS:
        preset = preset_of(domain)
    parent = options.value("from")
    shape = (_shape_of(parent) if isinstance(parent, str) else None) or PRESETS[preset]
    parser = _parser(preset, shape, _default_training(options))
    run_subcommand(parser, parser.subcommands, options.value("domain"))
    # A preset on the command line overrides the model fields of a file.
    without = ["model"] if any(options.on_line(name) is not None for name in ("preset", "from")) else []
    arguments = parser.parse_line(without=without)
    run_command(
        PROGRAM,
        lambda: _train(typed_options(_TrainOptions, parser.instantiated(arguments)), shape),
        parser.option_name,
    )


def _default_training(options: RawOptions) -> TrainConfig:
    """Return the default training, whose other learning rates follow the chosen one."""
    rate = options.on_line("train.learning_rate")
    in_file = options.value("train")
    if rate is None and isinstance(in_file, dict):
        rate = in_file.get("learning_rate")
    try:
        return TrainConfig() if rate is None else TrainConfig(learning_rate=float(rate))
    except (MuseError, ValueError, TypeError):
        return TrainConfig()  # the parser reports the rate


def _shape_of(checkpoint: str) -> ModelConfig | None:
    """Return the configuration of a checkpoint or a run; None if it cannot be read, which is reported when it is
    loaded."""
    try:
        content = json.loads(
            (find_checkpoint(named_checkpoint(checkpoint)) / "config.json").read_text(encoding="utf-8")
        )
        return ModelConfig.from_json(content["model"])
    except (MuseError, OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _train(options: _TrainOptions, default: ModelConfig) -> int:
    from muse_shortcut.training.training import TrainingOptions, train

    terminal = Terminal(PROGRAM, options)
    start = options.from_ or None
    if start is not None and options.resume == "never":
        checkpoint_folder(start, terminal)  # prints which checkpoint of a run it is
    training = TrainingOptions(
        data=options.data,
        out=options.out,
        domain=options.domain,
        preset=options.preset,
        # A configuration equal to the default does not replace that of a checkpoint.
        model=None if options.model == default else options.model,
        train=options.train,
        start=start,
        resume=options.resume == "auto",
        seed=options.seed,
        device=options.device,
    )
    with ExitStack() as stack:
        result = train(training, _observer(training, stack, terminal))
    best = "none" if result.best_validation is None else f"{result.best_validation:.4f}"
    terminal.hint(f"step {result.steps}: best validation {best} nats per token; {counted(result.tokens, 'token')} seen")
    checkpoint = find_checkpoint(result.folder)
    unimproved = describe_unimproved(checkpoint)
    if unimproved:
        advice = "" if is_unevaluated(checkpoint) else "; a smaller --train.learning_rate or more data may help"
        terminal.warn(f"the best checkpoint is step-000000, {unimproved}{advice}")
    if terminal.quiet:
        terminal.result(str(checkpoint))
    terminal.finish(
        {
            "run": str(result.folder),
            "checkpoint": str(checkpoint),
            "steps": result.steps,
            "tokens": result.tokens,
            "best_validation": result.best_validation,
            "stopped": result.stopped,
        }
    )
    if result.stopped:
        config = result.folder / "config.yaml"
        terminal.inform(f"stopped; muse-train --config {config} --resume auto resumes it")
        return 130
    terminal.inform(f"to try it: muse-generate {options.domain} --checkpoint {result.folder}")
    return 0


def _observer(options: TrainingOptions, stack: ExitStack, terminal: Terminal) -> TrainingObserver:
    """Return an observer that shows a training on a terminal, and ends it at Ctrl-C."""
    from muse_shortcut.training.training import TrainingObserver

    steps = options.train.max_steps
    bar = terminal.progress("training", steps)
    stop = StopSwitch()

    class Shown(TrainingObserver):
        def warn(self, message: str) -> None:
            terminal.warn(message)

        def store_opened(self, store: Store, vocabulary_size: int) -> None:
            check_ids(store, vocabulary_size, quiet=terminal.quiet)

        def started(self, plan: TrainingPlan) -> None:
            if plan.resumed_from is not None:
                terminal.inform(f"resuming from {plan.resumed_from}")
            terminal.inform(_described(plan))
            stack.enter_context(bar)
            stack.enter_context(stop)

        def stepped(self, status: Status) -> None:
            if status.validation is not None:
                words = f"validation {status.validation:.4f} nats per token"
                bar.show(status.step, f"step {status.step:,} of {steps:,}: {words}", line=True)
            else:
                bar.show(status.step, f"loss {status.loss:.4f}, {status.tokens_per_second:,.0f} tokens/s")

        def should_stop(self) -> bool:
            return stop()

    return Shown()


def _described(plan: TrainingPlan) -> str:
    core, config = plan.checkpoint.core, plan.config
    shape = core.config
    kind = "plain" if shape.shortcut is None else f"shortcut to depths {', '.join(map(str, shape.depths))}"
    epochs = config.max_steps * config.batch_size * config.accumulation / plan.windows_per_epoch
    return (
        f"{core.parameter_count():,} parameters, {counted(shape.layers, 'layer')}, {kind}; {plan.device.type}, "
        f"{str(plan.precision).removeprefix('torch.')}; {counted(config.max_steps, 'step')}, "
        f"{counted(epochs, 'epoch', '.2g')}"
    )
