"""Plans of comparisons (cores x seeds x stores x learning rates), read from YAML. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from muse_shortcut.checks import require, require_types
from muse_shortcut.config import MixingConfig, ModelConfig, ShortcutConfig, TrainConfig
from muse_shortcut.errors import ArgumentsError

__all__ = ["Job", "Plan", "plan_names", "read_plan"]

Kind = TypeVar("Kind")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run: one core, trained once."""

    store: str
    """Name of the store, which is that of its folder."""
    core: str
    """Name of the core in the plan."""
    seed: int
    """Seed of weights, batches and dropout."""
    rate: float
    """Factor of the learning rates."""
    model: ModelConfig
    """Configuration of the core, except for the vocabulary, which comes from the store."""
    train: TrainConfig
    test_windows: int
    """Number of windows of the validation and test splits on which a finished core is evaluated."""

    def digest(self, data: str) -> str:
        """Digest of everything that determines the result, except for the machine; `data` is the digest of the store.

        Finished runs are identified by it, so that a plan can grow without repeating them.
        """
        decisive = [data, self.seed, self.test_windows, _chosen(self.model), _chosen(self.train)]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def name(self, digest: str) -> str:
        """Name of the folder of this run."""
        return f"{self.store}-{self.core}-seed{self.seed}-rate{self.rate:g}-{digest[:8]}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A comparison."""

    name: str
    about: str = ""
    """The question that the comparison should answer."""
    stores: tuple[str, ...]
    """Names of stores."""
    seeds: tuple[int, ...] = (0,)
    rates: tuple[float, ...] = (1.0,)
    """Factors by which the learning rates of `train` are multiplied."""
    tokens: int = 2_000_000
    """Number of training tokens of each core."""
    warmup: float = 0.05
    """Fraction of the steps in which the learning rate warms up."""
    fall: float = 0.4
    """Fraction of the steps, at the end, in which it decays linearly."""
    evaluations: int = 10
    """Number of evaluations on the validation split during training."""
    test_windows: int = 256
    """Number of windows of the validation and test splits on which a finished core is evaluated."""
    shape: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `ModelConfig` that all cores share."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `TrainConfig`; lengths and intervals follow from the fields above."""
    cores: Mapping[str, Mapping[str, Any]]
    """Cores by name, each with the fields of `ModelConfig` in which it differs. The first one is the baseline."""

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("tokens", "evaluations", "test_windows"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("stores", "seeds", "rates", "cores"):
            require(len(getattr(self, name)) > 0, name, list(getattr(self, name)), "at least one")
        require(0 <= self.warmup < 1 and 0 < self.fall <= 1 - self.warmup, "fall", self.fall, "0 to 1 - warmup")
        for names in (self.stores, tuple(self.cores)):
            for name in names:
                sound = isinstance(name, str) and name and all(c.isalnum() or c in "_-" for c in name)
                require(bool(sound), "a name", name, "letters, digits, _ and -")
        require(all(type(seed) is int and 0 <= seed < 2**63 for seed in self.seeds), "seeds", self.seeds, "0 to 2^63")
        require(all(type(r) in (int, float) and r > 0 for r in self.rates), "rates", self.rates, "numbers above 0")
        models: dict[ModelConfig, str] = {}
        for core in self.cores:
            same = models.setdefault(self.model(core), core)
            require(same == core, f"cores.{core}", same, "each core only once")
        self.training(1.0)

    @property
    def baseline(self) -> str:
        """The core that the others are compared to."""
        return next(iter(self.cores))

    def model(self, core: str) -> ModelConfig:
        """Return the configuration of a core."""
        return _model({**self.shape, **self.cores[core]}, core)

    def training(self, rate: float) -> TrainConfig:
        """Return the training configuration of the runs with this learning-rate factor."""
        values = dict(self.train)
        own = {"max_steps", "warmup_steps", "decay_steps", "eval_every", "save_every", "patience", "sample_every"}
        for name in own & values.keys():
            raise ArgumentsError(f"train.{name} follows from other fields of the plan; remove it")
        base = _build(TrainConfig, values, "train")
        steps = max(1, round(self.tokens / (base.batch_size * base.accumulation * self._context())))
        every = max(1, round(steps / self.evaluations))
        return replace(
            base,
            max_steps=steps,
            warmup_steps=int(steps * self.warmup),
            decay_steps=max(1, int(steps * self.fall)),
            eval_every=every,
            save_every=every,
            keep=1,
            sample_every=0,
            tensorboard=False,
            learning_rate=base.learning_rate * rate,
            final_learning_rate=base.final_learning_rate * rate,
            embedding_learning_rate=base.embedding_learning_rate * rate,
        )

    def _context(self) -> int:
        """Return the context of all cores, which must agree because they share the batches."""
        contexts = {self.model(core).context for core in self.cores}
        require(len(contexts) == 1, "context", sorted(contexts), "the same for all cores, which share the batches")
        return contexts.pop()

    def jobs(self) -> Iterator[Job]:
        """Yield all runs; runs that are compared with each other are adjacent."""
        for seed in self.seeds:
            for store in self.stores:
                for core in self.cores:
                    for rate in self.rates:
                        yield Job(
                            store=store,
                            core=core,
                            seed=seed,
                            rate=float(rate),
                            model=self.model(core),
                            train=self.training(rate),
                            test_windows=self.test_windows,
                        )

    def shrunk(self, factor: float) -> Plan:
        """Return the plan with the tokens and evaluation windows multiplied by `factor`."""
        require(0 < factor <= 1000, "shrink", factor, "more than 0, up to 1000")
        if factor == 1.0:
            return self
        return replace(
            self,
            tokens=max(1, round(self.tokens * factor)),
            test_windows=max(1, round(self.test_windows * factor)),
        )

    def to_json(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_json(cls, content: Any) -> Plan:
        """Build a plan from parsed YAML or JSON. Raises ArgumentsError if a field is unknown, missing or out of its
        range."""
        if not isinstance(content, dict):
            raise ArgumentsError(f"a plan is {type(content).__name__}; allowed: a mapping of fields")
        values = {str(name): tuple(value) if isinstance(value, list) else value for name, value in content.items()}
        for name in ("shape", "train", "cores"):
            if not isinstance(values.get(name, {}), Mapping):
                raise ArgumentsError(f"{name} is {values[name]!r}; allowed: a mapping of fields")
        cores: Any = values.get("cores", {})
        for name, core in cores.items():
            if not isinstance(core, Mapping):
                raise ArgumentsError(f"cores.{name} is {core!r}; allowed: a mapping of fields, {{}} for none")
        return _build(cls, values, "a plan")


def _chosen(config: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults: a field that is added later must not change the digests of
    finished runs."""
    chosen: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            chosen[item.name] = _chosen(value)
        elif value != (item.default if item.default_factory is MISSING else item.default_factory()):
            chosen[item.name] = value
    return chosen


def _model(values: Mapping[str, Any], core: str) -> ModelConfig:
    content = dict(values)
    if isinstance(content.get("shortcut"), Mapping):
        shortcut = {name: tuple(v) if isinstance(v, list) else v for name, v in content["shortcut"].items()}
        content["shortcut"] = _build(ShortcutConfig, shortcut, f"cores.{core}.shortcut")
    if isinstance(content.get("mixing"), Mapping):
        content["mixing"] = _build(MixingConfig, content["mixing"], f"cores.{core}.mixing")
    return _build(ModelConfig, content, f"cores.{core}")


def _build(kind: type[Kind], content: Mapping[str, Any], place: str) -> Kind:
    allowed = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    for name in content:
        if name not in allowed:
            raise ArgumentsError(f"{place} has the unknown field {name!r}; allowed: {', '.join(allowed)}")
    try:
        return kind(**content)
    except TypeError as error:
        raise ArgumentsError(f"{place}: {str(error).split('() ')[-1]}") from error
    except ArgumentsError as error:
        raise error if kind is Plan else ArgumentsError(f"{place}: {error}") from error


def _plan_folder() -> Path:
    """Return the folder of the plans: inside the package in a wheel, next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "data_recipes"
    return (installed if installed.is_dir() else package.parent / "data_recipes") / "comparisons"


def plan_names() -> tuple[str, ...]:
    """Return the names of the plans that come with the project, sorted."""
    return tuple(sorted(path.stem for path in _plan_folder().glob("*.yaml")))


def read_plan(name_or_path: str) -> Plan:
    """Read a plan of the project by name, or any plan by the path of its .yaml or .json file.

    Raises:
        ArgumentsError: There is no such plan, it cannot be read, or a field is unknown, missing or out of its range.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml", ".json"):
        if name_or_path not in plan_names():
            allowed = f"{', '.join(plan_names())}, or the path of a .yaml file"
            raise ArgumentsError(f"found no plan {name_or_path!r}; allowed: {allowed}")
        path = _plan_folder() / f"{name_or_path}.yaml"
    try:
        return Plan.from_json(_read(path))
    except ArgumentsError as error:
        raise ArgumentsError(f"{path}: {error}") from None


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ArgumentsError(f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ArgumentsError("is not text") from error
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArgumentsError("is not JSON") from error
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ArgumentsError(f"is not YAML{f' at line {mark.line + 1}' if mark is not None else ''}") from error
