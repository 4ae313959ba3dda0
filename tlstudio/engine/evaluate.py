"""Results of a run: metrics, classes, confusion and items. Reading them needs no torch."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tlstudio.api import (
    MODALITIES,
    NAMED,
    TASKS,
    DataError,
    Label,
    LabelKind,
    Mask,
    RunError,
    Span,
    Split,
    TargetInfo,
    Task,
    label_from,
    label_names,
    label_values,
)
from tlstudio.api.masks import pixel_confusion
from tlstudio.data.overlap import in_common
from tlstudio.engine.box_matching import box_counts
from tlstudio.engine.target import read_target
from tlstudio.store.files import reason, refuse_links, remedy
from tlstudio.store.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tlstudio.api import Backbone
    from tlstudio.api.nn import HeadModule
    from tlstudio.data.revision import Revision
    from tlstudio.engine.control import RunControl
    from tlstudio.engine.measuring import Outputs
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project

_SHOWN_CLASSES = 8


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What the model made of one sample.

    Attributes:
        id: Id of the sample.
        label: Its label.
        predicted: What the model predicted.
        confidence: Probability of the predicted class in 0..1; `None` where the task has none.
        loss: Loss of this sample: how wrong it was.
    """

    id: str
    label: Label
    predicted: Label
    confidence: float | None
    loss: float


@dataclass(frozen=True, slots=True)
class ClassResult:
    """How well one class was found. Precision, recall and F1 are in 0..1, and 0 where undefined.

    Attributes:
        name: The class.
        precision: Share of the predictions of this class that are right.
        recall: Share of the items of this class that were found.
        f1: Harmonic mean of the two.
        support: Number of items of this class.
        iou: Intersection over union of masks, of which precision, recall, F1 and support count pixels.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    iou: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A run on one split.

    Attributes:
        run: Id of the run.
        split: Name of the split.
        task: The task.
        classes: Class names, in the order of `confusion`; empty for regression.
        metrics: Metrics by name, ``loss`` among them.
        items: Every sample of the split, most wrong first.
        per_class: One row a class; empty for regression.
        confusion: Counts ``[true, predicted]``, or `None` where the task has no such matrix.
        dataset: The data set with its revision where it is not that of the run, such as ``"sketches@r1"``.
        learned: How many of the items of that data set the run has learned from; `None` where that cannot be told.
    """

    run: str
    split: str
    task: Task
    classes: tuple[str, ...]
    metrics: dict[str, float]
    items: tuple[ItemResult, ...]
    per_class: tuple[ClassResult, ...]
    confusion: np.ndarray | None
    dataset: str = ""
    learned: int | None = 0

    @property
    def label_kind(self) -> LabelKind:
        """What its labels are made of."""
        return TASKS[self.task].label


def predictions_path(run: Run, split: str) -> Path:
    """File with the predictions of a split."""
    return run.folder / "predictions" / f"{split}.parquet"


def read_evaluation(run: Run, split: str = "test") -> Evaluation:
    """Read the stored results of a run.

    Raises:
        RunError: The run was not evaluated on that split, or its files are damaged.
    """
    path = predictions_path(run, split)
    metrics = run.metrics().get(split)
    if metrics is None or not path.is_file():
        raise RunError(f"Run {run.id} has no results on the {split} split.", "Let it train to its end.", path=path)
    try:
        target = read_target(run)
        table = pq.read_table(path, columns=["id", "label", "predicted", "confidence", "loss"])
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"The results in {path} cannot be read: {error}.", "Evaluate the run again.", path=path
        ) from error
    columns: dict[str, list[Any]] = {name: table.column(name).to_pylist() for name in table.column_names}
    labels, predicted = (_labels_from(columns[name], target) for name in ("label", "predicted"))
    items = [
        ItemResult(*cells)
        for cells in zip(columns["id"], labels, predicted, columns["confidence"], columns["loss"], strict=True)
    ]
    return summarise(run.id, split, target, metrics, items)


def summarise(
    run: str, split: str, target: TargetInfo, metrics: dict[str, float], items: Sequence[ItemResult]
) -> Evaluation:
    """Count classes and confusions."""
    ordered = tuple(sorted(items, key=lambda item: -item.loss))
    kind = TASKS[target.task].label
    confusion = _confusion(target, ordered) if kind == "name" else None
    per_class = () if kind == "number" else _per_class(target, ordered)
    return Evaluation(run, split, target.task, target.classes, metrics, ordered, per_class, confusion)


