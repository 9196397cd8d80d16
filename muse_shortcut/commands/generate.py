"""muse-generate: a prompt in, continuations out."""

from __future__ import annotations

import codecs
import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from unicodedata import category

from muse_shortcut.commands.bars import Bar
from muse_shortcut.commands.line import CommandLine, StopSwitch, run_command, say, warn_on_terminal
from muse_shortcut.commands.naming import checkpoint_folder
from muse_shortcut.commands.writing import Wanted, parse_moment, write_candidates
from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import ArgumentsError, OutputError
from muse_shortcut.shipped import default_checkpoint, prompt_names, shipped_prompt

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from muse_shortcut.checkpoints import Checkpoint
    from muse_shortcut.generation.engine import Generation, Request, StepEvent
    from muse_tokenizers.base import Tokenizer

__all__ = ["main"]

PROGRAM = "muse-generate"
DEFAULT_LENGTHS = {"seconds": 20.0, "bytes": 800}
"""Of a continuation, by the unit of its domain."""
_SHOWN_EVERY = 16
_REQUEST_OPTIONS = (
    "prompt", "prompt_seconds", "seconds", "bytes", "bars", "max_new_tokens", "num_samples", "keep", "seed",
    "instruments", "key", "tempo", "silence", "repeats", "temperature", "top_k", "top_p", "min_p", "repetition_penalty",
    "no_repeat_ngram",
)  # fmt: skip


def _parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM,
        description="Continue a prompt, or begin from nothing. Writes NAME-1.mid or NAME-1.wav, of MIDI its sound too, "
        "and NAME-1.json, from which --from-json makes the same bytes again. What is not said here comes from the "
        "checkpoint.",
    )
    parser.add_argument("domain", choices=["midi", "audio", "text"], help="what to continue")
    parser.add_argument("--checkpoint", type=str, metavar="DIR", help="default: the one that ships")
    parser.add_argument("--prompt", type=str, metavar="FILE", help="a file, or a shipped prompt; of text words too")
    parser.add_argument("--prompt_seconds", type=float, help="continue the first S seconds, of MIDI to a bar line")
    parser.add_argument(
        "--seconds", type=float, help=f"length of the continuation (default {DEFAULT_LENGTHS['seconds']:g})"
    )
    parser.add_argument("--bytes", type=int, help=f"text: its length (default {DEFAULT_LENGTHS['bytes']:g})")
    parser.add_argument("--bars", type=int, help="midi: length of the continuation in bars")
    parser.add_argument("--max_new_tokens", type=int, help="length in tokens")
    parser.add_argument("--num_samples", type=int, help="candidates, made side by side (default 1)")
    parser.add_argument("--keep", type=int, metavar="N", help="write the best N of them alone; their sidecars say why")
    parser.add_argument(
        "--instruments", type=str, metavar="LIST", help="midi: the only ones that may play: piano,drums,40"
    )
    parser.add_argument("--key", type=str, help="midi: 'C major', 'F# minor', or pitch classes 0,4,7")
    parser.add_argument(
        "--tempo", type=float, help="midi: beats a minute from the cut on (the nearest the vocabulary has)"
    )
    parser.add_argument("--silence", type=float, help="midi: the longest silence, seconds (default 2); 0: any")
    parser.add_argument(
        "--repeats", type=int, help="midi: the most bars in a row that repeat earlier ones (default 4); 0: any"
    )
    parser.add_argument("--temperature", type=float, help="below 1 safer, above 1 wilder")
    parser.add_argument("--top_k", type=int, help="only the k likeliest ids; 0: off")
    parser.add_argument("--top_p", type=float, help="only the likeliest ids that together have this chance; 1: off")
    parser.add_argument("--min_p", type=float, help="only ids this fraction as likely as the likeliest; 0: off")
    parser.add_argument("--repetition_penalty", type=float, help="lower the odds of recent ids; 1: off")
    parser.add_argument("--no_repeat_ngram", type=int, help="never write a run of n ids twice; 0: off")
    parser.add_argument("--greedy", action="store_true", help="always the likeliest id")
    parser.add_argument("--seed", type=int, help="the same seed and options, the same bytes; default: a new one")
    parser.add_argument("--from_json", type=str, metavar="FILE", help="make what a sidecar describes again")
    parser.add_argument("--out", type=str, default="output", metavar="DIR", help="where to write")
    parser.add_argument("--sound", type=bool, default=True, help="write a .wav too")
    parser.add_argument("--trace", type=bool, default=True, help="write what each token attended to: .trace.npz")
    parser.add_argument("--picture", action="store_true", help="draw the trace: .png and .svg")
    parser.add_argument("--explain", type=str, metavar="STEP", help="what a step (or a time, 0:31) was drawn from")
    parser.add_argument("--soundfont", type=str, metavar="FILE", help=".sf2 or .sf3; default: pretty_midi's")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    return parser


