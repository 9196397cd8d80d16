"""muse-compare: trains several cores on the same batches, reports the results, and measures the cost of a step."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from muse_shortcut.commands.command_line import CommandLine, StopSwitch, Terminal, run_command, say
from muse_shortcut.commands.subcommands import Subcommand, run_subcommand
from muse_shortcut.commands.typed_options import typed_options
from muse_shortcut.errors import ArgumentsError
from muse_tokenizers.wording import counted

if TYPE_CHECKING:
    from muse_shortcut.comparison.plan import Plan
    from muse_shortcut.comparison.runner import ComparisonProgress

__all__ = ["main"]

PROGRAM = "muse-compare"


@dataclass(frozen=True)
class _PlanOptions:
    """The parsed options that a comparison and its `time` have in common; `_add_plan` describes them."""

    plan: str
    out: str
    stores: str
    device: Literal["auto", "cpu", "cuda"]
    quiet: bool


@dataclass(frozen=True)
class _CompareOptions(_PlanOptions):
    workers: int
    shrink: float
    rate: float | None


@dataclass(frozen=True)
class _TimeOptions(_PlanOptions):
    rounds: int


@dataclass(frozen=True)
class _ReportOptions:
    folder: str


def _parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM,
        description="Train the cores of a plan on the same batches, and compare them. The same command resumes a "
        "comparison that was interrupted.\n\n"
        "examples:\n"
        "  muse-compare cores --stores stores --out compared --shrink 0.1\n"
        "  muse-compare time cores --stores stores --out compared\n"
        "  muse-compare report compared",
        subcommands=[
            Subcommand("report", "report the results so far", _report_parser, _report_main),
            Subcommand("time", "measure the cost of a step; run nothing else meanwhile", _time_parser, _time_main),
        ],
    )
    _add_plan(parser)
    parser.add_argument(
        "--workers", type=int, default=1, help="runs that are trained at the same time, with one thread each"
    )
    parser.add_argument(
        "--shrink", type=float, default=1.0, help="train on X times the tokens of the plan, such as 0.1"
    )
    parser.add_argument("--rate", type=float, metavar="R", help="train with R times the learning rates of the plan")
    return parser


def _add_plan(parser: CommandLine) -> None:
    parser.add_argument("plan", type=str, metavar="PLAN", help="a name in data_recipes/comparisons/, or a .yaml file")
    parser.add_argument("-o", "--out", type=str, required=True, metavar="DIR", help="the comparison's folder")
    parser.add_argument("--stores", type=str, default="stores", metavar="DIR", help="where the plan's stores are")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="device to compute on")
    parser.add_terminal_options()


def _report_parser() -> CommandLine:
    parser = CommandLine(prog=PROGRAM, description="Write report.md and report.png, and print the former.")
    parser.add_argument("subcommand", choices=["report"], metavar="report", help="the word report")
    parser.add_argument("folder", type=str, metavar="DIR", help="a comparison's folder")
    return parser


def _time_parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM, description="Measure what a step of each core costs, and write it to DIR/times.json."
    )
    parser.add_argument("subcommand", choices=["time"], metavar="time", help="the word time")
    _add_plan(parser)
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds, of which the median is reported")
    return parser


def main() -> NoReturn:
    """The command."""
    parser = _parser()
    run_subcommand(parser, parser.subcommands)
    options = typed_options(_CompareOptions, parser.parse_line())
    run_command(PROGRAM, lambda: _compare(options), parser.option_name)


def _report_main() -> NoReturn:
    parser = _report_parser()
    options = typed_options(_ReportOptions, parser.parse_line())
    run_command(PROGRAM, lambda: _report(options), parser.option_name)


def _time_main() -> NoReturn:
    parser = _time_parser()
    options = typed_options(_TimeOptions, parser.parse_line())
    run_command(PROGRAM, lambda: _time(options), parser.option_name)


def _plan(options: _CompareOptions) -> Plan:
    from muse_shortcut.comparison.plan import read_plan

    plan = read_plan(options.plan).shrunk(options.shrink)
    return plan if options.rate is None else replace(plan, rates=(options.rate,))


def _compare(options: _CompareOptions) -> int:
    from muse_shortcut.comparison.runner import run_plan

    if not 1 <= options.workers <= 1000:
        raise ArgumentsError(f"--workers is {options.workers}; allowed: 1 to 1000")
    terminal = Terminal(PROGRAM, options)
    plan = _plan(options)
    runs = sum(1 for _ in plan.jobs())
    with terminal.progress(plan.name, None) as bar, StopSwitch() as stop:

        def show(news: ComparisonProgress) -> None:
            left = "" if news.seconds_left is None else f", {_duration(news.seconds_left)} left"
            note = f"of {counted(news.total, 'step')}, {news.done} of {counted(news.runs, 'run')}{left}"
            if news.result is None:
                bar.show(news.steps, note)
            else:
                bar.show(news.steps, f"{note}: {_line(news.result)}", line=True)

        complete = run_plan(
            plan,
            stores=Path(options.stores),
            out=Path(options.out),
            workers=options.workers,
            device=options.device,
            watch=show,
            should_stop=stop,
        )
    if complete:
        say(f"all {runs} runs are in {Path(options.out) / 'results.jsonl'}\n")
        return 0
    terminal.warn("stopped; run the same command to resume")
    return 130


def _report(options: _ReportOptions) -> None:
    from muse_shortcut.comparison.report import write_report

    say(write_report(Path(options.folder)))


def _time(options: _TimeOptions) -> None:
    import torch

    from muse_shortcut.comparison.dataset import open_dataset
    from muse_shortcut.comparison.plan import read_plan
    from muse_shortcut.comparison.timing import time_cores
    from muse_shortcut.devices import choose_device
    from muse_shortcut.files import make_folder, write_text

    if not 1 <= options.rounds <= 1000:
        raise ArgumentsError(f"--rounds is {options.rounds}; allowed: 1 to 1000")
    plan, device, out = read_plan(options.plan), choose_device(options.device), make_folder(Path(options.out))
    # The same setting as in the runs.
    torch.set_num_threads(1)
    vocabulary = open_dataset(Path(options.stores) / plan.stores[0]).vocabulary
    with Terminal(PROGRAM, options).progress(f"timing {len(plan.cores)} cores", options.rounds + 1) as bar:
        cores = time_cores(
            plan,
            vocabulary_size=vocabulary.vocabulary_size,
            streams=vocabulary.streams,
            rounds=options.rounds,
            device=device,
            watch=lambda done: bar.show(done, "rounds"),
        )
    content = {"device": device.type, "torch": torch.__version__, "rounds": options.rounds, "cores": cores}
    write_text(out / "times.json", json.dumps(content, indent=2) + "\n")
    for name, times in cores.items():
        step, decode = (
            f"{1000 * times[f'{kind}_seconds']:.1f} ms ({times[f'{kind}_ratio']:.2f})" for kind in ("step", "decode")
        )
        say(f"{name:<20} step {step:<20} decode {decode}\n")


def _line(result: dict[str, object]) -> str:
    return (
        f"{result['store']} {result['core']} seed {result['seed']} rate {result['rate']:g}, "
        f"validation {result['validation']:.4f}, test {result['test']:.4f} nats per token, {result['seconds']:.0f} s"
    )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
