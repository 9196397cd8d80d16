"""Cores small enough to check by hand, and trainings of them in processes that can be killed.

Run as a program this is a nursery: it imports what `muse-train` needs once, then forks a process for every training it
is asked for. A training is then a real process with real files, and costs tenths of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor, nn

from muse_shortcut.config import MixingConfig, ModelConfig, ShortcutConfig
from muse_shortcut.model.core import Core

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

SHORTCUTS: dict[str, ShortcutConfig | None] = {
    "plain": None,
    "one tap": ShortcutConfig(taps=(1,), feature_width=17),
    "two taps": ShortcutConfig(taps=(1, 2), feature_width=17),
    "all depths": ShortcutConfig(taps=(1, 2), include_last=True, include_embedding=True, feature_width=17),
    "residual": ShortcutConfig(taps=(1, 3), feature_map="residual", feature_width=17),
    "linear": ShortcutConfig(taps=(1, 2), feature_map="linear", norm=False),
    "norm": ShortcutConfig(taps=(0, 2), feature_map="norm"),
    "column": ShortcutConfig(taps=(1, 2), scope="column", include_last=True, feature_width=17, norm=False),
    "column, one depth": ShortcutConfig(taps=(2,), scope="column", feature_map="norm"),
    "cross": ShortcutConfig(taps=(1, 2), scope="cross", include_last=True, feature_width=17),
    "nothing but the embedding": ShortcutConfig(taps=(), include_embedding=True, feature_map="linear"),
}
"""One core of each kind; `small_config` has four layers, so depths 0 to 3."""

CORES: dict[str, dict[str, Any]] = {name: {"shortcut": shortcut} for name, shortcut in SHORTCUTS.items()} | {
    "norm in all layers": {"query_key_norm": True},
    **{
        f"{kind}, {layers} layers": {"mixing": MixingConfig(kind=kind, layers=layers)}
        for kind in get_args(get_type_hints(MixingConfig)["kind"])
        for layers in ("last", "every")
    },
}
"""These and the cores without a shortcut, as the fields that differ."""


def core_config(name: str, **changes: Any) -> ModelConfig:
    """Return the configuration of one of CORES, with the sizes of `small_config`."""
    return small_config(**({"shortcut": None} | CORES[name] | changes))


def small_config(shortcut: ShortcutConfig | None, **changes: Any) -> ModelConfig:
    """V 11, K 1, context 13, L 4, D 30, H 3, C 10: distinct sizes, so that swapped axes are noticed."""
    sizes = {"vocabulary_size": 11, "context": 13, "layers": 4, "width": 30, "heads": 3, "feed_forward": 19}
    return ModelConfig(**(sizes | {"shortcut": shortcut} | changes))


def make_core(config: ModelConfig, device: str = "cpu", dtype: torch.dtype = torch.float64, seed: int = 0) -> Core:
    """Return a core with large random weights: at initialisation attention is nearly uniform, which hides mistakes."""
    core = Core(config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in core.parameters():
        spread = 1.5 / parameter.shape[-1] ** 0.5 if parameter.ndim >= 2 else 0.3
        nn.init.normal_(parameter, mean=0.0 if parameter.ndim >= 2 else 1.0, std=spread, generator=generator)
    return core.to(device, dtype).eval()


def random_ids(*shape: int, vocabulary: int = 11, device: str = "cpu", seed: int = 0) -> Tensor:
    return torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(seed)).to(device)


# Trainings in processes of their own


@dataclass(frozen=True)
class Outcome:
    """The outcome of a training."""

    code: int
    """Exit code; -9 if it was killed."""
    out: str
    err: str


class Nursery:
    """Runs `muse-train` with one thread, each time in a new process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )

    def train(
        self,
        *words: object,
        kill_at: int | None = None,
        kill_after: float | None = None,
        kill_before: tuple[str, int] | None = None,
        interrupt_at: int | None = None,
        largest_file: int | None = None,
    ) -> Outcome:
        """
        Args:
            words: the command line.
            kill_at: it kills itself just before its n-th renaming, syncing or removing of a file.
            kill_after: it is killed after that many seconds.
            kill_before: it kills itself before it puts a file of that name in its place for the n-th time.
            interrupt_at: it gets a Ctrl-C while it draws its n-th batch.
            largest_file: bytes that a file can have, as on a disk that is almost full.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "words": [str(word) for word in words],
            "kill_at": kill_at,
            "kill_after": kill_after,
            "interrupt_at": interrupt_at,
            "largest_file": largest_file,
            "kill_before": kill_before,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


def _serve() -> None:
    import miditok  # noqa: F401
    import torch._dynamo  # noqa: F401
    import yaml  # noqa: F401

    import muse_shortcut.checkpoints
    import muse_shortcut.commands.train
    import muse_shortcut.data.batches
    import muse_shortcut.data.store
    import muse_shortcut.training.loop
    import muse_shortcut.training.samples  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        # Pipes hold more than a training of this size prints, and fill no disk.
        (out, child_out), (err, child_err) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(child_out, 1)
            os.dup2(child_err, 2)
            _train(request)
        os.close(child_out)
        os.close(child_err)
        if request["kill_after"] is not None:
            time.sleep(request["kill_after"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        with os.fdopen(out) as out_text, os.fdopen(err) as err_text:
            outcome = {"out": out_text.read(), "err": err_text.read()}
        print(json.dumps(outcome | {"code": os.waitstatus_to_exitcode(status)}), flush=True)


def _train(request: dict[str, Any]) -> None:
    """Run the command in a forked process, with the requested disturbance."""
    from muse_shortcut.commands.train import main

    sys.argv = ["muse-train", *request["words"]]
    if request["kill_at"] is not None:
        _kill_at(request["kill_at"])
    if request["kill_before"] is not None:
        _kill_before(*request["kill_before"])
    if request["interrupt_at"] is not None:
        _interrupt_at(request["interrupt_at"])
    if request["largest_file"] is not None:
        limit_files(request["largest_file"])
    code: Any = 1
    try:
        with contextlib.suppress(KeyboardInterrupt):
            main()
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def limit_files(size: int) -> None:
    """Limit the files of this process to `size` bytes, so that writing fails as on a full disk."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _kill_at(call: int) -> None:
    calls = 0

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def with_a_count(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return with_a_count

    for name in ("fsync", "replace", "unlink", "rmdir"):
        setattr(os, name, deadly(getattr(os, name)))


def _kill_before(name: str, time_: int) -> None:
    replace, times = os.replace, 0

    def replace_or_die(source: Any, target: Any) -> None:
        nonlocal times
        times += Path(target).name == name
        if times == time_:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = replace_or_die  # type: ignore[assignment]


def _interrupt_at(batch: int) -> None:
    from muse_shortcut.data.batches import TrainingBatches

    drawn, draw = 0, TrainingBatches.__call__

    def draw_and_count(self: TrainingBatches, index: int) -> Any:
        nonlocal drawn
        drawn += 1
        if drawn == batch:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(self, index)

    TrainingBatches.__call__ = draw_and_count  # type: ignore[method-assign]


if __name__ == "__main__":
    _serve()
