"""Using a trained model: from a run or from an exported folder, on samples, files, folders and tables."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import torch

from tlstudio.api import (
    DataError,
    Modality,
    Prediction,
    Preprocessor,
    Rejected,
    RunError,
    Sample,
    Task,
    label_text,
)
from tlstudio.api.nn import TransferModel
from tlstudio.data.names import plain_text
from tlstudio.data.own_folders import refuse_as_output
from tlstudio.data.unlabelled import samples_in as read_samples
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.exported import load_export
from tlstudio.engine.spreadsheet import harmless
from tlstudio.plugins import Registry
from tlstudio.store.run import Run


@dataclass(frozen=True, slots=True)
class PredictReport:
    """What `predict_to_csv` did.

    Attributes:
        rows: Predictions written.
        rejected: Items that could not be read.
        output: The file.
        cancelled: Whether it was cancelled before the end; the rows so far are in the file.
    """

    rows: int
    rejected: tuple[Rejected, ...]
    output: Path
    cancelled: bool = False


class Predictor:
    """A trained model, ready to use.

    Args:
        model: Backbone and head with their weights.
        preprocessor: The backbone's preprocessor.
        modality: What it takes.
        title: For people: which model it is.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    """

    def __init__(
        self, model: TransferModel, preprocessor: Preprocessor, *, modality: Modality, title: str, device: str = "auto"
    ) -> None:
        self.modality = modality
        self.title = title
        self._device = torch.device(resolve_device(device))
        self._model = model.to(self._device).eval()
        self._preprocessor = preprocessor

    @classmethod
    def from_run(cls, run: Run, registry: Registry, device: str = "auto") -> Self:
        """Load the best checkpoint of a run.

        Raises:
            RunError: The run has none, or a plugin is gone.
        """
        parts, model = load_run_model(run, registry)
        preprocessor = parts.backbone.preprocessor(parts.backbone_options, assets=run.assets)
        return cls(model, preprocessor, modality=parts.backbone.modality, title=run.id, device=device)

    @classmethod
    def from_export(cls, folder: Path, registry: Registry, device: str = "auto") -> Self:
        """Load an exported folder; no project is needed.

        Raises:
            RunError: It is no exported model, is damaged, or a plugin is missing.
        """
        model, preprocessor, modality = load_export(folder, registry)
        return cls(model, preprocessor, modality=modality, title=folder.name, device=device)

    @property
    def task(self) -> Task:
        """The task that it solves."""
        return self._model.head.target.task

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that it knows; empty for regression."""
        return self._model.head.target.classes

    def outputs(self, samples: list[Sample]) -> torch.Tensor:
        """Compute raw outputs, ``[len(samples), K]`` on the CPU.

        Raises:
            DataError: A sample cannot be read.
        """
        return self._forward([self._preprocessor(sample) for sample in samples])

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
                    prepared.append(self._preprocessor(sample))
                    outcome.append(None)
                except DataError as error:
                    outcome.append(Rejected(sample.source or sample.id, error.what, error.remedy))
            predictions = iter(self._model.head.decode(self._forward(prepared)) if prepared else ())
            for sample, rejected in zip(chunk, outcome, strict=True):
                yield sample, rejected if rejected is not None else next(predictions)

    def _forward(self, prepared: list[dict[str, Any]]) -> torch.Tensor:
        inputs = self._preprocessor.collate(prepared)
        with torch.inference_mode():
            output: torch.Tensor = self._model({name: t.to(self._device) for name, t in inputs.items()})
        return output.float().cpu()


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
    source: Path, modality: Modality, registry: Registry, *, text_column: str = "", image_column: str = ""
) -> list[Sample | Rejected]:
    """List the samples of an image, a text file, a folder or a table; labels are not needed.

    Raises:
        DataError: Nothing usable is there.
    """
    formats = registry.formats.values()
    return list(read_samples(source, formats, modality, text_column=text_column, image_column=image_column))


def predict_to_csv(
    predictor: Predictor,
    source: Path,
    output: Path,
    registry: Registry,
    *,
    text_column: str = "",
    image_column: str = "",
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> PredictReport:
    """Predict everything in a source and write a CSV file (UTF-8 with BOM, so that spreadsheets read it right).

    Columns: ``id``, ``source``, the text for texts, ``prediction``, ``confidence`` and one ``p(class)`` a class.
    What a spreadsheet would run as a formula gets an apostrophe; `tlstudio.engine.spreadsheet.original` takes it away.

    Args:
        predictor: The model.
        source: An image, a folder or a table.
        output: The file to write; replaced as a whole at the end.
        registry: The formats.
        text_column: Column with the text, where it is not found by itself.
        image_column: Column with the image path, likewise.
        on_progress: Called with samples done and their number.
        cancelled: Asked after each sample.

    Raises:
        DataError: Nothing usable is there.
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
    items = samples_in(source, predictor.modality, registry, text_column=text_column, image_column=image_column)
    rejected = [item for item in items if isinstance(item, Rejected)]
    samples = [item for item in items if isinstance(item, Sample)]
    if not samples:
        reason = rejected[0].reason if rejected else "nothing there is of the kind that this model takes."
        raise DataError(f"There is nothing to predict in {source}: {reason}", path=source)
    rows = 0
    was_cancelled = False
    staging = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with staging.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            text = ["text"] if predictor.modality == "text" else []
            header = ["id", "source", *text, "prediction", "confidence", *(f"p({c})" for c in predictor.classes)]
            writer.writerow([harmless(cell) for cell in header])
            for done, (sample, prediction) in enumerate(predictor.predict(samples), start=1):
                if isinstance(prediction, Rejected):
                    rejected.append(prediction)
                else:
                    cells = _row(predictor, sample, prediction)
                    writer.writerow([harmless(plain_text(cell)) for cell in cells])
                    rows += 1
                on_progress(done, len(samples))
                if cancelled():
                    was_cancelled = done < len(samples)
                    break
        staging.replace(output)
    except OSError as error:
        raise RunError(
            f"{output} cannot be written: {error.strerror or error}.", "Choose another place.", path=output
        ) from error
    finally:
        staging.unlink(missing_ok=True)
    return PredictReport(rows, tuple(rejected), output, was_cancelled)


def _row(predictor: Predictor, sample: Sample, prediction: Prediction) -> list[str]:
    text = [sample.text or ""] if predictor.modality == "text" else []
    confidence = "" if prediction.confidence is None else f"{prediction.confidence:.6f}"
    scores = dict(prediction.scores)
    value = repr(prediction.value) if isinstance(prediction.value, float) else label_text(prediction.value)
    origin = str(sample.image) if sample.image is not None else sample.source
    # A head may leave scores out: of classes that it does not rank, say.
    shares = [f"{scores[name]:.6f}" if name in scores else "" for name in predictor.classes]
    return [sample.id, origin, *text, value, confidence, *shares]
