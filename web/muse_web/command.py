"""muse-web: serve the web page."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from muse_shortcut.commands.command_line import CommandLine, StopSwitch, run_command, say
from muse_shortcut.commands.typed_options import typed_options
from muse_shortcut.errors import ArgumentsError

if TYPE_CHECKING:
    from muse_web.session import Limits

__all__ = ["main"]

PROGRAM = "muse-web"


@dataclass(frozen=True)
class _WebOptions:
    """The parsed options; `_parser` describes them."""

    host: str
    port: int | None
    share: bool
    username: str | None
    password: str | None
    checkpoints: str | None
    at_once: int
    upload_mb: float | None
    minutes: float | None
    device: Literal["auto", "cpu", "cuda", "mps"]


def _parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM,
        description="Serve the page that continues music, sound and text, and shows what each step attended to. "
        "Ctrl-C stops it.\n\n"
        "examples:\n  muse-web\n  muse-web --host 0.0.0.0 --username ada --password lovelace --checkpoints runs",
    )
    parser.add_argument(
        "--host",
        type=str,
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 accepts connections from the network",
    )
    parser.add_argument("--port", type=int, help="port to serve on (default: the first that is free from 7860 on)")
    parser.add_argument("--share", action="store_true", help="open a public address for a week through Gradio's tunnel")
    parser.add_argument("--username", type=str, help="login name; requires --password")
    parser.add_argument("--password", type=str, help="login password; requires --username")
    parser.add_argument(
        "--checkpoints", type=str, metavar="DIR", help="a folder of checkpoints to offer, or hf:OWNER/NAME"
    )
    parser.add_argument("--at_once", type=int, default=1, help="continuations generated at the same time; others wait")
    parser.add_argument("--upload_mb", type=float, help="largest upload in MiB (default: 25)")
    parser.add_argument("--minutes", type=float, help="longest prompt of music and sound (default: 30 and 10)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="device to compute on")
    return parser


def main() -> NoReturn:
    """Run the command."""
    options = typed_options(_WebOptions, _parser().parse_line())
    run_command(PROGRAM, lambda: _serve(options))


def _serve(options: _WebOptions) -> int:
    for name in ("at_once", "upload_mb", "minutes"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise ArgumentsError(f"--{name.replace('_', '-')} is {value}; allowed: more than 0")
    if options.port is not None and not 1 <= options.port <= 65535:
        raise ArgumentsError(f"--port is {options.port}; allowed: 1 to 65535")
    if (options.username is None) != (options.password is None):
        raise ArgumentsError("--username and --password go together; give both")
    if "" in (options.username, options.password):
        raise ArgumentsError("--username and --password may not be empty")
    say("starting\n")
    from muse_web.serving import Serving, serve
    from muse_web.session import Limits

    serving = Serving(
        host=options.host,
        port=options.port,
        share=options.share,
        username=options.username,
        password=options.password,
        checkpoints=None if options.checkpoints is None else Path(options.checkpoints),
        device=options.device,
        at_once=options.at_once,
        limits=_limits(options, Limits()),
    )
    with StopSwitch() as stop, serve(serving) as served:
        say(f"{served.url}\n")
        if served.share_url:
            say(f"{served.share_url}\n")
        while not stop():
            time.sleep(0.2)
    return 0


def _limits(options: _WebOptions, limits: Limits) -> Limits:
    if options.upload_mb is not None:
        limits = replace(limits, upload_bytes=round(options.upload_mb * 2**20))
    if options.minutes is not None:
        limits = replace(limits, prompt_seconds=60.0 * options.minutes)
    return limits
