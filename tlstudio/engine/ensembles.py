"""Ensembles: several runs predict together, by the mean of their probabilities or values. Imports torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from tlstudio.api import MODALITIES, DataError, Prediction, Problem, ProblemsError, Rejected, RunError, Sample, Split
from tlstudio.engine.assemble import load_run_model, preprocessor_of, split_data
from tlstudio.engine.control import RunControl
from tlstudio.engine.derived import HELD_OUT, Progress, silent
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.measuring import measured, run_split
from tlstudio.engine.predict import Predictor
from tlstudio.engine.recipe import parse_recipe
from tlstudio.engine.soups import check_alike
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run


@dataclass(frozen=True, slots=True)
class EnsembleReport:
    """What several runs are worth together.

    Attributes:
        runs: Their ids.
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


def measure_ensemble(
    runs: Sequence[Run],
    project: Project,
    registry: Registry,
    *,
    splits: Sequence[Split] = HELD_OUT,
    control: RunControl | None = None,
    on_progress: Progress = silent,
) -> EnsembleReport:
    """Measure several runs alone and together.

    Args:
        runs: Finished runs that answer the same question about the same data; their backbones may differ.
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
    check_alike(runs, registry, same_weights=False)
    recipes = [parse_recipe(run.read_recipe()) for run in runs]
    revision = project.dataset(recipes[0].dataset.name, recipes[0].dataset.revision)
    if any(recipe.dataset.folds for recipe in recipes):
        splits = [split for split in splits if split == "test"]
    splits = [split for split in splits if len(revision.indices(split))]
    if not splits:
        raise RunError(f"'{revision.dataset}' has no samples that none of these runs has learned from.")
    members: list[dict[str, Mapping[str, float]]] = []
    gathered: dict[Split, list[Tensor]] = {split: [] for split in splits}
    heads = []
    for run, recipe in zip(runs, recipes, strict=True):
        parts, model = load_run_model(run, registry)
        device = torch.device(resolve_device(recipe.training.device))
        model.to(device)
        preprocessor = preprocessor_of(parts, assets=run.assets)
        metrics: dict[str, Mapping[str, float]] = {}
        for split in splits:
            data = split_data(revision, split, model.head, preprocessor, batch_size=recipe.training.batch_size)

            def after_batch(done: int, run_id: str = run.id, total: int = len(data.ids)) -> None:
                on_progress(f"Run {run_id}", done, total)
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
    return EnsembleReport(tuple(run.id for run in runs), tuple(members), together, monitor)


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
        """Load the best checkpoints of several runs.

        Raises:
            ProblemsError: They cannot predict together.
            RunError: One was not trained to its end, has no model, or has learned without labels.
        """
        check_alike(runs, registry, same_weights=False)
        return cls([Predictor.from_run(run, registry, device) for run in runs])

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
