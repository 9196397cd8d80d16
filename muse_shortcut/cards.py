"""Model cards, written from the metadata of a checkpoint. Reads no files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from muse_shortcut.config import ModelConfig
from muse_tokenizers.built_in import domain_info
from muse_tokenizers.wording import counted

__all__ = ["ancestors", "licence_of", "model_card", "parent_facts", "sources_of", "with_metadata"]


def parent_facts(name: str, digest: str, facts: dict[str, Any], card: str) -> dict[str, Any]:
    """Return what the metadata of a fine-tuned checkpoint says about its parent.

    Args:
        name: Name of the parent.
        digest: SHA-256 of the parent's weights.
        facts: Training metadata of the parent.
        card: Model card of the parent.
    """
    return {"name": name, "sha256": digest, "licence": licence_of(card), "facts": facts}


def licence_of(card: str) -> str:
    """Return the paragraph on the licence of a model card; empty if there is none."""
    _, _, after = card.partition("\n## Licence\n")
    return " ".join(after.partition("\n## ")[0].split())


def model_card(name: str, domain: str, shape: ModelConfig, parameters: int, facts: dict[str, Any]) -> str:
    """Write the model card of a checkpoint.

    Args:
        name: Name of the model.
        domain: Kind of the domain.
        shape: Configuration of the network.
        parameters: Number of parameters.
        facts: Training metadata, including that of its parent; of a run whose best checkpoint is step 0, also
            `unimproved_steps`.
    """
    kind = "a plain GPT" if shape.shortcut is None else f"its last layer attends to {_depths(shape)}"
    lines = [
        *_metadata(domain),
        f"# {name}",
        "",
        f"Continues {domain_info(domain).content or domain} with muse-shortcut. {parameters:,} parameters: "
        f"{counted(shape.layers, 'layer')}, width {shape.width}, {counted(shape.heads, 'head')}, context "
        f"{shape.context:,}; {kind}. This card was generated "
        "from the metadata of the training.",
        "",
    ]
    parents = list(ancestors(facts))
    for one in parents[:1]:
        lines += ["## Parent", "", f"{_origin(facts, one)}{_training(one['facts'])}", ""]
    unchanged = ["Data of the fine-tuning, which did not change the weights:", ""] if _is_parent(facts) else []
    lines += ["## Data", "", *unchanged, *_data(facts), ""]
    for one in parents:
        lines += [f"The parent {one['name']} was trained on:", "", *_data(one["facts"]), ""]
    lines += ["## Training", "", *_details(facts), "", "## Results", "", _figures(facts, shape), ""]
    return "\n".join([*lines, "## Licence", "", *_licences(facts, parents)]) + "\n"


def with_metadata(card: str, domain: str) -> str:
    """Return a card with the YAML metadata that the Hugging Face Hub reads; unchanged if it has some."""
    return card if card.startswith("---\n") else "\n".join([*_metadata(domain), card.lstrip()])


def _metadata(domain: str) -> list[str]:
    kind = domain_info(domain).tags or (domain,)
    return ["---", "library_name: muse-shortcut", "tags:", *(f"- {tag}" for tag in [*kind, "muse-shortcut"]), "---", ""]


def _depths(shape: ModelConfig) -> str:
    words = [str(depth) for depth in shape.depths]
    return f"depth {words[0]}" if len(words) == 1 else f"depths {', '.join(words[:-1])} and {words[-1]}"


def ancestors(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parent, its parent, and so on, as far as they are known."""
    parent = facts.get("parent")
    while isinstance(parent, dict):
        known = parent.get("facts")
        one = {
            "name": "of unknown name",
            "sha256": "",
            "licence": "",
            **parent,
            "facts": known if isinstance(known, dict) else {},
        }
        yield one
        parent = one["facts"].get("parent")


def _describe_parent(parent: dict[str, Any]) -> str:
    return f"{parent['name']} (SHA-256 of its weights: {parent['sha256'] or 'not known'})"


def _is_parent(facts: dict[str, Any]) -> bool:
    """Whether the weights are those of the parent."""
    return isinstance(facts.get("parent"), dict) and facts.get("steps") == 0


def _origin(facts: dict[str, Any], parent: dict[str, Any]) -> str:
    if not _is_parent(facts):
        return f"Fine-tuned from {_describe_parent(parent)}."
    tried = facts.get("unimproved_steps")
    why = f"none of {tried:,} steps of fine-tuning improved" if tried else "no step of fine-tuning has improved"
    return f"These weights are those of {_describe_parent(parent)}, unchanged: {why} the validation."


