"""A custom domain, tunes in ABC notation: python examples/own_tokenizer_abc.py FOLDER

An id is a character. A tune is a `str`, positions in it are bytes, and a continuation begins at a bar line.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import muse_shortcut as muse

HEAD = "X:1\nM:4/4\nL:1/8\nK:G\n"
TUNES = [f"{HEAD}GABc d2{a}2|edcB A2{b}2|GABc dedc|B2{a}2 G4|]\n" for a in "BGdg" for b in "FDAd"]
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))


class AbcTokenizer(muse.Tokenizer[str]):
    kind, streams, vocabulary_size = "abc", 1, 99
    pad, begin, end = 96, 97, 98

    def vocabulary(self) -> list[str]:
        return [*CHARACTERS, "PAD", "BEGIN", "END"]

    def encode(self, piece: str) -> muse.Ids:
        return np.array([CHARACTERS.index(one) for one in piece], dtype=np.int64)[:, None]

    def decode(self, ids: muse.Ids) -> str:
        return "".join(CHARACTERS[number] for number in ids[:, 0].tolist() if number < self.pad)


class AbcDomain(muse.Domain[str]):
    info = muse.DomainInfo(
        title="Tunes", noun="tunes", counted="characters", suffixes=frozenset({".abc"}), suffix=".abc", words=True
    )
    unit, view = "bytes", "text"

    def loads(self, data: bytes, name: str = "the tune", *, warn: Any = None) -> str:
        text = data.decode("ascii", "replace").replace("\r\n", "\n")
        if not text or set(text) - set(CHARACTERS):
            raise muse.UnreadablePieceError(f"{name} is not ABC notation in ASCII")
        return text

    def dumps(self, piece: str) -> bytes:
        return piece.encode("ascii")

    def duration(self, piece: str) -> float:
        return float(len(piece))

    def find_split_point(self, piece: str, length: float) -> float:
        return float(piece.rfind("|", 0, max(1, int(length))) + 1 or min(len(piece), length))


muse.register_domain(AbcTokenizer, AbcDomain)


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
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/own_tokenizer_abc.py FOLDER")
    main(Path(sys.argv[1]))
