"""Ensembles: several runs, or the snapshots of one, predict together by the mean of their probabilities or values.

Imports torch.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from tlstudio.api import MODALITIES, DataError, Prediction, Problem, ProblemsError, Rejected, RunError, Sample, Split
from tlstudio.engine.assemble import load_run_model, preprocessor_of, split_data
from tlstudio.engine.checkpoint import Kind, find_snapshots
from tlstudio.engine.control import RunControl
from tlstudio.engine.derived import HELD_OUT, Progress, check_finished, silent
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.measuring import measured, run_split
from tlstudio.engine.predict import Predictor
from tlstudio.engine.recipe import parse_recipe
from tlstudio.engine.soups import check_alike
from tlstudio.engine.used_data import check_unchanged, recorded_data, revision_of
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run


@dataclass(frozen=True, slots=True)
class EnsembleReport:
    """What several runs are worth together.

    Attributes:
        runs: Their ids, or what the snapshots are called.
        members: Metrics of each alone, by split and name, in this order.
        together: Metrics of the mean of what they predict.
        monitor: The metric by which they have chosen their best epochs.
    """

    runs: tuple[str, ...]
    members: tuple[Mapping[str, Mapping[str, float]], ...]
    together: Mapping[str, Mapping[str, float]]
    monitor: str

    def common(self, split: str) -> list[str]:
        """Names of the metrics that all of them have on a split."""
        return [name for name in self.together[split] if all(name in one[split] for one in self.members)]

    def spread(self, split: str, metric: str) -> tuple[float, float]:
        """Mean and standard deviation (with n - 1) of a metric over the runs alone."""
        values = [one[split][metric] for one in self.members]
        return statistics.fmean(values), statistics.stdev(values)


@dataclass(frozen=True, slots=True)
class _Member:
    """A model of an ensemble.

    Attributes:
        run: Its run.
        kind: Which of its checkpoints.
    """

    run: Run
    kind: Kind = "best"

    @property
    def title(self) -> str:
        """The id of the run, and which snapshot of it."""
        return f"{self.run.id} {self.kind.replace('-', ' ')}" if self.kind != "best" else self.run.id


def _members(runs: Sequence[Run], registry: Registry) -> list[_Member]:
    """The best models of several runs, or the snapshots of a single one."""
    if len(runs) != 1:
        check_alike(runs, registry, same_weights=False)
        return [_Member(run) for run in runs]
    (run,) = runs
    check_finished(run)
    kinds = find_snapshots(run.folder / "checkpoints")
    if len(kinds) < 2:
        kept = "a single snapshot, and none is there that it could predict with" if kinds else "no snapshots that could"
        raise RunError(
            f"Run {run.id} has kept {kept} predict together.",
            "Name more runs, or train with the method snapshots.",
        )
    return [_Member(run, kind) for kind in kinds]


def measure_ensemble(
    runs: Sequence[Run],
    project: Project,
    registry: Registry,
    *,
    splits: Sequence[Split] = HELD_OUT,
    control: RunControl | None = None,
    on_progress: Progress = silent,
) -> EnsembleReport:
    """Measure several runs, or the snapshots of one, alone and together.

    Args:
        runs: Finished runs that answer the same question about the same data; their backbones may differ. Or a single
            one that has kept snapshots.
        project: Their project.
        registry: The components.
        splits: On which splits. Of runs that hold other folds out, the validation split is left out: what one of them
            has not seen, the others have learned.
        control: Cancel.
        on_progress: Hears how far it is.

    Raises:
        ProblemsError: They cannot be put together.
        RunError: One was not trained to its end, or what they predict has no mean.
        Interrupted: Cancel was asked for.
    """
    models = _members(runs, registry)
    recipes = [parse_recipe(one.run.read_recipe()) for one in models]
    revision = revision_of(models[0].run, project)
    for run in runs:
        check_unchanged(revision, recorded_data(run))
    if any(recipe.dataset.folds for recipe in recipes):
        splits = [split for split in splits if split == "test"]
    splits = [split for split in splits if len(revision.indices(split))]
    if not splits:
        raise RunError(f"'{revision.dataset}' has no samples that none of these runs has learned from.")
    members: list[dict[str, Mapping[str, float]]] = []
    gathered: dict[Split, list[Tensor]] = {split: [] for split in splits}
    heads = []
    for one, recipe in zip(models, recipes, strict=True):
        parts, model = load_run_model(one.run, registry, one.kind)
        device = torch.device(resolve_device(recipe.training.device))
        model.to(device)
        preprocessor = preprocessor_of(parts, assets=one.run.assets)
        metrics: dict[str, Mapping[str, float]] = {}
        for split in splits:
            data = split_data(revision, split, model.head, preprocessor, batch_size=recipe.training.batch_size)

            def after_batch(done: int, title: str = one.title, total: int = len(data.ids)) -> None:
                on_progress(f"Run {title}", done, total)
                if control is not None:
                    control.check_cancelled()

            outputs = run_split(model, model, data, device, after_batch)
            if outputs.output is None:
                raise RunError(f"There is no mean of what several models with the head {parts.head.title} predict.")
            gathered[split].append(outputs.output)
            metrics[split] = outputs.metrics
        heads.append(model.head.cpu())
        members.append(metrics)
    together: dict[str, Mapping[str, float]] = {}
    for split in splits:
        output = heads[0].mean_output(list(zip(heads, gathered[split], strict=True)))
        targets = heads[0].encoder()(revision.labels(revision.indices(split)), ())
        together[split] = measured(heads[0], output, targets).metrics
    monitor = recipes[0].training.monitor or heads[0].monitor[0]
    return EnsembleReport(tuple(one.title for one in models), tuple(members), together, monitor)


class EnsemblePredictor(Predictor):
    """Several trained models that predict together.

    Args:
        members: The models, of the same task and classes.

    Raises:
        ProblemsError: They take other inputs.
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        first = members[0]
        problems = [
            Problem(one.title, f"It takes {MODALITIES[one.modality].items}, not {MODALITIES[first.modality].items}.")
            for one in members[1:]
            if one.modality != first.modality
        ]
        if problems:
            raise ProblemsError("These runs cannot predict together.", problems)
        title = " + ".join(member.title for member in members)
        super().__init__(
            first._model,
            first._preprocessor,
            modality=first.modality,
            title=title,
            device=str(first._device),
            columns=first.columns,
        )
        self._members = tuple(members)

    @classmethod
    def from_runs(cls, runs: Sequence[Run], registry: Registry, device: str = "auto") -> EnsemblePredictor:
        """Load the best checkpoints of several runs, or the snapshots of a single one.

        Raises:
            ProblemsError: They cannot predict together.
            RunError: One was not trained to its end, has no model, or has learned without labels.
        """
        models = _members(runs, registry)
        predictor = cls([Predictor.from_run(one.run, registry, device, one.kind) for one in models])
        predictor.title = " + ".join(one.title for one in models)
        return predictor

    def outputs(self, samples: list[Sample]) -> Tensor:
        """Compute the outputs of the first model's head that say what all predict together, on the CPU."""
        told = [(member._model.head, member.outputs(samples)) for member in self._members]
        return self._model.head.mean_output(told)

    def predict(
        self, samples: Iterable[Sample], *, batch_size: int = 32
    ) -> Iterator[tuple[Sample, Prediction | Rejected]]:
        """Predict samples in their order; one that one of the models cannot read gives a `Rejected`."""
        source = iter(samples)
        while chunk := list(islice(source, batch_size)):
            rejected: dict[int, Rejected] = {}
            for place, sample in enumerate(chunk):
                try:
                    for member in self._members:
                        member._prepared(sample)
                except DataError as error:
                    rejected[place] = Rejected.because(sample.source or sample.id, error)
            readable = [sample for place, sample in enumerate(chunk) if place not in rejected]
            predictions = iter(self._model.head.decode(self.outputs(readable)) if readable else ())
            for place, sample in enumerate(chunk):
                yield sample, rejected[place] if place in rejected else next(predictions)
