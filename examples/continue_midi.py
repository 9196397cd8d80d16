"""Continue a MIDI file, listen to the result, and explain a note: python examples/continue_midi.py FOLDER [song.mid]"""

import sys
from pathlib import Path

import muse_shortcut as muse


def main(folder: Path, prompt: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model = muse.load("midi")
    best, other = model.continue_(prompt, prompt_seconds=8, seconds=3, num_samples=2, seed=7)
    print(best)
    for ending in ("mid", "wav", "json", "png"):
        print("wrote", best.save(folder / f"best.{ending}"))
    other.save(folder / "other.mid")

    # A continuation can be continued, here step by step; the part so far is available at any time.
    stream = best.stream(seconds=1.5, seed=8)
    for event in stream:
        if event.step % 20 == 0:
            print(f"step {event.step}: {event.elapsed[0]:.1f} s")
    [longer] = stream.continuations()
    longer.save(folder / "longer.mid")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/continue_midi.py FOLDER [song.mid]")
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "bach-prelude")
