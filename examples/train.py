"""Prepare files, train a model on them, and evaluate it: python examples/train.py FOLDER [folder of .txt files]

The shipped model is fine-tuned for a few steps; leave `start` out to train a new one.
"""

import sys
from pathlib import Path

import muse_shortcut as muse


class Printing(muse.TrainingObserver):
    def stepped(self, status: muse.Status) -> None:
        if status.validation is not None:
            print(f"step {status.step}: validation {status.validation:.3f} nats per token")

    def should_stop(self) -> bool:
        return False  # True ends the training with a checkpoint; `resume=True` continues it


def main(folder: Path, texts: Path) -> None:
    store = muse.prepare(texts, folder / "store", muse.load_tokenizer("text"), held_out=0.2, overwrite=True)
    inputs, targets = muse.TrainingBatches(store.split("train"), context=64, batch=2, seed=0)(0)
    print("a batch:", inputs.shape, "ids, and the ids that follow them:", targets.shape)

    before = muse.evaluate_likelihood(muse.load("text"), store)
    config = muse.TrainConfig(
        max_steps=3, batch_size=1, window=128, decay_steps=1, warmup_steps=1, eval_windows=1, sample_every=0
    )
    options = muse.TrainingOptions(data=store.folder, out=folder / "run", start="text", train=config, seed=1)
    result = muse.train(options, Printing())

    model = muse.load(result.folder)
    after = muse.evaluate_likelihood(model, store)
    print(f"{before.together.nats_per_token:.3f} -> {after.together.nats_per_token:.3f} nats per token")
    [made] = model.continue_("The", bytes=80, seed=3)
    made.save(folder / "made.txt")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/train.py FOLDER [folder of .txt files]")
    shipped = Path(muse.__file__).parent / "shipped" / "prompts" / "text"
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else shipped)
