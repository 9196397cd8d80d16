"""muse-compare: several cores on the same batches, one line of JSON a run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from muse_shortcut.commands.bars import Bar
from muse_shortcut.commands.line import CommandLine, StopSwitch, run_command, say
from muse_shortcut.errors import ArgumentsError

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from muse_shortcut.comparison.runner import News

__all__ = ["main"]

PROGRAM = "muse-compare"


def _parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM,
        description="Train the cores of a plan on the same batches, and compare them. The same command goes on where "
        "it was stopped or killed. muse-compare report DIR: what has come of it so far. muse-compare time PLAN --out "
        "DIR: what a step of each core costs, measured in turns; let nothing else run meanwhile.",
    )
    parser.add_argument("plan", type=str, help="a name in data_recipes/comparisons/, or a .yaml file")
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="the comparison's folder")
    parser.add_argument("--stores", type=str, default="stores", metavar="DIR", help="where the plan's stores are")
    parser.add_argument("--workers", type=int, default=1, help="runs that are made at once, with one thread each")
    parser.add_argument("--shrink", type=float, default=1.0, help="so many times the plan's tokens")
    parser.add_argument("--rate", type=float, metavar="R", help="instead of the plan's: R times its learning rates")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    return parser


def main() -> NoReturn:
    """The command."""
    arguments = _parser().parse_line()
    run_command(PROGRAM, lambda: _compare(arguments))


def _compare(arguments: Namespace) -> int:
    from muse_shortcut.comparison.plan import read_plan
    from muse_shortcut.comparison.runner import run_plan

    if not 1 <= arguments.workers <= 1000:
        raise ArgumentsError(f"--workers is {arguments.workers}; allowed: 1 to 1000")
    plan = read_plan(arguments.plan).shrunk(arguments.shrink)
    if arguments.rate is not None:
        plan = replace(plan, rates=(arguments.rate,))
    runs = sum(1 for _ in plan.jobs())
    with Bar(plan.name, None) as bar, StopSwitch() as stop:

        def show(news: News) -> None:
            left = "" if news.seconds_left is None else f", {_duration(news.seconds_left)} left"
            note = f"of {news.total:,} steps, {news.done} of {news.runs} runs{left}"
            if news.result is None:
                bar.show(news.steps, note)
            else:
                bar.show(news.steps, f"{_line(news.result)} ({note})", line=True)

        complete = run_plan(
            plan,
            stores=Path(arguments.stores),
            out=Path(arguments.out),
            workers=arguments.workers,
            device=arguments.device,
            watch=show,
            should_stop=stop,
        )
    if complete:
        say(f"all {runs} runs are in {Path(arguments.out) / 'results.jsonl'}\n")
        return 0
    print(f"{PROGRAM}: stopped; the same command goes on", file=sys.stderr)
    return 130


def _line(result: dict[str, object]) -> str:
    return (
        f"{result['store']} {result['core']} seed {result['seed']} rate {result['rate']:g}: "
        f"validation {result['validation']:.4f}, test {result['test']:.4f} nats a token, {result['seconds']:.0f} s"
    )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
