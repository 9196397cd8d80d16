"""The options of muse-generate, grouped by what they are for, and their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from muse_shortcut.commands.command_line import CommandLine
from muse_shortcut.shipped import prompt_names
from muse_tokenizers.built_in import DEFAULT_LENGTHS
from muse_tokenizers.levels import LOUDNESS
from muse_tokenizers.plugins import BUILT_IN_DOMAINS, installed_domains

__all__ = [
    "FileOptions",
    "GenerateOptions",
    "LengthOptions",
    "MusicOptions",
    "SamplingOptions",
    "add_option",
    "build_parser",
]

_EXAMPLES = """examples:
  muse-generate song.mid
  muse-generate song.mid --prompt-seconds 20 --seconds 30 --num-samples 4
  muse-generate midi bach-prelude --key "A minor" --tempo 90 --bars 8
  muse-generate recording.wav --prompt-seconds 8 --seconds 5
  muse-generate text "It was a dark and stormy night;" --bytes 600
  muse-generate --from-json output/song-2.json"""

_HELP: dict[str, tuple[type, str]] = {
    "instruments": (
        str,
        "instruments that may play, such as piano,strings,drums; any: all of them (default: those of the prompt)",
    ),
    "key": (str, 'a key, such as "F# minor" or "D dorian", or pitch classes, such as 0,4,7'),
    "tempo": (
        str,
        "beats per minute of the continuation; free: the tempo may change (default: the prompt's prevailing tempo)",
    ),
    "silence": (float, "longest silence in seconds; 0: no limit (default: 2)"),
    "repeats": (int, "how many bars in a row may repeat earlier ones; 0: no limit (default: 4)"),
    "style": (str, "style of the music, such as chorale, song or orchestra (default: any)"),
    "hold": (str, "led back to the prompt's when it drifts: dynamics,register,density,balance, or none (default: all)"),
    "temperature": (float, "below 1: more predictable, above 1: more varied; instead of 0 use --greedy"),
    "top_k": (int, "only the N likeliest tokens; 0: off"),
    "top_p": (float, "only the likeliest tokens that together have this probability; 1: off"),
    "min_p": (float, "only tokens this fraction as likely as the likeliest; 0: off"),
    "repetition_penalty": (float, "lower the odds of recent tokens; 1: off"),
    "no_repeat_ngram": (int, "never generate the same N tokens in a row twice; 0: off"),
    "greedy": (bool, "always choose the likeliest token"),
}
"""Type and help of the constraints of music and the sampling options, which other commands have too."""
_METAVARS = {"instruments": "LIST", "tempo": "BPM", "style": "NAME", "hold": "LIST"}


@dataclass(frozen=True)
class MusicOptions:
    """The constraints of music; None: the default."""

    instruments: str | None
    key: str | None
    tempo: str | None
    silence: float | None
    repeats: int | None
    style: str | None
    hold: str | None


@dataclass(frozen=True)
class SamplingOptions:
    """The fields of `SamplingConfig`; None, or a flag that is off: that of the checkpoint."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    no_repeat_ngram: int | None
    greedy: bool


@dataclass(frozen=True)
class LengthOptions:
    """How much of the prompt is used, and how long and how many continuations are; None: the default."""

    prompt_seconds: float | None
    seconds: float | None
    bytes: int | None
    bars: int | None
    max_new_tokens: int | None
    num_samples: int | None
    keep: int | None


@dataclass(frozen=True)
class FileOptions:
    """What is written, and where."""

    out: str
    sound: bool
    soundfont: str | None
    loudness: str | None
    trace: bool
    picture: bool
    explain: str | None


@dataclass(frozen=True)
class GenerateOptions:
    """The parsed options of muse-generate; `build_parser` describes them."""

    domain: str | None
    """The first positional argument, which may be a prompt."""
    file: list[str] | None
    """The other positional arguments."""
    prompt: str | None
    encoding: str | None
    from_json: str | None
    length: LengthOptions
    seed: int | None
    music: MusicOptions
    sampling: SamplingOptions
    files: FileOptions
    checkpoint: str | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    engine: Literal["auto", "native", "torch"] | None
    credits: bool
    quiet: bool
    json: bool


def add_option(parser: Any, name: str) -> None:
    """Add a constraint of music or a sampling option to a parser, or to a group of one."""
    kind, text = _HELP[name]
    if kind is bool:
        parser.add_argument(f"--{name}", action="store_true", help=text)
    else:
        parser.add_argument(f"--{name}", type=kind, metavar=_METAVARS.get(name), help=text)