def _confusion(target: TargetInfo, items: Sequence[ItemResult]) -> np.ndarray:
    number = {name: index for index, name in enumerate(target.classes)}
    matrix = np.zeros((len(number), len(number)), dtype=np.int64)
    for item in items:
        matrix[number[str(item.label)], number[str(item.predicted)]] += 1
    return matrix


def _per_class(target: TargetInfo, items: Sequence[ItemResult]) -> tuple[ClassResult, ...]:
    support, found, hits = Counter[str](), Counter[str](), Counter[str]()
    for item in items:
        for total, counts in zip((support, found, hits), _counts(target, item), strict=True):
            total.update(counts)
    rows = []
    for name in target.classes:
        precision = hits[name] / found[name] if found[name] else 0.0
        recall = hits[name] / support[name] if support[name] else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hits[name] else 0.0
        either = support[name] + found[name] - hits[name]
        iou = (hits[name] / either if either else 0.0) if TASKS[target.task].label == "mask" else None
        rows.append(ClassResult(name, precision, recall, f1, support[name], iou))
    return tuple(rows)


def _counts(target: TargetInfo, item: ItemResult) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """How often an item has each class, how often it was predicted, and how often rightly."""
    if TASKS[target.task].label == "boxes":
        return box_counts(item.label, item.predicted)
    if isinstance(item.label, Mask) and isinstance(item.predicted, Mask):
        counts = pixel_confusion(item.label, item.predicted, target.classes)
        each = (counts.sum(axis=1), counts.sum(axis=0), counts.diagonal())
        support, found, hits = (Counter(dict(zip(target.classes, map(int, part), strict=True))) for part in each)
        return support, found, hits
    truth, predicted = set(_parts(item.label)), set(_parts(item.predicted))
    true_names, predicted_names, right = ([name for name, _ in each] for each in (truth, predicted, truth & predicted))
    return Counter(true_names), Counter(predicted_names), Counter(right)


def _parts(label: Label) -> Iterator[tuple[str, object]]:
    """What can be right or wrong by itself: each name, each span, as ``(name, all of it)``."""
    for part in label if isinstance(label, tuple) else (str(label),):
        yield (part.name if isinstance(part, Span) else str(part), part)


def write_predictions(
    run: Run,
    split: Split,
    ids: Sequence[str],
    labels: Sequence[Label],
    outputs: Outputs,
    decoded: Sequence[tuple[Label, float | None]],
) -> None:
    """Keep the predictions of a split as Parquet: id, label and predicted (JSON), confidence, loss, raw output.

    Vectors are kept as raw output, anything larger is not.

    Raises:
        RunError: The disk is full or the like.
    """
    columns = {
        "id": pa.array(ids, pa.string()),
        "label": _as_json(labels),
        "predicted": _as_json([value for value, _ in decoded]),
        "confidence": pa.array([confidence for _, confidence in decoded], pa.float64()),
        "loss": pa.array(outputs.losses.double().numpy()),
    }
    if outputs.output is not None:
        flat = outputs.output.reshape(len(ids), -1).numpy()
        offsets = np.arange(len(ids) + 1, dtype=np.int32 if flat.size < 2**31 else np.int64) * flat.shape[1]
        as_lists = pa.ListArray if flat.size < 2**31 else pa.LargeListArray
        columns["output"] = as_lists.from_arrays(pa.array(offsets), pa.array(flat.ravel()))
    table = pa.table(columns)
    path = predictions_path(run, split)
    staging = path.with_suffix(".part")
    try:
        refuse_links(run.folder)
        path.parent.mkdir(exist_ok=True)
        try:
            pq.write_table(table, staging)
            staging.replace(path)
        finally:
            staging.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"The predictions {path} could not be written: {reason(error)}.", remedy(error), path=path
        ) from error


def _as_json(labels: Sequence[Label]) -> pa.Array[Any]:
    texts = [json.dumps(label_values(label), ensure_ascii=False) for label in labels]
    return pa.array(texts, pa.large_string())  # large: marked parts of many texts may pass 2 GiB


def _labels_from(texts: Sequence[str], target: TargetInfo) -> list[Label]:
    kind = TASKS[target.task].label
    known = {text: _in_class_order(label_from(json.loads(text), kind), target) for text in set(texts)}  # they recur
    return [known[text] for text in texts]


def _in_class_order(label: Label, target: TargetInfo) -> Label:
    """A label in one form, so that equal ones are equal: several names always in the order of the classes."""
    if isinstance(label, tuple) and TASKS[target.task].label == "names":
        place = {name: index for index, name in enumerate(target.classes)}
        return tuple(sorted(label_names(label), key=lambda name: place.get(name, len(place))))
    return label


