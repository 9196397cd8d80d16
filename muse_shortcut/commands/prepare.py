"""muse-prepare: files in, a token store out."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from muse_shortcut.commands.bars import Bar
from muse_shortcut.commands.line import CommandLine, run_command
from muse_shortcut.commands.sources import SOURCE_HELP, find_files, is_recipe, name_source, of_domain
from muse_shortcut.errors import ArgumentsError

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from muse_shortcut.data.recipe import Recipe
    from muse_shortcut.data.survey import SourceFile
    from muse_tokenizers.base import Tokenizer

__all__ = ["main"]

PROGRAM = "muse-prepare"


def _parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM,
        description=f"Turn files into a token store to train on. {SOURCE_HELP}",
    )
    parser.add_argument("domain", choices=["midi", "audio"], help="what the files are")
    parser.add_argument("source", nargs="+", metavar="SOURCE", help="a folder, a file, a recipe, or RECIPE=FOLDER")
    parser.add_argument("--out", type=str, required=True, metavar="STORE", help="the folder of the store")
    parser.add_argument("--from_folder", type=str, metavar="DIR", help="where the one recipe's files are")
    parser.add_argument(
        "--tokenizer", type=str, metavar="NAME", help="midi: remi or performance; any: a checkpoint whose to use"
    )
    parser.add_argument(
        "--codec", type=str, metavar="NAME", help="audio: muse_24khz (ships), encodec_24khz (Meta's), or a folder"
    )
    parser.add_argument("--codebooks", type=int, help="audio: how many are used, 1, 2, 4 or 8; default 4")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], help="audio: where codes are computed")
    parser.add_argument("--group_by", choices=["file", "folder"], help="what no split may tear apart")
    parser.add_argument(
        "--exclude", type=str, metavar="GLOBS", help="leave these out, as the store would name them; commas between"
    )
    parser.add_argument("--held_out", type=float, default=0.05, help="fraction for validation, and again for test")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another split")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    return parser


def main() -> NoReturn:
    """The command."""
    arguments = _parser().parse_line()
    run_command(PROGRAM, lambda: _prepare(arguments))


def _prepare(arguments: Namespace) -> None:
    from muse_shortcut.data.preparing import Preparation, prepare

    if not 0.0 <= arguments.held_out <= 0.4:
        raise ArgumentsError(f"--held-out is {arguments.held_out}; allowed: 0 to 0.4")
    if arguments.workers < 1:
        raise ArgumentsError(f"--workers is {arguments.workers}; allowed: 1 or more")
    named = _name_sources(arguments)
    tokenizer = _choose_tokenizer(arguments, [recipe for recipe, _ in named])
    sources = find_files(named, tokenizer.suffixes, arguments.group_by)
    excluded = [glob.strip() for glob in (arguments.exclude or "").split(",") if glob.strip()]
    sources = _without(sources, excluded)
    described = [_describe(recipe, len(files)) for (recipe, _), files in zip(named, sources, strict=True)]
    total = sum(len(files) for files in sources)
    how = Preparation(
        workers=arguments.workers,
        device=_device(arguments),
        seed=arguments.seed,
        held_out=arguments.held_out,
        source={"sources": described} | ({"excluded": excluded} if excluded else {}),
    )
    started = time.monotonic()
    with Bar("preparing", total) as bar:
        manifest = prepare(
            sources,
            tokenizer,
            Path(arguments.out),
            how,
            lambda files, tokens, rejects: bar.show(files, f"files, {tokens:,} tokens, {rejects} rejected"),
        )
    _summarise(manifest, arguments.out, time.monotonic() - started)


def _name_sources(arguments: Namespace) -> list[tuple[Recipe | None, Path | None]]:
    from muse_shortcut.data.recipe import load_recipe

    words = arguments.source
    if arguments.from_folder is None:
        return [name_source(word, arguments.domain) for word in words]
    if len(words) > 1 or not is_recipe(words[0]):
        raise ArgumentsError("--from-folder goes with one recipe; for several write RECIPE=FOLDER")
    return [(of_domain(load_recipe(words[0]), arguments.domain), Path(arguments.from_folder).expanduser())]


def _choose_tokenizer(arguments: Namespace, recipes: list[Recipe | None]) -> Tokenizer[Any]:
    from muse_tokenizers.loading import load_tokenizer

    if arguments.tokenizer is not None and (Path(arguments.tokenizer) / "tokenizer").is_dir():
        found = load_tokenizer(Path(arguments.tokenizer) / "tokenizer")
        if found.kind != arguments.domain:
            raise ArgumentsError(f"--tokenizer names a checkpoint of {found.kind}, not of {arguments.domain}")
        for option in ("codec", "codebooks"):
            if getattr(arguments, option) is not None:
                raise ArgumentsError(f"--{option} goes with a codec; --tokenizer names a checkpoint, which has its own")
        return found
    named = next((recipe.tokenizer for recipe in recipes if recipe is not None), None)
    return _audio_tokenizer(arguments, named) if arguments.domain == "audio" else _midi_tokenizer(arguments, named)


def _midi_tokenizer(arguments: Namespace, named: str | None) -> Tokenizer[Any]:
    from muse_tokenizers.midi.configuration import CONFIGURATIONS
    from muse_tokenizers.midi.tokenizer import MidiTokenizer

    for option in ("codec", "codebooks", "device"):
        if getattr(arguments, option) is not None:
            raise ArgumentsError(f"--{option} is an option of audio, not of midi")
    name = arguments.tokenizer or named or "remi"
    if name not in CONFIGURATIONS:
        raise ArgumentsError(f"--tokenizer is {name!r}; allowed: {', '.join(CONFIGURATIONS)}, or a checkpoint's folder")
    return MidiTokenizer(CONFIGURATIONS[name])


def _audio_tokenizer(arguments: Namespace, named: str | None) -> Tokenizer[Any]:
    from muse_tokenizers.audio.codecs import META, SHIPPED, fetch_codec
    from muse_tokenizers.audio.tokenizer import AudioTokenizer

    if arguments.tokenizer is not None:
        raise ArgumentsError(f"--tokenizer is {arguments.tokenizer!r}; allowed: a checkpoint's folder; see --codec")
    name = arguments.codec or named or SHIPPED
    if name == META:
        with Bar(f"fetching {META}", None) as bar:
            fetch_codec(lambda done, total: bar.show(done / 2**20, f"of {(total or 0) / 2**20:.0f} MiB"))
    return AudioTokenizer.with_codec(name, 4 if arguments.codebooks is None else arguments.codebooks)


def _device(arguments: Namespace) -> str:
    if arguments.domain != "audio":
        return "cpu"
    from muse_shortcut.devices import choose_device

    # A codec is known to garble on Apple's GPUs.
    found = choose_device(arguments.device or "auto").type
    return "cuda" if found == "cuda" else "cpu"


def _without(sources: list[list[SourceFile]], excluded: list[str]) -> list[list[SourceFile]]:
    """The files whose names none of the globs fits, each of which must fit one."""
    from muse_shortcut.data.survey import name_matcher

    names = [file.name for files in sources for file in files]
    for glob in excluded:
        if not any(map(name_matcher([glob]), names)):
            raise ArgumentsError(f"--exclude {glob!r} fits none of the {len(names)} files; the first is {names[0]}")
    fits = name_matcher(excluded)
    kept = [[file for file in files if not fits(file.name)] for files in sources]
    if not any(kept):
        raise ArgumentsError(f"--exclude {','.join(excluded)!r} leaves none of the {len(names)} files")
    return kept


def _describe(recipe: Recipe | None, files: int) -> dict[str, Any]:
    if recipe is None:
        return {"recipe": None, "files": files}
    return {
        "recipe": recipe.name,
        "title": recipe.title,
        "files": files,
        "licence": recipe.licence.name,
        "weights_may_ship": recipe.licence.weights_may_ship,
    }


def _summarise(manifest: dict[str, Any], out: str, seconds: float) -> None:
    print(
        f"{out}: {manifest['tokens']:,} tokens of {manifest['pieces']:,} pieces, "
        f"{seconds:.1f} s, {manifest['tokens'] / max(seconds, 1e-9):,.0f} tokens a second"
    )
    for split, counts in manifest["splits"].items():
        print(f"  {split:<10} {counts['pieces']:>6,} pieces {counts['tokens']:>12,} tokens")
    rejects = manifest["rejects"]
    if rejects:
        print(f"  rejected   {len(rejects):>6,} files, with reasons in {out}/manifest.json:")
        for reject in rejects[:5]:
            print(f"    {reject['name']}: {reject['reason']}")
