"""``predict``: using a trained model on new data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlstudio.cli.common import CANCELLED, command, find_registry, find_run, open_project
from tlstudio.cli.interrupt import stop_gently
from tlstudio.cli.output import Output, StatusLine, cut
from tlstudio.cli.projects import rejected_json, show_rejected

if TYPE_CHECKING:
    from tlstudio.api import Label, Prediction, Rejected, Sample
    from tlstudio.engine.predict import Predictor
    from tlstudio.plugins import Registry

TOP_CLASSES = 5


@command(
    "predict",
    example="tlstudio predict bird-model new.jpg\n"
    "tlstudio predict bird-model ~/photos/2026 --output predictions.csv\n"
    'tlstudio predict mails --run best --text "Where is my parcel?"',
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path), required=False)
@click.option("--run", "run_id", default="", help="Run of the project MODEL: its id, latest or best.  [default: best]")
@click.option("--text", help="Predict this text instead of a SOURCE.")
@click.option("--output", "csv", type=click.Path(path_type=Path), help="CSV file; printed here if left out.")
@click.option("--text-column", default="", help="Column with the texts of a table.")
@click.option("--image-column", default="", help="Column with the paths of the images of a table.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
def predict(
    output: Output,
    *,
    model: Path,
    source: Path | None,
    run_id: str,
    text: str | None,
    csv: Path | None,
    text_column: str,
    image_column: str,
    device: str,
) -> int:
    """Predict an image, a folder of images, a table or a text.

    MODEL is an exported folder or a project; SOURCE is what to predict.
    """
    if (source is None) == (text is None):
        raise click.UsageError("Give either a SOURCE or --text.")
    if text is not None and csv is not None:
        raise click.UsageError("--output goes with a SOURCE; a --text is printed.")
    from tlstudio.api import DataError

    if source is not None and not source.exists():
        # Said before the model is loaded, which takes a while.
        raise DataError(f"There is no file or folder {source}.", "Check the path.", path=source)
    with _predictor(output, model, run_id, device) as (predictor, registry):
        if source is not None and csv is not None:
            return _to_csv(output, predictor, registry, source, csv, text_column, image_column)
        samples = _samples(predictor, registry, source, text, text_column, image_column)
        return _to_screen(output, predictor, samples)


@contextlib.contextmanager
def _predictor(output: Output, model: Path, run_id: str, device: str) -> Iterator[tuple[Predictor, Registry]]:
    from tlstudio.api import RunError
    from tlstudio.store.project import Project

    if not model.exists():
        raise RunError(f"There is no folder {model}.", "Give an exported model or a project.", path=model)
    status = StatusLine()
    status.update("Loading the model", "")
    try:
        registry = find_registry(output)
        from tlstudio.engine.predict import Predictor

        if not Project.is_project(model):
            if run_id:
                raise click.UsageError(f"--run goes with a project, and {model} is none.")
            predictor = Predictor.from_export(model, registry, device)
            project = None
        else:
            project = open_project(model, output)
            predictor = Predictor.from_run(find_run(project, run_id or "best"), registry, device)
    finally:
        status.clear()
    output.hint(f"Model: {predictor.title}")
    try:
        yield predictor, registry
    finally:
        if project is not None:
            project.close()


def _samples(
    predictor: Predictor,
    registry: Registry,
    source: Path | None,
    text: str | None,
    text_column: str,
    image_column: str,
) -> list[Sample | Rejected]:
    from tlstudio.api import RunError, Sample
    from tlstudio.engine.predict import samples_in

    if source is not None:
        return samples_in(source, predictor.modality, registry, text_column=text_column, image_column=image_column)
    if predictor.modality != "text":
        raise RunError("This model takes images, not texts.", "Give an image, a folder or a table as SOURCE.")
    return [Sample(id="text", text=text, source="--text")]


def _to_csv(
    output: Output,
    predictor: Predictor,
    registry: Registry,
    source: Path,
    csv: Path,
    text_column: str,
    image_column: str,
) -> int:
    from tlstudio.engine.predict import predict_to_csv

    status = StatusLine()
    asked: list[bool] = []
    try:
        with stop_gently(lambda: asked.append(True), what="and keeping the rows so far"):
            report = predict_to_csv(
                predictor,
                source,
                csv,
                registry,
                text_column=text_column,
                image_column=image_column,
                on_progress=lambda done, total: status.update("Predicting", f"{done:,} of {total:,}"),
                cancelled=lambda: bool(asked),
            )
    finally:
        status.clear()
    if report.rejected:
        show_rejected(output, report.rejected, "not predicted")
    output.say(f"Wrote {report.rows:,} predictions to {report.output}.")
    if report.cancelled:
        output.hint("Cancelled before the end.")
    output.result(
        {
            "output": report.output,
            "rows": report.rows,
            "rejected": rejected_json(report.rejected),
            "cancelled": report.cancelled,
        }
    )
    return CANCELLED if report.cancelled else 0


def _to_screen(output: Output, predictor: Predictor, samples: list[Sample | Rejected]) -> int:
    from tlstudio.api import Rejected

    rejected = [item for item in samples if isinstance(item, Rejected)]
    readable = [item for item in samples if not isinstance(item, Rejected)]
    done: list[tuple[Sample, Prediction]] = []
    status = StatusLine()
    try:
        for number, (sample, prediction) in enumerate(predictor.predict(readable), 1):
            status.update("Predicting", f"{number:,} of {len(readable):,}")
            if isinstance(prediction, Rejected):
                rejected.append(prediction)
            else:
                done.append((sample, prediction))
    finally:
        status.clear()
    if len(done) == 1 and done[0][1].scores:
        output.table(["class", "probability"], list(done[0][1].scores[:TOP_CLASSES]))
    elif done:
        rows = [[cut(sample.id, 60), label_words(p.value), p.confidence] for sample, p in done]
        output.table(["item", "prediction", "confidence"], rows, left=2)
    if rejected:
        show_rejected(output, rejected, "not predicted")
    output.result(
        {
            "predictions": [_prediction_json(sample, prediction) for sample, prediction in done],
            "rejected": rejected_json(rejected),
        }
    )
    return 0


def _prediction_json(sample: Sample, prediction: Prediction) -> dict[str, Any]:
    return {
        "id": sample.id,
        "prediction": prediction.value,
        "confidence": prediction.confidence,
        "scores": dict(prediction.scores),
    }


def label_words(label: Label) -> str:
    """Write a label for people."""
    if isinstance(label, tuple):
        return ", ".join(label) or "(none)"
    return f"{label:.4g}" if isinstance(label, float) else str(label)
