"""muse-train: a token store in, checkpoints out."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jsonargparse import ActionConfigFile, set_parsing_settings  # type: ignore[attr-defined]

from muse_shortcut.commands.bars import Bar, check_ids
from muse_shortcut.commands.helping import describe_fields
from muse_shortcut.commands.line import CommandLine, Given, StopSwitch, run_command, warn_on_terminal
from muse_shortcut.commands.naming import checkpoint_folder
from muse_shortcut.config import PRESET_WORDS, PRESETS, ModelConfig, ShortcutConfig, TrainConfig
from muse_shortcut.errors import ArgumentsError, MuseError
from muse_shortcut.runs import find_checkpoint

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from muse_shortcut.checkpoints import Checkpoint
    from muse_shortcut.training.loop import Status, Trainer

__all__ = ["main"]

PROGRAM = "muse-train"
DOMAINS = ("midi", "audio", "text")
_EXAMPLES = """examples:
  muse-train midi --data stores/mine --out runs/mine --from muse_shortcut/shipped/midi-small
  muse-train text --data stores/novels --out runs/novels --preset small --train.max_steps 20000
  muse-train --config runs/mine/config.yaml --out runs/again
  muse-train --config runs/mine/config.yaml --resume auto"""


def _parser(preset: str, shape: ModelConfig) -> CommandLine:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = CommandLine(
        prog=PROGRAM,
        description="Train a model on a token store, or fine-tune one that is trained. Any field of the model and of "
        "the training can be changed: --model.layers 8, --model.shortcut null for a plain GPT, "
        f"--train.max_steps 5000.\n\n{_EXAMPLES}",
        epilog=_epilog(shape),
        nested={"model.shortcut": ShortcutConfig},
    )
    known = "what the store holds: midi, audio or text; for a codec see muse-train codec --help"
    parser.add_argument("domain", choices=DOMAINS, metavar="DOMAIN", help=known)
    parser.add_argument("--data", type=str, required=True, metavar="STORE", help="a token store, made by muse-prepare")
    parser.add_argument("--out", type=str, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--preset", choices=list(PRESETS), default=preset, help="the shape of the model; see below")
    parser.add_argument(
        "--from",
        type=str,
        metavar="CHECKPOINT",
        help="start from this checkpoint, or a run's best; its shape replaces --preset and --model",
    )
    parser.add_argument(
        "--config",
        action=ActionConfigFile,
        metavar="FILE.yaml",
        help="read options from a file, such as a run's config.yaml; those of the command line win",
    )
    parser.add_argument(
        "--resume", choices=["auto", "never"], default="never", help="auto: continue the training that RUN has"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and dropout")
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="where the model is trained"
    )
    parser.add_argument("--model", type=ModelConfig, default=shape, help="the model, field by field")
    parser.add_argument("--train", type=TrainConfig, default=TrainConfig(), help="the training, field by field")
    return parser


def _epilog(shape: ModelConfig) -> str:
    shortcut = describe_fields("model.shortcut", ShortcutConfig, shape.shortcut)
    presets = "\n".join(f"  {name:<8} {words}" for name, words in PRESET_WORDS.items())
    return f"the last layer's shortcut, field by field:\n{shortcut}\n\npresets:\n{presets}"


def main() -> NoReturn:
    """The command."""
    options = Given()
    domain = options.domain((*DOMAINS, "codec"))
    if domain == "codec":
        from muse_shortcut.commands.train_codec import main as train_codec

        train_codec()
    preset = options.value("preset")
    if preset not in PRESETS:
        preset = domain if domain in ("audio", "text") else "small"
    parent = options.value("from")
    shape = (_shape_of(parent) if isinstance(parent, str) else None) or PRESETS[preset]
    parser = _parser(preset, shape)
    # A shape that is asked for on the command line is not changed by the fields of a file.
    without = ["model"] if any(options.on_line(name) is not None for name in ("preset", "from")) else []
    arguments = parser.parse_line(without=without)
    run_command(PROGRAM, lambda: _train(arguments, parser, shape))


def _shape_of(checkpoint: str) -> ModelConfig | None:
    """The shape of a checkpoint or a run; None where it cannot be read, which is told where it is loaded."""
    try:
        content = json.loads((find_checkpoint(Path(checkpoint)) / "config.json").read_text(encoding="utf-8"))
        return ModelConfig.from_json(content["model"])
    except (MuseError, OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _train(arguments: Namespace, parser: CommandLine, default: ModelConfig) -> int:
    import torch

    from muse_shortcut.data.batches import TrainingBatches, evaluation_windows, mix_of
    from muse_shortcut.data.store import open_store
    from muse_shortcut.devices import choose_device, choose_precision
    from muse_shortcut.files import write_text
    from muse_shortcut.training.loop import Trainer
    from muse_shortcut.training.run import RunFolder
    from muse_shortcut.training.samples import write_samples
    from muse_shortcut.training.starting import fresh_checkpoint, resumed_checkpoint, tuned_checkpoint

    if not 0 <= arguments.seed < 2**63:
        raise ArgumentsError(f"--seed is {arguments.seed}; allowed: 0 to 2^63 - 1")
    made = parser.instantiate(arguments)
    config: TrainConfig = made.train
    store = open_store(Path(arguments.data))
    if store.domain != arguments.domain:
        raise ArgumentsError(f"{arguments.data} is a store of {store.domain}, not of {arguments.domain}")
    device = choose_device(arguments.device)
    run = RunFolder(Path(arguments.out))
    run.claim(go_on=arguments.resume == "auto")
    resumed = run.latest(warn_on_terminal(PROGRAM))
    if resumed is None and run.logged() is not None:
        print(f"{run.folder} has no checkpoint yet: beginning at step 0", file=sys.stderr)
    torch.manual_seed(arguments.seed)
    asked = None if made.model == default else made.model
    if resumed is not None:
        checkpoint = resumed_checkpoint(resumed, store, device, seed=arguments.seed, train=config, shape=asked)
    elif getattr(arguments, "from"):
        checkpoint = tuned_checkpoint(checkpoint_folder(getattr(arguments, "from")), store, device, shape=asked)
    else:
        checkpoint = fresh_checkpoint(made.model, store, device)
    check_ids(store, checkpoint.tokenizer.vocabulary_size)
    shape = checkpoint.core.config
    checkpoint.facts.update(
        data=store.manifest["source"],
        store=store.manifest["sha256"],
        splits=store.manifest["splits"],
        seed=arguments.seed,
        train=asdict(config),
    )
    held_out = store.split("validation")
    if not len(held_out):
        print("the store has no validation split: validation is over training windows", file=sys.stderr)
        held_out = store.split("train")
    windows = evaluation_windows(held_out, context=shape.context, count=config.eval_windows)
    variations = checkpoint.tokenizer.variations() if config.augment else None
    mix = mix_of(store, "train", config.mix)

    @cache
    def batches(window: int) -> TrainingBatches:
        return TrainingBatches(
            store.split("train"),
            context=window,
            batch=config.windows_a_batch(shape.context, window),
            seed=arguments.seed,
            variations=variations,
            mix=mix,
        )

    precision = choose_precision(config.precision, device)
    trainer = Trainer(checkpoint, batches, windows, run, config, seed=arguments.seed, precision=precision)
    if resumed is not None:
        trainer.resume()
        print(f"going on from {resumed}", file=sys.stderr)
    write_text(run.folder / "config.yaml", _configuration(arguments, shape, config))
    _announce(
        checkpoint,
        batches(config.standing_window(shape.context)).windows_per_epoch,
        config,
        device.type,
        str(precision),
    )
    prompt = store.opening("validation" if len(store.split("validation")) else "train", shape.context // 4)
    code = _watch(trainer, config, lambda step: write_samples(checkpoint, prompt, run.folder, step, arguments.seed))

    options = run.folder / "config.yaml"
    if code:
        print(f"stopped; muse-train --config {options} --resume auto goes on from here", file=sys.stderr)
    else:
        print(f"to try it: muse-generate {arguments.domain} --checkpoint {run.folder}", file=sys.stderr)
    return code


def _configuration(arguments: Namespace, shape: ModelConfig, config: TrainConfig) -> str:
    """What is trained, and how, as YAML that `--config` reads: the shape that is used, whoever asked for it."""
    import yaml

    model = {key: value for key, value in shape.to_json().items() if key not in ("vocabulary_size", "streams")}
    named = ("domain", "data", "out", "preset", "from", "seed", "device")
    content = {name: getattr(arguments, name) for name in named} | {"model": model, "train": asdict(config)}
    return str(yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False))


def _announce(checkpoint: Checkpoint, windows: int, config: TrainConfig, device: str, precision: str) -> None:
    shape = checkpoint.core.config
    kind = "plain" if shape.shortcut is None else f"shortcut to depths {', '.join(map(str, shape.depths))}"
    epochs = config.max_steps * config.batch_size * config.accumulation / windows
    print(
        f"{checkpoint.core.parameter_count():,} parameters, {shape.layers} layers, {kind}; {device}, "
        f"{precision.removeprefix('torch.')}; {config.max_steps:,} steps, {epochs:.2g} epochs",
        file=sys.stderr,
    )


def _watch(trainer: Trainer, config: TrainConfig, sample: Any) -> int:
    with Bar("training", config.max_steps) as bar, StopSwitch() as stop:

        def show(status: Status) -> None:
            rate = f"{status.tokens_per_second:,.0f} tokens/s"
            if status.validation is not None:
                words = f"validation {status.validation:.4f} nats a token"
                bar.show(status.step, f"step {status.step:,} of {config.max_steps:,}: {words}", line=True)
            else:
                bar.show(status.step, f"loss {status.loss:.4f}, {rate}")

        progress = trainer.train(show, sample, stop)
    best = "none" if progress.best is None else f"{progress.best:.4f}"
    print(f"step {progress.step}: best validation {best} nats a token; {asdict(progress)['tokens']:,} tokens seen")
    return 130 if stop.pressed else 0
