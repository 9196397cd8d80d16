"""A domain of one's own, tunes in ABC notation: python examples/own_tokenizer_abc.py FOLDER

An id is a character. A tune is a `str`, places in it are counted in bytes, and a continuation begins at a bar line.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import muse_shortcut as muse

HEAD = "X:1\nM:4/4\nL:1/8\nK:G\n"
TUNES = [f"{HEAD}GABc d2{a}2|edcB A2{b}2|GABc dedc|B2{a}2 G4|]\n" for a in "BGdg" for b in "FDAd"]


@muse.register_tokenizer
class AbcTokenizer(muse.Tokenizer[str]):
    kind, suffixes, suffix = "abc", frozenset({".abc"}), ".abc"
    unit, counted, copy_threshold = "bytes", "characters", ("count", 50)
    streams, steps_per_second = 1, None
    characters = "\n" + "".join(map(chr, range(32, 127)))
    pad, begin, end = 96, 97, 98
    vocabulary_size = 99

    # Files
    def read(self, path: Path, *, limit: float | None = None, warn: Any = None) -> str:
        return self.loads(path.read_bytes(), str(path))

    def loads(self, data: bytes, name: str = "the tune", *, warn: Any = None) -> str:
        text = data.decode("ascii", "replace").replace("\r\n", "\n")
        if not text or set(text) - set(self.characters):
            raise muse.UnreadablePieceError(f"{name} is not ABC notation in ASCII")
        return text

    def dumps(self, piece: str) -> bytes:
        return piece.encode("ascii")

    def write(self, piece: str, path: Path) -> None:
        path.write_bytes(self.dumps(piece))

    def duration(self, piece: str) -> float:
        return float(len(piece))

    # Ids
    def encode(self, piece: str) -> muse.Ids:
        return np.array([[self.characters.index(one)] for one in piece], dtype=np.int64).reshape(-1, 1)

    def decode(self, ids: muse.Ids) -> str:
        return "".join(self.characters[number] for number in ids[:, 0].tolist() if number < self.pad)

    def describe(self, ids: muse.Ids, prompt: muse.Prompt[str] | None = None) -> list[list[muse.Token]]:
        names, told, place = self.vocabulary(), [], 0.0
        for number in ids[:, 0].tolist():
            kind, after = ("special", place) if number >= self.pad else ("character", place + 1)
            told.append([muse.Token(id=number, label=names[number], kind=kind, start=place, end=after)])
            place = after
        return told

    def vocabulary(self) -> list[str]:
        return [*self.characters, "PAD", "BEGIN", "END"]

    # Continuing
    def find_split_point(self, piece: str, length: float) -> float:
        return float(piece.rfind("|", 0, max(1, int(length))) + 1 or min(len(piece), length))

    def prompt(self, piece: str | None, length: float | None = None) -> muse.Prompt[str]:
        begin = np.array([[self.begin]], dtype=np.int64)
        if piece is None:
            return muse.Prompt(ids=begin, piece=None)
        split_point = len(piece) if length is None else int(self.find_split_point(piece, length))
        ids = np.concatenate([begin, self.encode(piece[:split_point])])
        return muse.Prompt(ids=ids, piece=piece[:split_point], split_point=float(split_point), split_index=split_point)

    def join(self, prompt: muse.Prompt[str], ids: muse.Ids) -> str:
        return (prompt.piece or "") + self.decode(ids)

    def grammar(self, prompt: muse.Ids, candidates: int, *constraints: Any, **more: Any) -> None:
        """Every id may follow every other."""

    def default_constraints(self) -> muse.Constraints:
        return muse.Constraints()

    # The tokenizer as data
    def configuration(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], folder: Path | None = None) -> "AbcTokenizer":
        return cls()

    # Of no use to this domain, or to these few lines
    def variations(self) -> muse.Variations:
        maps = np.arange(self.vocabulary_size)[None]
        return muse.Variations(maps=maps, valid=np.ones_like(maps, dtype=bool))

    def note_starts(self) -> Any:
        return np.zeros(self.vocabulary_size, dtype=bool)

    def measure(self, piece: str, start: float, end: float) -> dict[str, Any]:
        return {}

    def copy_units(self, ids: muse.Ids, start: float, end: float) -> muse.CopyUnits:
        codes = self.encode(self.decode(ids)[round(start) : round(end)])[:, 0]
        return muse.CopyUnits.of_codes(codes, self.pad, round(start) + np.arange(len(codes), dtype=np.float64))

    def render(self, piece: str, soundfont: Any = None, loudness: float | None = None) -> None:
        return None

    def describe_sound(self, soundfont: Any = None, loudness: float | None = None) -> None:
        return None


def main(folder: Path) -> None:
    (folder / "tunes").mkdir(parents=True, exist_ok=True)
    for number, tune in enumerate(TUNES):
        (folder / "tunes" / f"{number}.abc").write_text(tune, encoding="ascii")
    tokenizer = AbcTokenizer()
    store = muse.prepare(folder / "tunes", folder / "store", tokenizer, held_out=0.1, overwrite=True)
    taps = muse.ShortcutConfig(taps=(1, 2), feature_map="residual", feature_width=32)
    shape = muse.ModelConfig(context=96, layers=3, width=48, heads=4, feed_forward=96, shortcut=taps)
    config = muse.TrainConfig(max_steps=60, batch_size=8, warmup_steps=5, eval_every=30, eval_windows=4, sample_every=0)
    result = muse.train(muse.TrainingOptions(data=store.folder, out=folder / "run", model=shape, train=config))
    print(f"{result.best_validation:.2f} nats per character")
    model = muse.load(result.folder)
    [made] = model.continue_(f"{HEAD}GABc d2", max_new_tokens=40, temperature=0.5, seed=1)
    print(made.piece)
    print(made.save(folder / "made.abc"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