def main() -> NoReturn:
    """The command."""
    arguments = _parser().parse_line()
    run_command(PROGRAM, lambda: _generate(arguments))


def _generate(arguments: Namespace) -> int:
    from muse_shortcut.checkpoints import load_checkpoint
    from muse_shortcut.devices import choose_device, use_decoding_threads
    from muse_shortcut.files import make_folder
    from muse_shortcut.generation.engine import Generation
    from muse_shortcut.generation.sidecar import read_sidecar

    device = choose_device(arguments.device)
    folder = checkpoint_folder(arguments.checkpoint) if arguments.checkpoint else default_checkpoint(arguments.domain)
    checkpoint = load_checkpoint(folder, device)
    use_decoding_threads(checkpoint.core.parameter_count())
    if checkpoint.tokenizer.kind != arguments.domain:
        raise ArgumentsError(f"{folder} continues {checkpoint.tokenizer.kind}, not {arguments.domain}")
    sidecar = None
    if arguments.from_json:
        _refuse_with_sidecar(arguments)
        sidecar = read_sidecar(Path(arguments.from_json), checkpoint.tokenizer)
        if sidecar.checkpoint != checkpoint.digest:
            raise ArgumentsError(
                f"{arguments.from_json} was made with the weights {sidecar.checkpoint[:12]}, {folder} has "
                f"{checkpoint.digest[:12]}; name the right ones with --checkpoint"
            )
        request, name, source = sidecar.request, sidecar.name, sidecar.source
        only: int | None = sidecar.candidate
    else:
        request, path = _make_request(arguments, checkpoint)
        name, source = ("from-nothing", None) if path is None else (path.stem, path.name)
        if path is None and request.prompt.piece is not None:
            name = "words"
        only = None
        say(f"seed {request.seed}\n")
    # Before the work, so that a wrong soundfont costs no one a minute.
    wanted = _wanted(arguments, checkpoint)
    out = make_folder(Path(arguments.out))
    keep = wanted.trace or wanted.picture or wanted.explain is not None
    generation = Generation(checkpoint.core, checkpoint.tokenizer, request, trace=keep)
    with StopSwitch() as stop:
        problem: OutputError | None = None
        try:
            _grow(generation, checkpoint.tokenizer, stop)
        except OutputError as error:
            # No room for the trace: what has been made is written all the same.
            problem = error
        # Writing what there is goes on after a Ctrl-C: that is what it is for.
        interrupted = stop.pressed
        if problem is not None:
            wanted = replace(wanted, trace=False, picture=False, explain=None)
        stopped = interrupted or problem is not None
        try:
            write_candidates(generation, checkpoint, out / name, source, wanted, only, interrupted=stopped)
        except ArgumentsError as error:
            if not interrupted:
                raise
            print(f"{PROGRAM}: {error}", file=sys.stderr)
    if problem is not None:
        raise problem
    if sidecar is not None and not interrupted and not _equal(generation, sidecar.candidate, sidecar.ids):
        say("this machine's arithmetic differs from the one that made the sidecar: the ids are not the same\n")
    return 130 if interrupted else 0


def _wanted(arguments: Namespace, checkpoint: Checkpoint) -> Wanted:
    soundfont = Path(arguments.soundfont) if arguments.soundfont else None
    samples = 1 if arguments.num_samples is None else arguments.num_samples
    if arguments.keep is not None and not 1 <= arguments.keep <= samples:
        raise ArgumentsError(f"--keep is {arguments.keep}; allowed: 1 to --num-samples, {samples}")
    return Wanted(
        keep=arguments.keep,
        trace=arguments.trace,
        picture=arguments.picture,
        explain=None if arguments.explain is None else parse_moment(arguments.explain),
        sound=checkpoint.tokenizer.describe_sound(soundfont) if arguments.sound else None,
        soundfont=soundfont,
    )


def _refuse_with_sidecar(arguments: Namespace) -> None:
    given = [name for name in _REQUEST_OPTIONS if getattr(arguments, name) is not None]
    if given or arguments.greedy:
        option = (given or ["greedy"])[0].replace("_", "-")
        raise ArgumentsError(f"--from-json makes the same again: --{option} cannot be changed beside it")


