"""muse-bench: measures the speed of this machine. Cases are compared in one process, in turns, by medians; the last
line is JSON."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from muse_shortcut.commands.checkpoint_names import checkpoint_folder, codec_name
from muse_shortcut.commands.command_line import CommandLine, Terminal, run_command
from muse_shortcut.commands.typed_options import typed_options
from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.presets import PRESETS
from muse_shortcut.shipped import default_checkpoint, prompt_names, shipped_prompt
from muse_tokenizers.plugins import BUILT_IN_DOMAINS

if TYPE_CHECKING:
    import torch

    from muse_shortcut.checkpoints import Checkpoint
    from muse_tokenizers.base import Prompt

__all__ = ["BenchOptions", "main"]

PROGRAM = "muse-bench"
_VOCABULARY = 1116
"""Vocabulary size of the training benchmark, that of the REMI vocabulary."""


@dataclass(frozen=True)
class BenchOptions:
    """The parsed options, which benchmarks of other packages get too; `_parser` describes them."""

    what: str
    preset: str
    batch_size: int
    precision: Literal["auto", "float32", "bfloat16"]
    domain: str
    checkpoint: str | None
    steps: int | None
    context: int | None
    rounds: int
    threads: int | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    quiet: bool


def _parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM,
        description="train: tokens per second of a preset, with and without the shortcut. generate: steps per second "
        "of a checkpoint with one and four candidates, what grammar and sampling cost, and the bare step beside torch, "
        "transformers (if it is installed) and the limit of reading memory. codec: how many times as "
        "fast as real time sound is encoded and decoded. web: how long the page takes to show the first note, to "
        "play the first sound and to show an attention map, and how it serves twenty visitors.\n\n"
        "examples:\n  muse-bench generate\n  muse-bench train --preset base --device cuda",
    )
    choices = ["train", "generate", "codec", *(one.name for one in _others())]
    parser.add_argument("what", choices=choices, metavar="WHAT", help=f"what to measure: {', '.join(choices)}")
    parser.add_argument("--preset", choices=list(PRESETS), default="small", help="train: shape of the model")
    parser.add_argument("--batch_size", type=int, default=4, help="train: windows per batch")
    parser.add_argument(
        "--precision", choices=["auto", "float32", "bfloat16"], default="auto", help="train: numeric precision"
    )
    parser.add_argument(
        "--domain", choices=BUILT_IN_DOMAINS, default="midi", help="generate: domain of the shipped model"
    )
    parser.add_argument(
        "--checkpoint",
        type=str,
        metavar="DIR",
        help="generate: a checkpoint instead of the shipped one; codec: a codec",
    )
    parser.add_argument("--steps", type=int, help="steps per round; default: 3 for train, 200 for generate")
    parser.add_argument(
        "--context", type=int, help="generate: context in steps at which the bare step is measured (default: 512)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds, of which the median is reported")
    parser.add_argument("--threads", type=int, help="number of threads; default: as in training, or in generation")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="device to measure on")
    parser.add_terminal_options()
    return parser


def main() -> NoReturn:
    """Run the command."""
    parser = _parser()
    options = typed_options(BenchOptions, parser.parse_line())
    run_command(PROGRAM, lambda: _bench(options), parser.option_name)


def _bench(options: BenchOptions) -> None:
    import torch

    from muse_shortcut.devices import choose_device

    for name, least in (("batch_size", 1), ("rounds", 1), ("steps", 2), ("threads", 1), ("context", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ArgumentsError(f"--{name.replace('_', '-')} is {value}; allowed: {least} or more")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    benches = {"train": _bench_train, "generate": _bench_generate, "codec": _bench_codec}
    other = next((one for one in _others() if one.name == options.what), None)
    result = (benches[options.what] if other is None else other.load())(options, device)
    machine = {"device": device.type, "threads": torch.get_num_threads(), "torch": torch.__version__}
    for name, value in result.items():
        print(f"{name:<32} {value}")
    print(json.dumps({"bench": options.what} | machine | result))


def _others() -> Iterable[EntryPoint]:
    """Find benchmarks of other packages, such as the web page."""
    return entry_points(group="muse_shortcut.benches")


def _in_turns(
    terminal: Terminal, label: str, rounds: int, cases: dict[str, Callable[[], float]]
) -> dict[str, list[float]]:
    """Run each case once per round; the first round is a warm-up and does not count."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    with terminal.progress(label, rounds + 1) as bar:
        for number in range(rounds + 1):
            for name, case in cases.items():
                value = case()
                if number:
                    found[name].append(value)
            bar.show(number + 1, "rounds")
    return found


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 2)


def _spread(values: list[float]) -> list[float]:
    return [round(min(values), 2), round(max(values), 2)]