def _training(facts: dict[str, Any]) -> str:
    if "steps" not in facts or "tokens_seen" not in facts:
        return ""
    return (
        f" The parent was trained for {counted(facts['steps'], 'step')}, over {counted(facts['tokens_seen'], 'token')}."
    )


def sources_of(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sources of the data in the metadata of a checkpoint, as the manifest of its store describes them."""
    data = facts.get("data")
    sources = data.get("sources") if isinstance(data, dict) else None
    return [one for one in sources if isinstance(one, dict)] if isinstance(sources, list) else []


def _data(facts: dict[str, Any]) -> list[str]:
    sources = sources_of(facts)
    if not sources:
        return ["Not known."]
    rows = ["| source | files | licence |", "| --- | --- | --- |"]
    for one in sources:
        title = one.get("title") or "local files"
        rows.append(f"| {title} | {one.get('files', 'not known')} | {one.get('licence') or 'not stated'} |")
    splits = facts.get("splits")
    if isinstance(splits, dict):
        counts = [f"{split}: {_number(of, 'piece')}, {_number(of, 'token')}" for split, of in splits.items()]
        rows += ["", "; ".join(counts) + "."]
    return rows


def _number(counts: Any, noun: str) -> str:
    found = counts.get(f"{noun}s") if isinstance(counts, dict) else None
    return counted(found, noun) if isinstance(found, int) else f"unknown {noun}s"


def _details(facts: dict[str, Any]) -> list[str]:
    if "steps" not in facts:
        return ["Not trained, or not recorded."]
    train = facts.get("train") if isinstance(facts.get("train"), dict) else {}
    assert isinstance(train, dict)
    if _is_parent(facts):
        return ["These weights are those of the parent, before any training step; see Parent."]
    parts = [counted(facts["steps"], "step"), counted(facts.get("tokens_seen", 0), "token")]
    parts += [counted(facts["training_seconds"], "second", ",.0f")] if "training_seconds" in facts else []
    parts += [
        f"{name.replace('_', ' ')} {train[name]}"
        for name in ("optimiser", "learning_rate", "batch_size")
        if name in train
    ]
    parts += [f"seed {facts['seed']}"] if "seed" in facts else []
    return [", ".join(parts) + ". All options are in `config.json`."]


def _figures(facts: dict[str, Any], shape: ModelConfig) -> str:
    best = facts.get("best_validation_nats_per_token")
    if not isinstance(best, (int, float)):
        return "No results were recorded during training."
    train, splits = facts.get("train"), facts.get("splits")
    windows = train.get("eval_windows") if isinstance(train, dict) else None
    held_out = splits.get("validation") if isinstance(splits, dict) else None
    where = "the validation split"
    if isinstance(held_out, dict) and not held_out.get("pieces"):
        where = "the training pieces, since the store has no validation split"
    lowest = "of the parent" if _is_parent(facts) else "the lowest of the training"
    return (
        f"Validation {best:.4f} nats per token, {lowest}, over up to {windows or 'some'} windows of "
        f"{shape.context:,} steps of {where}."
    )


def _licences(facts: dict[str, Any], parents: list[dict[str, Any]]) -> list[str]:
    everything = [*sources_of(facts), *(source for one in parents for source in sources_of(one["facts"]))]
    known = sorted({str(one["licence"]) for one in everything if one.get("licence")})
    licences = ", ".join(known) or "none are known"
    advice = "Check that they permit distribution before you distribute the weights."
    lines = [f"Licences of the data: {licences}. {advice}"]
    restricted = [str(one.get("title")) for one in everything if one.get("weights_may_ship") is False]
    if restricted:
        titles = ", ".join(dict.fromkeys(restricted))
        lines += ["", f"According to their recipes, weights trained on these must not be distributed: {titles}."]
    if any(not one.get("licence") for one in everything):
        lines += ["", "The licences of local files are not known."]
    named = [f"- {one.get('title')}: {one['credit']}" for one in everything if one.get("credit")]
    if named:
        lines += ["", "Credit:", "", *dict.fromkeys(named)]
    for one in parents:
        lines += ["", f"The parent {one['name']}: {one['licence'] or 'its card states no licence.'}"]
    return lines
