"""Using a trained model: from a run or from an exported folder, on samples, files, folders and tables."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

import torch

from tlstudio.api import (
    TASKS,
    Cell,
    DataError,
    LabelKind,
    Mask,
    Modality,
    Prediction,
    Preprocessor,
    Rejected,
    RunError,
    Sample,
    TargetInfo,
    Task,
)
from tlstudio.api.nn import TransferModel, with_context
from tlstudio.data.names import plain_text
from tlstudio.data.own_folders import refuse_as_output
from tlstudio.data.rejections import none_left
from tlstudio.data.unlabelled import NO_COLUMNS
from tlstudio.data.unlabelled import samples_in as read_samples
from tlstudio.engine.answers import told, words
from tlstudio.engine.assemble import load_run_model, preprocessor_of
from tlstudio.engine.checkpoint import Kind
from tlstudio.engine.columns import chosen_columns, columns_of
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.exported import load_export, read_export
from tlstudio.engine.measuring import generate
from tlstudio.engine.predicted_masks import PredictedMasks
from tlstudio.engine.spreadsheet import harmless
from tlstudio.engine.times import forecast_cells, forecast_header
from tlstudio.plugins import Registry
from tlstudio.store.run import Run

_WITH_TEXT: tuple[Modality, ...] = ("text", "image+text")
_QUESTIONS = {"text_column": "context", "pair_column": "question"}  # what tables call what is called so in SQuAD


@dataclass(frozen=True, slots=True)
class PredictReport:
    """What `predict_to_csv` did.

    Attributes:
        rows: Predictions written.
        rejected: Items that could not be read.
        output: The file.
        cancelled: Whether it was cancelled before the end; the rows so far are in the file.
        notes: Sentences on what of the items was left aside.
    """

    rows: int
    rejected: tuple[Rejected, ...]
    output: Path
    cancelled: bool = False
    notes: tuple[str, ...] = ()


class Predictor:
    """A trained model, ready to use.

    Args:
        model: Backbone and head with their weights.
        preprocessor: The backbone's preprocessor.
        modality: What it takes.
        title: For people: which model it is.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        columns: Columns that its data were read from, by the option that names them; see `samples_in`.
    """

    def __init__(
        self,
        model: TransferModel,
        preprocessor: Preprocessor,
        *,
        modality: Modality,
        title: str,
        device: str = "auto",
        columns: Mapping[str, str] = NO_COLUMNS,
    ) -> None:
        asks = model.head.target.task == "question_answering"
        self.columns = columns or (_QUESTIONS if asks else NO_COLUMNS)
        self.modality = modality
        self.title = title
        self._device = torch.device(resolve_device(device))
        self._model = model.to(self._device).eval()
        self._model.head.texts = preprocessor.texts
        self._preprocessor = preprocessor
        self._encoder = model.head.encoder()

    @classmethod
    def from_run(cls, run: Run, registry: Registry, device: str = "auto", kind: Kind = "best") -> Self:
        """Load the best checkpoint of a run, or another one.

        Raises:
            RunError: The run has none, or a plugin is gone, or it has learned without labels.
        """
        parts, model = load_run_model(run, registry, kind)
        check_labels(model, run.id)
        preprocessor = preprocessor_of(parts, assets=run.assets)
        modality, columns = parts.backbone.modality, columns_of(run)
        return cls(model, preprocessor, modality=modality, title=run.id, device=device, columns=columns)

    @classmethod
    def from_export(cls, folder: Path, registry: Registry, device: str = "auto") -> Self:
        """Load an exported folder; no project is needed.

        Raises:
            RunError: It is no exported model, is damaged, has learned without labels, or a plugin is missing.
        """
        model, preprocessor, modality = load_export(folder, registry)
        check_labels(model, folder.name)
        columns = chosen_columns(read_export(folder).get("columns"))
        return cls(model, preprocessor, modality=modality, title=folder.name, device=device, columns=columns)

    @property
    def target(self) -> TargetInfo:
        """What it has learned."""
        return self._model.head.target

    @property
    def task(self) -> Task:
        """The task that it solves."""
        return self.target.task

    @property
    def label_kind(self) -> LabelKind:
        """What its predictions are made of."""
        return TASKS[self.task].label

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that it knows; empty for regression."""
        return self._model.head.target.classes

    @property
    def scored(self) -> tuple[str, ...]:
        """The classes of which it gives a probability for each sample."""
        return self.classes if self.label_kind in ("name", "names") else ()

    @property
    def pairs(self) -> bool:
        """Whether it takes two texts at once: the sample's text and the `pair` that belongs to it."""
        return self._model.head.target.pairs

    @property
    def forecast_name(self) -> str:
        """What to call the values of a forecast; ``""``: it makes none."""
        return (self._preprocessor.forecast_name or "value") if self.target.size else ""

    def samples_in(
        self, source: Path, registry: Registry, columns: Mapping[str, str] = NO_COLUMNS
    ) -> list[Sample | Rejected]:
        """List what of a source it is to predict; arguments and errors of the function of this name."""
        return samples_in(source, self.modality, registry, columns, self.takes, self.task, self.columns)

    def takes(self, sample: Sample) -> bool:
        """Whether a sample is of the kind that it reads."""
        return (sample.pair is not None) == self.pairs and self._preprocessor.takes(sample)

    def notes(self, samples: Iterable[Sample | Rejected]) -> tuple[str, ...]:
        """Say what was noticed where samples were read, and what of them it leaves aside.

        Samples of one source have the same columns.
        """
        readable = [item for item in samples if isinstance(item, Sample)]
        notes = [note for sample in readable for note in sample.notes]
        label = self.columns.get("label_column", "")
        if any(label in (sample.values or {}) for sample in readable[:1]):
            notes.append(f'"{label}" is what the model predicts: what is there is not looked at.')
            readable = [replace(sample, values=_without(sample.values, label)) for sample in readable]
        return (*notes, *self._preprocessor.notes(readable))

    def outputs(self, samples: list[Sample]) -> torch.Tensor:
        """Compute raw outputs, ``[len(samples), ...]`` on the CPU.

        Raises:
            DataError: A sample cannot be read.
        """
        return self._forward(self._collated([self._prepared(sample) for sample in samples], samples))

    def _collated(self, prepared: list[dict[str, Any]], samples: list[Sample]) -> dict[str, torch.Tensor]:
        return with_context(self._preprocessor.collate(prepared), self._encoder, samples)

    def _prepared(self, sample: Sample) -> dict[str, Any]:
        if self.pairs and sample.pair is None:
            second = "question" if self.task == "question_answering" else "second text"
            raise DataError(
                f"{sample.source or sample.id} has no {second}, and this model takes a text and its {second}.",
                "Give it beside the text, or name the column that holds it (--pair-column).",
            )
        if sample.pair is not None and not self.pairs:
            raise DataError(
                f"{sample.source or sample.id} has a second text, and this model takes one.", "Leave it out."
            )
        prepared = self._preprocessor(sample)
        if self._preprocessor.is_empty(sample):
            raise DataError(
                f"{sample.source or sample.id} is empty in all that the model looks at.",
                "Fill in what is known, or leave it out.",
            )
        return prepared

    def predict(
        self, samples: Iterable[Sample], *, batch_size: int = 32
    ) -> Iterator[tuple[Sample, Prediction | Rejected]]:
        """Predict samples in their order; one that cannot be read gives a `Rejected` and the rest goes on."""
        source = iter(samples)
        while chunk := list(islice(source, batch_size)):
            prepared: list[dict[str, Any]] = []
            outcome: list[Rejected | None] = []
            for sample in chunk:
                try:
                    prepared.append(self._prepared(sample))
                    outcome.append(None)
                except DataError as error:
                    outcome.append(Rejected.because(sample.source or sample.id, error))
            predictions: Iterator[Prediction] = iter(())
            if prepared:
                readable = [sample for sample, rejected in zip(chunk, outcome, strict=True) if rejected is None]
                inputs = self._collated(prepared, readable)
                predictions = iter(self._model.head.decode(self._told(inputs), inputs, readable))
            for sample, rejected in zip(chunk, outcome, strict=True):
                yield sample, rejected if rejected is not None else next(predictions)

    def _told(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """What predictions are decoded from: raw outputs, or the tokens that the backbone writes."""
        how = self._model.head.generation()
        if how is None:
            return self._forward(inputs)
        with torch.inference_mode():
            return generate(self._model, inputs, how, self._device).cpu()

    def _forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.inference_mode():
            output: torch.Tensor = self._model({name: t.to(self._device) for name, t in inputs.items()})
        return output.float().cpu()


def _without(values: Mapping[str, Cell] | None, column: str) -> dict[str, Cell]:
    return {name: cell for name, cell in (values or {}).items() if name != column}


def check_labels(model: TransferModel, title: str) -> None:
    """Refuse a model that was trained without labels."""
    if TASKS[model.head.target.task].label == "none":
        raise RunError(
            f"{title} has learned without labels, and predicts nothing by itself.",
            "Train a run that starts from it on data with labels.",
        )


def load_predictor(folder: str | Path) -> Predictor:
    """Load an exported model with the plugins that are installed: all that a script needs.

    Args:
        folder: The exported folder.

    Raises:
        RunError: It is no exported model, is damaged, or a plugin is missing.
    """
    from tlstudio.plugins import PluginManager

    manager = PluginManager()
    manager.discover()
    return Predictor.from_export(Path(folder), manager.registry)


def samples_in(
    source: Path,
    modality: Modality,
    registry: Registry,
    columns: Mapping[str, str] = NO_COLUMNS,
    takes: Callable[[Sample], bool] = lambda _: True,
    task: Task | None = None,
    usual: Mapping[str, str] = NO_COLUMNS,
) -> list[Sample | Rejected]:
    """List the samples of an image, a text file, a folder or a table; labels are not needed.

    Args:
        source: What is to be predicted.
        modality: What the model takes.
        registry: The formats.
        columns: Columns of a table by the option that names them (``text_column``, ``pair_column``,
            ``image_column``), where they are not found by themselves.
        takes: Whether the model can read a sample, where several formats fit: `Predictor.takes`.
        task: What the model predicts.
        usual: Columns that are taken before others are guessed: `Predictor.columns`.

    Raises:
        DataError: Nothing usable is there.
    """
    return list(read_samples(source, registry.formats.values(), modality, columns, takes, task, usual))


def predict_to_csv(
    predictor: Predictor,
    source: Path,
    output: Path,
    registry: Registry,
    *,
    columns: Mapping[str, str] = NO_COLUMNS,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> PredictReport:
    """Predict everything in a source and write a CSV file (UTF-8 with BOM, so that spreadsheets read it right).

    Columns: ``id``, ``source``, the text for texts, ``prediction``, ``confidence`` and one ``p(class)`` a class. Of
    forecasts, each value under the name of its series and its step (``sales +1``), the time after which they follow
    (``last time``), and, where times come at even steps, that of each value (``time +1``).
    Masks are written as PNG into a folder beside the file, named after it, and the column ``mask`` tells which.
    What a spreadsheet would run as a formula gets an apostrophe; `tlstudio.engine.spreadsheet.original` takes it away.

    Args:
        predictor: The model.
        source: An image, a folder or a table.
        output: The file to write; replaced as a whole at the end.
        registry: The formats.
        columns: See `samples_in`.
        on_progress: Called with samples done and their number.
        cancelled: Asked after each sample.

    Raises:
        DataError: Nothing is there.
        ProblemsError: Nothing of it can be predicted; then no file is written.
        RunError: The file cannot be written, or is the source itself.
    """
    if output.is_dir():
        raise RunError(f"{output} is a folder.", "Give the name of a CSV file.", path=output)
    if output.exists() and not output.is_file():
        raise RunError(f"{output} is a device, not a file.", "Give the name of a CSV file.", path=output)
    if output.exists() and source.exists() and output.samefile(source):
        raise RunError(
            f"{output} is what is to be predicted; it would be lost.",
            "Give another file for the predictions.",
            path=output,
        )
    refuse_as_output(output)
    items = predictor.samples_in(source, registry, columns)
    rejected = [item for item in items if isinstance(item, Rejected)]
    samples = [item for item in items if isinstance(item, Sample)]
    if not items:
        what = f"There is nothing to predict in {source}: nothing there is of the kind that this model takes."
        raise DataError(what, path=source)
    rows = 0
    was_cancelled = False
    masks = PredictedMasks(output, predictor.classes) if predictor.label_kind == "mask" else None
    staging = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with staging.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            text = ["text", *(["pair"] if predictor.pairs else [])] if predictor.modality in _WITH_TEXT else []
            scored = ["mask"] if masks else [f"p({c})" for c in predictor.scored]
            header = ["id", "source", *text, "prediction", "confidence", *scored]
            if predictor.forecast_name:
                header += forecast_header(predictor.forecast_name, predictor.target.size, samples)
            writer.writerow([harmless(cell) for cell in header])
            for done, (sample, prediction) in enumerate(predictor.predict(samples), start=1):
                if isinstance(prediction, Rejected):
                    rejected.append(prediction)
                else:
                    cells = _row(predictor, sample, prediction)
                    if masks is not None and isinstance(prediction.value, Mask):
                        cells.append(masks.write(sample, prediction.value))
                    writer.writerow([harmless(plain_text(cell)) for cell in cells])
                    rows += 1
                on_progress(done, len(samples))
                if cancelled():
                    was_cancelled = done < len(samples)
                    break
        if not rows and not was_cancelled:
            raise none_left(rejected, source, "predicted")
        if masks is not None:
            masks.finish()
        staging.replace(output)
    except OSError as error:
        raise RunError(
            f"{output} cannot be written: {error.strerror or error}.", "Choose another place.", path=output
        ) from error
    finally:
        staging.unlink(missing_ok=True)
        if masks is not None:
            masks.discard()
    return PredictReport(rows, tuple(rejected), output, was_cancelled, predictor.notes(samples))


def _row(predictor: Predictor, sample: Sample, prediction: Prediction) -> list[str]:
    text = [sample.text or "", *([sample.pair or ""] if predictor.pairs else [])]
    text = text if predictor.modality in _WITH_TEXT else []
    confidence = "" if prediction.confidence is None else f"{prediction.confidence:.6f}"
    scores = dict(prediction.scores)
    value = repr(prediction.value) if isinstance(prediction.value, float) else words(prediction.value, sample)
    if predictor.label_kind in ("boxes", "mask") or (predictor.label_kind == "spans" and not predictor.pairs):
        value = json.dumps(told(prediction.value, sample), ensure_ascii=False)
    origin = str(sample.image or sample.audio or sample.source)
    # A head may leave scores out: of classes that it does not rank, say.
    shares = [f"{scores[name]:.6f}" if name in scores else "" for name in predictor.scored]
    ahead = forecast_cells(predictor.target.size, sample, prediction) if predictor.forecast_name else []
    return [sample.id, origin, *text, value, confidence, *shares, *ahead]
