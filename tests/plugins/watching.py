"""What moves in a real run: a method that notes the model as it was built, and before and behind each epoch's steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.conftest import draw_folder
from tests.engine.conftest import Heard
from tlstudio.api import Method, Options
from tlstudio.api.method_modules import MethodContext, MethodModule
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run
from tlstudio.testing.components import TinyConvNet

State = dict[str, Tensor]

TINY: dict[str, Any] = {"name": "tiny_conv_net"}


def norm(layer: str) -> set[str]:
    """Names of a BatchNorm, parameters and buffers."""
    return {f"{layer}.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}


# The state of the tiny convolutional network, group by group, and of a linear head.
STEM = {"backbone.stem.0.weight", *norm("backbone.stem.1")}
STAGE_1 = {
    "backbone.stage1.0.0.weight",
    *norm("backbone.stage1.0.1"),
    "backbone.stage1.1.0.weight",
    *norm("backbone.stage1.1.1"),
}
STAGE_2 = {"backbone.stage2.0.0.weight", *norm("backbone.stage2.0.1")}
BACKBONE = STEM | STAGE_1 | STAGE_2
CENTRE = {"head.centre.mean", "head.centre.known"}  # measured once, on the first batch
LAYER = {"head.output.weight", "head.output.bias"}
HEAD = CENTRE | LAYER
ADAPTED = ("stem.0", "stage1.1.0", "stage2.0.0")  # its convolutions without groups
LORA = {f"backbone.{layer}.lora_{half}.default.weight" for layer in ADAPTED for half in "AB"}


@dataclass
class Seen:
    """States of the model of a run, each a copy.

    Attributes:
        start: As it was built, before any method has done anything.
        begun: Before the first step of each epoch.
        ended: Behind the last step of each epoch.
        modules: What was built of all methods of the run.
    """

    start: State
    begun: list[State] = field(default_factory=list)
    ended: list[State] = field(default_factory=list)
    modules: Sequence[Any] = ()


class Watcher(MethodModule):
    """Changes nothing."""

    def __init__(self, context: MethodContext, seen: Seen) -> None:
        super().__init__(context)
        self._seen = seen

    def on_epoch_start(self, epoch: int) -> None:
        self._seen.modules = self.context.modules()[1:]
        self._seen.begun.append(copied(self.context.model.state_dict()))

    def on_epoch_end(self) -> None:
        self._seen.ended.append(copied(self.context.model.state_dict()))


class Watch(Method):
    """The method of the module above; it keeps what the last run has shown."""

    name, title, description = "watch", "Watch", "Notes what moves."
    seen: Seen

    def build(self, context: MethodContext, options: Options) -> MethodModule:
        self.seen = Seen(copied(context.model.state_dict()))
        return Watcher(context, self.seen)


@dataclass
class Bench:
    """Where runs are watched: a project with ``shapes`` and ``others``, drawings of the same three classes."""

    project: Project
    registry: Registry
    watch: Watch

    def run(
        self,
        strategy: Any,
        methods: Mapping[str, Any] | None = None,
        dataset: str = "shapes",
        shots: int = 4,
        **parts: Any,
    ) -> tuple[Run, Seen, Heard]:
        """Make a run of two steps an epoch, two epochs if nothing else is said, and return what was seen and heard."""
        training = {"epochs": 2, "batch_size": 6, "learning_rate": 0.01, "warmup": 0.0, "schedule": "constant"}
        recipe: dict[str, Any] = {
            "dataset": {"name": dataset, "shots": shots},
            "backbone": TINY,
            "strategy": strategy,
            "methods": {"watch": {}, **(methods or {})},
            **parts,
            "training": {**training, "keep": "last", "checkpoint_every": 0, **parts.get("training", {})},
        }
        heard = Heard()
        completed = complete(recipe, self.project.dataset(dataset), self.registry)
        run = execute_run(completed, self.project, self.registry, on_event=heard, control=heard.control)
        assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
        return run, self.watch.seen, heard


@contextmanager
def opened(folder: Path, registry: Registry) -> Iterator[Bench]:
    """Open a bench in an empty folder."""
    watch = Watch()
    with Project.create(folder / "project", "Watched runs") as project:
        for name, per_class, seed in (("shapes", 8, 0), ("others", 6, 3)):
            source = draw_folder(folder / name, per_class, seed)
            request, _ = plan_import(registry.formats.values(), source, name=name, task="classification")
            import_dataset(request, project.datasets_folder)
        labels = [registry.add(part) for part in (watch, TinyConvNet())]
        try:
            yield Bench(project, registry, watch)
        finally:
            for label in labels:
                registry.remove(label)


def copied(state: Mapping[str, Tensor]) -> State:
    """Copy a state."""
    return {name: tensor.clone() for name, tensor in state.items()}


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    """Name what is not bit for bit what it was; both states have the same names."""
    assert before.keys() == after.keys()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def plain_names(state: Mapping[str, Tensor]) -> State:
    """The part of a state that was there before PEFT has put something in, by the names that it had then."""
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in state.items()
        if ".lora_" not in name and ".lokr_" not in name and ".oft_" not in name
    }