def _bench_train(options: BenchOptions, device: torch.device) -> dict[str, Any]:
    import torch
    from torch.nn import functional as F

    from muse_shortcut.config import TrainConfig
    from muse_shortcut.devices import choose_precision
    from muse_shortcut.model.core import Core
    from muse_shortcut.training.optimiser import Optimiser

    shape = PRESETS[options.preset].for_vocabulary(_VOCABULARY, 1)
    precision = choose_precision(options.precision, device)
    steps = options.steps or 3
    training = TrainConfig()
    ids = torch.randint(0, _VOCABULARY, (options.batch_size, shape.context + 1, 1), device=device)

    def case(config: Any) -> Callable[[], float]:
        core = Core(config).to(device).train()
        optimiser = Optimiser(core, training)

        def run() -> float:
            started = time.perf_counter()
            for _ in range(steps):
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    logits = core(ids[:, :-1])
                loss = F.cross_entropy(logits.float().flatten(0, -2), ids[:, 1:].flatten())
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step(training.learning_rate)
                optimiser.forget()
            if device.type == "cuda":
                torch.cuda.synchronize()
            return float(steps * options.batch_size * shape.context / (time.perf_counter() - started))

        return run

    found = _in_turns(
        Terminal(PROGRAM, options),
        "training",
        options.rounds,
        {"shortcut": case(shape), "plain": case(replace(shape, shortcut=None))},
    )
    return {
        "preset": options.preset,
        "precision": str(precision).removeprefix("torch."),
        "batch_size": options.batch_size,
        "shortcut_tokens_per_second": _median(found["shortcut"]),
        "shortcut_range": _spread(found["shortcut"]),
        "plain_tokens_per_second": _median(found["plain"]),
        "plain_range": _spread(found["plain"]),
    }


def _bench_generate(options: BenchOptions, device: torch.device) -> dict[str, Any]:
    from muse_shortcut.checkpoints import load_checkpoint
    from muse_shortcut.commands.bench_steps import step_cases, step_results
    from muse_shortcut.devices import use_decoding_threads

    terminal = Terminal(PROGRAM, options)
    named = options.checkpoint
    folder = checkpoint_folder(named, terminal) if named else default_checkpoint(options.domain)
    checkpoint = load_checkpoint(folder, device)
    if options.threads is None:
        use_decoding_threads(checkpoint.core.parameter_count())
    steps = options.steps or 200
    bare, most = min(steps, 16), checkpoint.core.config.context
    length = min(512, most - bare) if options.context is None else options.context
    if length > most - bare:
        raise ArgumentsError(f"--context is {options.context}; allowed: 1 to {most - bare} for this model")
    names = prompt_names(checkpoint.domain.kind)
    path = shipped_prompt(checkpoint.domain.kind, names[0]) if names else None
    prompt = checkpoint.domain.prompt(None if path is None else checkpoint.domain.read(path))
    found = _in_turns(
        terminal,
        "generating",
        options.rounds,
        {
            "1": lambda: _steps_per_second(checkpoint, 1, steps, None),
            "1 by torch": lambda: _steps_per_second(checkpoint, 1, steps, None, engine="torch"),
            "1 without trace": lambda: _steps_per_second(checkpoint, 1, steps, None, trace=False),
            "1 without grammar": lambda: _steps_per_second(checkpoint, 1, steps, None, grammar=False),
            "4": lambda: _steps_per_second(checkpoint, 4, steps, None),
            "1 prompted": lambda: _steps_per_second(checkpoint, 1, steps, prompt),
            "1 prompted without trace": lambda: _steps_per_second(checkpoint, 1, steps, prompt, trace=False),
            "4 prompted": lambda: _steps_per_second(checkpoint, 4, steps, prompt),
            "grammar": lambda: _grammar_microseconds(checkpoint, steps),
        },
    )
    core = checkpoint.core
    stepped = _in_turns(terminal, "stepping", options.rounds, step_cases(core, length, bare))
    one, four, grammar = _median(found["1"]), _median(found["4"]), _median(found["grammar"])
    one_prompted, four_prompted = _median(found["1 prompted"]), _median(found["4 prompted"])
    return {
        "parameters": checkpoint.core.parameter_count(),
        "steps": steps,
        "steps_per_second_1_candidate": one,
        **_real_time(checkpoint, one),
        "range_1_candidate": _spread(found["1"]),
        "steps_per_second_by_torch": _median(found["1 by torch"]),
        "range_by_torch": _spread(found["1 by torch"]),
        "steps_per_second_without_trace": _median(found["1 without trace"]),
        "range_without_trace": _spread(found["1 without trace"]),
        "steps_per_second_without_grammar": _median(found["1 without grammar"]),
        "range_without_grammar": _spread(found["1 without grammar"]),
        "steps_per_second_4_candidates": four,
        "range_4_candidates": _spread(found["4"]),
        "time_of_4_over_1": round(one / four, 3),
        "prompt_steps": len(prompt.ids),
        "prompted_steps_per_second_1_candidate": one_prompted,
        "prompted_range_1_candidate": _spread(found["1 prompted"]),
        "prompted_steps_per_second_without_trace": _median(found["1 prompted without trace"]),
        "prompted_range_without_trace": _spread(found["1 prompted without trace"]),
        "trace_share_of_prompted_step": _added_share(found["1 prompted"], found["1 prompted without trace"]),
        "prompted_steps_per_second_4_candidates": four_prompted,
        "prompted_range_4_candidates": _spread(found["4 prompted"]),
        "prompted_time_of_4_over_1": round(one_prompted / four_prompted, 3),
        "grammar_microseconds_per_step": grammar,
        "grammar_share_of_step": round(grammar * one / 1e6, 4),
    } | {f"bare_{name}": value for name, value in step_results(core, length, stepped).items()}


