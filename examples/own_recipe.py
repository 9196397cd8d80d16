"""A custom data recipe: which files of a folder are used, their licence, and their splits.

    python examples/own_recipe.py FOLDER

A recipe is a YAML file, which `muse-prepare midi mine.yaml=FOLDER --out STORE` accepts too.
"""

import shutil
import sys
from pathlib import Path

import muse_shortcut as muse

RECIPE = """
name: etudes
title: Studies that I wrote
domain: midi
url: null            # nobody serves them: they are in a folder of mine
sha256: null
archive: null
licence:
  name: CC BY 4.0
  url: https://creativecommons.org/licenses/by/4.0/
  weights_may_ship: true
include: ["**/*.mid"]
exclude: ["drafts/**"]
split: {kind: official folders, names: {train: train, held-out: validation}}
tokenizer: remi
"""


def main(folder: Path) -> None:
    music = folder / "music"
    shipped = sorted((Path(muse.__file__).parent / "shipped" / "prompts" / "midi").glob("*.mid"))
    places = ["train", "train", "held-out", "drafts"]
    for path, place in zip(shipped, places, strict=False):
        (music / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, music / place)
    (folder / "etudes.yaml").write_text(RECIPE, encoding="utf-8")

    recipe = muse.load_recipe(folder / "etudes.yaml")
    store = muse.prepare((recipe, music), folder / "store", muse.load_tokenizer("midi"), overwrite=True)
    for piece in store.pieces:
        print(f"{piece.split:>10}  {piece.name}  {piece.tokens} tokens, {piece.seconds or 0:.1f} s")
    print(store.manifest["source"])


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/own_recipe.py FOLDER")
    main(Path(sys.argv[1]))
