"""Hide sources from a token and score it again: python examples/ablate_source.py FOLDER"""

import json
import sys
from pathlib import Path

import muse_shortcut as muse


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model = muse.load("midi")
    [made] = model.continue_("bach-prelude", prompt_seconds=6, seconds=2, seed=7)
    found = made.explain(step=made.step_at(made.start + 1))
    [token] = found.tokens
    print(f"{token.label}, {-sum(found.log_probability):.2f} nats; when a source is hidden, it costs:")
    for ablation in found.depths:
        print(f"  depth {ablation.depth}: attention {ablation.weight:.2f}, {-sum(ablation.change):+.2f} nats")
    for ablation in found.spans[:5]:
        assert ablation.span is not None
        where = f"{ablation.span.label} at {ablation.span.start:.2f} s"
        print(f"  {where}: attention {ablation.weight:.2f}, {-sum(ablation.change):+.2f} nats")
    (folder / "explained.json").write_text(json.dumps(found.to_json()), encoding="utf-8")
    made.plot(folder / "why.png", step=found.step)

    # A branch replaces the id at a step, and samples everything after it again.
    second = int(made.trace.alternatives[found.step, 0, 1])
    [branch] = made.branch(found.step, second).run()
    branch.save(folder / "branch.mid")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/ablate_source.py FOLDER")
    main(Path(sys.argv[1]))