def evaluate_run(
    run: Run,
    project: Project,
    registry: Registry,
    *,
    split: Split = "test",
    dataset: str = "",
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    control: RunControl | None = None,
) -> Evaluation:
    """Compute the results of a run again, from its best checkpoint and the frozen revision.

    On another data set, nothing is stored.

    Args:
        run: The run.
        project: Its project.
        registry: The components.
        split: Which split.
        dataset: Another data set of the project, maybe with ``@r2`` behind it for a revision that is not the latest.
        on_progress: Called with samples done and their number.
        control: Pause and cancel; looked at after each batch.

    Raises:
        Interrupted: Cancel was asked for; what was stored before is untouched.
        RunError: The run has no checkpoint, a plugin is gone, the split is empty, or the model is not for this data.
        DataError: The data set is gone or damaged.
    """
    import torch

    from tlstudio.engine.assemble import load_run_model, preprocessor_of, split_data
    from tlstudio.engine.devices import resolve_device
    from tlstudio.engine.measuring import run_split
    from tlstudio.engine.recipe import divided, learned_from, parse_recipe
    from tlstudio.engine.used_data import revision_of

    recipe = parse_recipe(run.read_recipe())
    parts, model = load_run_model(run, registry)
    name, _, number = dataset.partition("@")
    revision = project.dataset(name, number) if dataset else divided(recipe, revision_of(run, project))
    # Views of a sample differ only where they are varied, as while the run was trained.
    augmentation = recipe.training.augmentation if parts.head.views > 1 else "none"
    preprocessor = preprocessor_of(parts, augmentation=augmentation, assets=run.assets)
    if not len(revision.indices(split)):
        raise RunError(
            f"The {split} split of '{revision.dataset}' ({revision.id}) has no samples.", "Evaluate on another split."
        )
    if dataset and (against := _why_not(parts.backbone, model.head, revision, split)):
        raise RunError(f"Run {run.id} cannot be evaluated on '{revision.dataset}': {against}", field="dataset")
    data = split_data(revision, split, model.head, preprocessor, batch_size=recipe.training.batch_size)
    device = torch.device(resolve_device(recipe.training.device))
    total = len(data.ids)

    def after_batch(done: int) -> None:
        on_progress(done, total)
        if control is not None:
            control.wait_while_paused(lambda: None, lambda: None)
            control.check_cancelled()

    outputs = run_split(model.to(device), model, data, device, after_batch)
    target, decoded = model.head.target, outputs.values(model.head)
    if project.writable and not dataset:
        write_predictions(run, split, data.ids, data.labels, outputs, decoded)
        run.record_metrics(split, outputs.metrics)
    items = [
        ItemResult(sample_id, _in_class_order(label, target), _in_class_order(value, target), confidence, loss)
        for sample_id, label, (value, confidence), loss in zip(
            data.ids, data.labels, decoded, outputs.losses.tolist(), strict=True
        )
    ]
    result = summarise(run.id, split, target, outputs.metrics, items)
    if not dataset:
        return result
    learned: int | None = None
    with contextlib.suppress(DataError):  # its own data are gone, or others by now
        own = learned_from(recipe, revision_of(run, project))
        learned = int(in_common(revision, revision.indices(split), own, own.indices("train")).sum())
    return replace(result, dataset=revision.reference, learned=learned)


def _why_not(backbone: Backbone, head: HeadModule, revision: Revision, split: Split) -> str:
    """Say why a model cannot be measured on data that it was not made for; ``""``: it can."""
    target, kind = head.target, TASKS[revision.task].label
    if revision.modality != backbone.modality:
        return f"the model takes {MODALITIES[backbone.modality].items}, not {MODALITIES[revision.modality].items}."
    if revision.task != target.task or revision.target_info().size != target.size:
        return f"it does not have the labels of {TASKS[target.task].title.lower()} that the model gives."
    if refused := backbone.why_not(revision.sample(0)):
        return refused
    if kind in NAMED and kind != "mask":  # a mask may know more names than it has
        labels = map(head.judged, revision.labels(revision.indices(split)))
        if unknown := sorted({name for label in labels for name in label_names(label)} - set(target.classes)):
            shown = ", ".join(unknown[:_SHOWN_CLASSES]) + (" and others" if len(unknown) > _SHOWN_CLASSES else "")
            return f"the model does not know {shown}; its classes are {', '.join(target.classes)}."
    return ""