def _real_time(checkpoint: Checkpoint, rate: float) -> dict[str, float]:
    steps = checkpoint.domain.steps_per_second
    return {} if steps is None else {"times_real_time_1_candidate": round(rate / steps, 2)}


_SECONDS = 20.0
"""Seconds of sound in the codec benchmark."""


def _bench_codec(options: BenchOptions, device: torch.device) -> dict[str, Any]:
    import numpy as np

    from muse_tokenizers.audio.codecs import SHIPPED, find_codec

    terminal = Terminal(PROGRAM, options)
    codec = find_codec(codec_name(options.checkpoint or SHIPPED, terminal)).to(device)
    count, books = round(_SECONDS * codec.shape.sample_rate), codec.shape.codebook_counts[-1]
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, count).astype(np.float32)
    codes = codec.encode(sound, books)

    def rate(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        return _SECONDS / (time.perf_counter() - started)

    def decode_streamed() -> None:
        second = round(codec.shape.frame_rate)
        for _ in codec.decoding(codes[at : at + second] for at in range(0, len(codes), second)):
            pass

    found = _in_turns(
        terminal,
        "coding",
        options.rounds,
        {
            "encode": lambda: rate(lambda: codec.encode(sound, books)),
            "decode": lambda: rate(lambda: codec.decode(codes)),
            "decode by the second": lambda: rate(decode_streamed),
        },
    )
    return {"codebooks": books} | {
        f"{name.replace(' ', '_')}_times_real_time{ending}": reduce(values)
        for name, values in found.items()
        for ending, reduce in (("", _median), ("_range", _spread))
    }


def _added_share(rates: list[float], without: list[float]) -> float:
    """Return the median over rounds of the share of a step that a feature takes."""
    return round(statistics.median(1 - rate / other for rate, other in zip(rates, without, strict=True)), 4)


class _WithoutGrammar:
    """A tokenizer without its grammar."""

    def __init__(self, domain: Any) -> None:
        self._domain = domain

    def grammar(self, *_: object) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._domain, name)


def _steps_per_second(
    checkpoint: Checkpoint,
    candidates: int,
    steps: int,
    prompt: Prompt[Any] | None,
    *,
    trace: bool = True,
    grammar: bool = True,
    engine: str = "auto",
) -> float:
    """Measure the steps per second of a generation, without reading the prompt."""
    from muse_shortcut.generation.engine import Generation
    from muse_shortcut.generation.request import Request

    request = Request(
        prompt=prompt or checkpoint.domain.prompt(None),
        sampling=SamplingConfig(top_p=0.98),
        candidates=candidates,
        max_steps=steps,
        seed=0,
        engine=engine,
    )
    domain: Any = checkpoint.domain if grammar else _WithoutGrammar(checkpoint.domain)
    generation = Generation(checkpoint.core, domain, request, trace=trace)
    events = iter(generation)
    next(events)
    started = time.perf_counter()
    for _ in events:
        pass
    return (generation.steps - 1) / (time.perf_counter() - started)


def _grammar_microseconds(checkpoint: Checkpoint, steps: int) -> float:
    """Measure the time of the grammar per step of one candidate, on ids that the checkpoint itself generates."""
    from muse_shortcut.generation.engine import Generation
    from muse_shortcut.generation.request import Request

    domain = checkpoint.domain
    prompt = domain.prompt(None)
    generation = Generation(checkpoint.core, domain, Request(prompt=prompt, max_steps=steps, seed=0))
    for _ in generation:
        pass
    grammar = domain.grammar(prompt.ids, 1)
    if grammar is None:
        return 0.0
    ids = generation.continuations()[0]
    started = time.perf_counter()
    for step in ids:
        grammar.allowed()
        grammar.advance(step[None])
    return (time.perf_counter() - started) / max(1, len(ids)) * 1e6