def _make_request(arguments: Namespace, checkpoint: Checkpoint) -> tuple[Request, Path | None]:
    from muse_shortcut.generation.engine import Request
    from muse_tokenizers.base import Wishes

    tokenizer = checkpoint.tokenizer
    if arguments.prompt_seconds is not None and not 0 < arguments.prompt_seconds < float("inf"):
        raise ArgumentsError(f"--prompt-seconds is {arguments.prompt_seconds}; allowed: more than 0")
    piece, path = _find_prompt(arguments, tokenizer)
    if piece is None and arguments.prompt_seconds is not None:
        raise ArgumentsError("--prompt-seconds needs a --prompt")
    if arguments.prompt_seconds is not None and tokenizer.unit != "seconds":
        raise ArgumentsError(f"--prompt-seconds is an option of music and sound, not of {tokenizer.kind}")
    lengths = {name: getattr(arguments, name) for name in DEFAULT_LENGTHS}
    if not any(value is not None for value in (*lengths.values(), arguments.bars, arguments.max_new_tokens)):
        lengths[tokenizer.unit] = DEFAULT_LENGTHS[tokenizer.unit]
    instruments = tuple(name for name in (arguments.instruments or "").split(",") if name.strip())
    if arguments.instruments is not None and not instruments:
        raise ArgumentsError("--instruments is empty; allowed: names or numbers with commas between them")
    usual = tokenizer.usual_wishes()
    request = Request(
        prompt=tokenizer.prompt(piece, arguments.prompt_seconds),
        sampling=_sampling(arguments, checkpoint.sampling),
        wishes=Wishes(
            instruments=instruments,
            key=arguments.key,
            tempo=arguments.tempo,
            bars=arguments.bars,
            **lengths,
            silence=(usual.silence if arguments.silence is None else arguments.silence) or None,
            repeats=(usual.repeats if arguments.repeats is None else arguments.repeats) or None,
        ),
        candidates=1 if arguments.num_samples is None else arguments.num_samples,
        max_steps=arguments.max_new_tokens,
        seed=secrets.randbelow(2**32) if arguments.seed is None else arguments.seed,
    )
    return request, path


def _find_prompt(arguments: Namespace, tokenizer: Tokenizer[Any]) -> tuple[Any, Path | None]:
    """The piece to continue and its file; either may be missing."""
    if arguments.prompt is None:
        return None, None
    if not arguments.prompt:
        raise ArgumentsError("--prompt is empty; leave it out to begin from nothing")
    path: Path | None = Path(arguments.prompt)
    if not _exists(arguments.prompt):
        path = shipped_prompt(arguments.domain, arguments.prompt)
    if path is not None:
        return tokenizer.read(path, limit=arguments.prompt_seconds, warn=warn_on_terminal(PROGRAM)), path
    if tokenizer.kind == "text":
        if Path(arguments.prompt).suffix in tokenizer.suffixes and " " not in arguments.prompt:
            raise ArgumentsError(f"no prompt {arguments.prompt!r}: it is no file here, and looks like no words")
        return tokenizer.loads(arguments.prompt.encode("utf-8", "surrogateescape"), "--prompt"), None
    shipped = ", ".join(prompt_names(arguments.domain))
    raise ArgumentsError(
        f"no prompt {arguments.prompt!r}: it is no file here"
        + (f", nor one of the shipped {shipped}" if shipped else "")
    )


def _exists(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):
        # Words may be longer than any file's name.
        return False


def _sampling(arguments: Namespace, default: SamplingConfig) -> SamplingConfig:
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    return replace(default, **given, greedy=arguments.greedy or default.greedy)


def _grow(generation: Generation, tokenizer: Tokenizer[Any], stop: StopSwitch) -> None:
    """Run a generation until it ends or is interrupted: of one text with its words as they come, else under a bar."""
    if tokenizer.kind == "text" and generation.request.candidates == 1:
        _say_words(generation, tokenizer, stop)
        return
    wishes, request = generation.request.wishes, generation.request
    length = getattr(wishes, tokenizer.unit)
    total = length or (None if wishes.bars else request.limit)
    unit = tokenizer.unit if length else "tokens"
    started = time.perf_counter()
    with Bar("generating", total) as bar:
        for event in generation:
            if event.step % _SHOWN_EVERY == 0:
                rate = (event.step + 1) / (time.perf_counter() - started)
                bar.show(_place(event, length), f"{unit}, {rate:.0f} steps/s")
            if stop():
                break


def _say_words(generation: Generation, tokenizer: Tokenizer[Any], stop: StopSwitch) -> None:
    """The prompt, and each new character when all of it is there."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    say(_harmless(decoder.decode(generation.request.prompt.piece or b"")))
    for event in generation:
        if not event.finished[0]:
            say(_harmless(decoder.decode(tokenizer.decode(event.ids))))
        if stop():
            break
    say("\n\n")


def _harmless(text: str) -> str:
    """Words as they are, but for what would command a terminal."""
    return "".join(one if category(one) != "Cc" or one in "\n\t" else "\ufffd" for one in text.replace("\r\n", "\n"))


def _place(event: StepEvent, length: float | None) -> float:
    return round(min(float(event.elapsed.min()), length), 1) if length else event.step + 1


def _equal(generation: Generation, candidate: int, ids: Any) -> bool:
    made = generation.continuations()[candidate]
    return made.shape == ids.shape and bool((made == ids).all())