def build_parser(program: str) -> CommandLine:
    """Build the parser of muse-generate."""
    parser = CommandLine(
        prog=program,
        description="Continue a piece of music, a recording or a text, or generate without a prompt. Writes "
        "NAME-1.mid, .wav or .txt (of MIDI its sound too, as .wav), NAME-1.trace.npz, and NAME-1.json, from which "
        f"--from-json generates the same bytes again.\n\n{_EXAMPLES}",
    )
    prompts = [name for domain in BUILT_IN_DOMAINS for name in prompt_names(domain)]
    parser.add_argument(
        "domain",
        nargs="?",
        metavar="DOMAIN",
        help=f"{', '.join(installed_domains())}; optional if it follows from the prompt",
    ).suggestions = [*installed_domains(), *prompts]
    parser.add_argument(
        "file", nargs="*", metavar="PROMPT", help="a file, the name of a shipped prompt, or text to continue"
    ).suggestions = prompts
    prompt = parser.add_argument_group("what is continued, and how far")
    prompt.add_argument(
        "--prompt",
        type=str,
        metavar="PROMPT",
        help="the prompt, instead of the argument PROMPT; - reads standard input",
    )
    prompt.add_argument(
        "--encoding",
        type=str,
        metavar="NAME",
        help="text: encoding of the prompt, such as latin-1 (default: detected)",
    )
    prompt.add_argument(
        "--prompt_seconds",
        type=float,
        help="music and sound: continue only the first X seconds; music is cut at the last bar line in them, or after "
        "the first bar with notes if there is none",
    )
    prompt.add_argument(
        "--seconds",
        type=float,
        help=f"music and sound: length of the continuation (default: {DEFAULT_LENGTHS['seconds']:g})",
    )
    prompt.add_argument(
        "--bars", type=int, help="music: length of the continuation in bars; with --seconds, whichever ends first"
    )
    prompt.add_argument(
        "--bytes", type=int, help=f"text: length of the continuation (default: {DEFAULT_LENGTHS['bytes']:g})"
    )
    prompt.add_argument("--max_new_tokens", type=int, help="length of the continuation in steps of the model")
    prompt.add_argument("--num_samples", type=int, help="number of continuations, generated in one batch (default: 1)")
    prompt.add_argument("--keep", type=int, metavar="N", help="write only the best N of --num-samples")
    prompt.add_argument(
        "--from_json", type=str, metavar="FILE", help="generate the continuation of this .json sidecar again"
    )
    music = parser.add_argument_group("music")
    for name in ("instruments", "key", "tempo", "silence", "repeats", "style", "hold"):
        add_option(music, name)
    sampling = parser.add_argument_group("sampling (defaults: those of the checkpoint)")
    for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram", "greedy"):
        add_option(sampling, name)
    sampling.add_argument(
        "--seed", type=int, help="the same seed and options give the same bytes (default: a new one, which is printed)"
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o",
        "--out",
        type=str,
        default="output",
        metavar="PLACE",
        help="output folder, or the name of one file such as piece.mid; existing files are never overwritten",
    )
    output.add_argument("--sound", type=bool, default=True, help="music: also write the sound, as .wav")
    output.add_argument("--soundfont", type=str, metavar="FILE", help="music: .sf2 or .sf3 (default: pretty_midi's)")
    output.add_argument(
        "--loudness",
        type=str,
        metavar="LUFS",
        help=f"music: loudness of the .wav; off: the level of the soundfont (default: {LOUDNESS:g})",
    )
    output.add_argument("--trace", type=bool, default=True, help="write the attention of every token, as .trace.npz")
    output.add_argument("--picture", action="store_true", help="draw the attention of every token, as .png and .svg")
    output.add_argument(
        "--explain",
        type=str,
        metavar="STEP|TIME",
        help="print the sources of a token: that of a step (150), or of the first note from a time on (0:31 or 31.0; a "
        "number with a decimal point is in seconds)",
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--checkpoint",
        type=str,
        metavar="DIR",
        help="a checkpoint, a run, midi, audio or text (the shipped models), or a model on the Hugging Face Hub: "
        "hf:OWNER/NAME, or hf:OWNER/NAME@REVISION (default: the shipped one)",
    )
    model.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="device to compute on")
    model.add_argument(
        "--engine",
        choices=["auto", "native", "torch"],
        default=None,
        help="compute the steps in compiled C (native) or with torch; auto, the default, uses C where it can",
    )
    model.add_argument(
        "--credits",
        action="store_true",
        help="print the sources of the training data and whom to name, and exit",
    )
    parser.add_terminal_options(json="files, seed, lengths of prompt and continuations, ranking")
    return parser
