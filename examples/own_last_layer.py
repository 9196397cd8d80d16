"""A custom last layer in training, generation and traces: python examples/own_last_layer.py FOLDER

Each head attends to all positions of a single depth: head h to depth h modulo n.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import muse_shortcut as muse


class OneDepthPerHead(nn.Module):
    def __init__(self, config: muse.ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key_value = nn.Linear(config.width, 2 * config.width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def forward(self, h: Tensor, depths: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the layer: (B, T, D) and (B, n, T, D), with sources `hidden` (B, n, T) -> (B, T, D) and (B, H, n,
        T)."""
        B, n, T, _ = depths.shape
        choice = torch.arange(self.heads, device=h.device) % n  # (H,)
        query = self.query(self.norm(h)).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, C)
        both = self.key_value(self.norm(depths)).unflatten(-1, (2, self.heads, -1))  # (B, n, T, 2, H, C)
        heads = torch.arange(self.heads, device=h.device)
        key, value = both[:, choice, :, :, heads].permute(3, 1, 0, 2, 4)  # (B, H, T, C) each
        scores = query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
        unseen = torch.ones(T, T, dtype=torch.bool, device=h.device).triu(1).expand(B, self.heads, T, T)
        if hidden is not None:
            unseen = unseen | hidden[:, choice, None, :]
        weights = scores.masked_fill(unseen, -torch.inf).softmax(-1).nan_to_num(0.0)  # all hidden: weights 0
        out = h + self.output((weights @ value).transpose(1, 2).flatten(2))
        last = weights.new_zeros(B, self.heads, n, T)
        last[:, heads, choice] = weights[:, :, -1] / weights[:, :, -1].sum(-1, keepdim=True).clamp_min(1e-9)
        return out, last


muse.register_last_layer("one_depth_per_head", OneDepthPerHead)


def main(folder: Path) -> None:
    texts = Path(muse.__file__).parent / "shipped" / "prompts" / "text"
    store = muse.prepare(texts, folder / "store", muse.load_tokenizer("text"), overwrite=True)
    taps = muse.ShortcutConfig(taps=(1, 2), feature_map="norm")
    shape = muse.ModelConfig(
        context=64, layers=3, width=32, heads=4, feed_forward=64, shortcut=taps, last_layer="one_depth_per_head"
    )
    config = muse.TrainConfig(max_steps=10, batch_size=4, warmup_steps=2, eval_windows=4, sample_every=0)
    result = muse.train(muse.TrainingOptions(data=store.folder, out=folder / "run", model=shape, train=config))
    [made] = muse.load(result.folder).continue_("The sea", max_new_tokens=20, seed=1)
    print(made, made.trace.depth_share[-1].round(2), sep="\n")  # (n, H): each head has one depth
    made.save(folder / "made.npz")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/own_last_layer.py FOLDER")
    main(Path(sys.argv[1]))
