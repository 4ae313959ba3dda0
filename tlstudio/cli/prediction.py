"""``predict``: using a trained model on new data."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlstudio.cli.common import CANCELLED, WRONG_USE, command, find_registry, open_project
from tlstudio.cli.interrupt import stop_gently
from tlstudio.cli.output import Output, StatusLine, counted, cut
from tlstudio.cli.projects import rejected_json, show_rejected
from tlstudio.cli.run_names import find_run, taking, told_of

if TYPE_CHECKING:
    from tlstudio.api import Modality, Prediction, Rejected, Sample, Task
    from tlstudio.engine.predict import Predictor
    from tlstudio.plugins import Registry
    from tlstudio.store.run import Run

TOP_CLASSES = 5
EITHER = "Give either a SOURCE or --text."


@command(
    "predict",
    example="tlstudio predict bird-model new.jpg\n"
    "tlstudio predict bird-model ~/photos/2026 --output predictions.csv\n"
    'tlstudio predict mails --run best --text "Where is my parcel?"',
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path), required=False)
@click.option(
    "--run",
    "run_id",
    default="",
    help="Run of the project MODEL: its id, latest, best or best:DATASET.  [default: best]",
)
@click.option(
    "--text", help="Predict this text instead of a SOURCE; with an image as SOURCE, its text, for a model of both."
)
@click.option("--output", "csv", type=click.Path(path_type=Path), help="CSV file; printed here if left out.")
@click.option("--pair", help="The second text, or the question, for a model that takes two; goes with --text.")
@click.option("--text-column", default="", help="Column with the texts of a table.")
@click.option("--pair-column", default="", help="Column with the second texts, or the questions, of a table.")
@click.option("--image-column", default="", help="Column with the paths of the images of a table.")
@click.option("--audio-column", default="", help="Column with the paths of the recordings of a table.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
def predict(
    output: Output,
    *,
    model: Path,
    source: Path | None,
    run_id: str,
    text: str | None,
    pair: str | None,
    csv: Path | None,
    device: str,
    **columns: str,
) -> int:
    """Predict an image, a recording, a folder of them, a table or a text.

    MODEL is an exported folder or a project; SOURCE is what to predict, with labels or without: those that are there
    are not looked at. What cannot be predicted is told, and the rest goes on.
    """
    if source is None and text is None:
        raise click.UsageError(EITHER)
    if text is not None and csv is not None:
        raise click.UsageError("--output goes with a SOURCE; a --text is printed.")
    if pair is not None and text is None:
        raise click.UsageError("--pair goes with --text; of a table, give the --pair-column.")
    from tlstudio.api import DataError, Sample
    from tlstudio.data.names import plain_text
    from tlstudio.data.own_folders import refuse_as_output

    if source is not None and not source.exists():
        # Said before the model is loaded, which takes a while.
        raise DataError(f"There is no file or folder {source}.", "Check the path.", path=source)
    if csv is not None:
        refuse_as_output(csv, suffix=".csv")
    check = functools.partial(_check_source, source, text, columns=columns)
    made_for = functools.partial(_made_for, source)
    reads = functools.partial(_reads, source, text, pair, columns)
    loaded = load_model(output, model, run_id, device, check, made_for=made_for, reads=reads)
    with loaded as (predictor, registry, _run):
        from tlstudio.engine.predict import samples_in

        if source is not None and csv is not None:
            return to_csv(output, predictor, registry, source, csv, columns)
        if source is not None and text is not None:
            check(registry, predictor.modality)
            with_text = functools.partial(replace, text=plain_text(text))
            images = samples_in(source, "image", registry)
            samples = [with_text(item) if isinstance(item, Sample) else item for item in images]
        elif source is not None:
            samples = predictor.samples_in(source, registry, columns)
        else:
            samples = [Sample(id="text", text=text, pair=pair, source="--text")]
        for note in predictor.notes(samples):
            output.hint(f"Note: {note}")
        return to_screen(output, predictor, samples)


def _check_source(
    source: Path | None, text: str | None, registry: Registry, modality: Modality, *, columns: dict[str, str]
) -> None:
    """Make sure that a model takes what is to be predicted."""
    from tlstudio.api import MODALITIES, RunError
    from tlstudio.data.unlabelled import predictable, reader_of

    known = MODALITIES[modality]
    if source is not None and text is not None:
        if modality != "image+text":
            raise RunError(f"This model takes {known.items}, not images with texts.", EITHER)
        reader_of(source, registry.formats.values(), "image")
    elif source is not None:
        reader_of(source, registry.formats.values(), modality, columns)
    elif modality == "image+text":
        raise RunError(f"This model takes {known.items}.", "Give the image as SOURCE, or a table of both.")
    elif modality != "text":
        raise RunError(f"This model takes {known.items}, not texts.", f"Give {predictable(modality)} as SOURCE.")


def _made_for(source: Path | None, registry: Registry, modality: Modality, task: Task) -> bool:
    """Whether a source looks like what a model of some kind is trained on."""
    from tlstudio.data.unlabelled import looks_like

    return source is not None and looks_like(source, registry.formats.values(), modality, task)


def _reads(
    source: Path | None, text: str | None, pair: str | None, columns: dict[str, str], registry: Registry, run: Run
) -> bool:
    """Whether a run can read what is to be predicted."""
    from tlstudio.api import Sample
    from tlstudio.engine.asking import can_read

    if source is None:
        return can_read(run, registry, Sample(id="text", text=text, pair=pair, source="--text"))
    return text is not None or can_read(run, registry, source, columns)


def _modality(model: Path, run: Run | None, registry: Registry) -> Modality | None:
    """What a model takes, by what is written about it; `None` where loading it has to say what is wrong."""
    from tlstudio.api import MODALITIES, TLStudioError
    from tlstudio.api.files import read_text

    try:
        if run is not None:
            return registry.backbone(run.read_recipe()["backbone"]["name"]).modality
        said = json.loads(read_text(model / "config.json"))["modality"]
    except (TLStudioError, OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return said if said in MODALITIES else None


@contextlib.contextmanager
def load_model(
    output: Output,
    model: Path,
    run_id: str,
    device: str,
    check: Callable[[Registry, Modality], None] = lambda _registry, _modality: None,
    how: str = "with --run",
    made_for: Callable[[Registry, Modality, Task], bool] = lambda _registry, _modality, _task: False,
    reads: Callable[[Registry, Run], bool] = lambda _registry, _run: True,
) -> Iterator[tuple[Predictor, Registry, Run | None]]:
    """Load the model of a run, or an exported one, for which the run is `None`.

    Args:
        output: Where to tell what is going on.
        model: A project, or an exported folder.
        run_id: A run of the project: its id, ``latest`` or ``best``; ``""``: the best. Of several data sets, the runs
            that `check` lets pass are meant.
        device: See `Predictor`.
        check: Looks at what the model takes before it is loaded, which takes a while.
        how: How another run is given.
        made_for: Whether a run of some kind is meant before others that `check` lets pass.
        reads: Whether a run can read what it is asked about.

    Raises:
        RunError: There is no such model, or it is damaged.
    """
    from tlstudio.api import RunError
    from tlstudio.store.project import Project

    if not model.exists():
        raise RunError(f"There is no folder {model}.", "Give an exported model or a project.", path=model)
    with contextlib.ExitStack() as stack:
        run = project = None
        if Project.is_project(model):
            project = stack.enter_context(open_project(model, output))
        elif run_id:
            raise click.UsageError(f"A run goes with a project, and {model} is none.")
        with StatusLine() as status:
            status.update("Loading the model", "")
            registry = find_registry(output)
            if project is not None:

                def able(modality: Modality, task: Task) -> int:
                    check(registry, modality)
                    return 2 if made_for(registry, modality, task) else 1

                fits, readable = taking(registry, able), functools.partial(reads, registry)
                run = find_run(project, run_id or "best", output, fits, readable)
            if modality := _modality(model, run, registry):
                with told_of(run, model, how):
                    check(registry, modality)
            from tlstudio.engine.predict import Predictor

            if run is None:
                predictor = Predictor.from_export(model, registry, device)
            else:
                predictor = Predictor.from_run(run, registry, device)
        output.hint(f"Model: {predictor.title}")
        yield predictor, registry, run


def to_csv(
    output: Output,
    predictor: Predictor,
    registry: Registry,
    source: Path,
    csv: Path,
    columns: dict[str, str],
) -> int:
    """Predict everything in a source into a file, and tell of it; returns the exit code."""
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
                columns=columns,
                on_progress=lambda done, total: status.update("Predicting", f"{done:,} of {total:,}"),
                cancelled=lambda: bool(asked),
            )
    finally:
        status.clear()
    if report.rejected:
        show_rejected(output, report.rejected, "not predicted")
    output.say(f"Wrote {counted(report.rows, 'prediction')} to {report.output}.")
    for note in report.notes:
        output.hint(f"Note: {note}")
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


def to_screen(output: Output, predictor: Predictor, samples: list[Sample | Rejected]) -> int:
    """Predict samples and print what came out; returns the exit code."""
    from tlstudio.api import Rejected
    from tlstudio.engine.answers import words

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
    if predictor.target.size:
        _show_forecasts(output, predictor, done)
    elif len(done) == 1 and done[0][1].scores:
        output.table(["class", "probability"], list(done[0][1].scores[:TOP_CLASSES]))
    elif done:
        rows = [[cut(sample.id, 60), cut(words(p.value, sample), 100), p.confidence] for sample, p in done]
        output.table(["item", "prediction", "confidence"], rows, left=2)
    if rejected:
        show_rejected(output, rejected, "not predicted")
    output.result(predictions_json(done, rejected))
    return 0 if done else WRONG_USE


def _show_forecasts(output: Output, predictor: Predictor, done: Sequence[tuple[Sample, Prediction]]) -> None:
    """Print each value that is forecast in a line of its own, with its time."""
    from tlstudio.engine.times import last_and_next

    size = predictor.target.size
    rows: list[list[object]] = []
    for sample, prediction in done:
        values = prediction.value if isinstance(prediction.value, tuple) else ()
        times = last_and_next(sample.times, size)[1] or [""] * size
        told = zip(times, values, strict=True)
        rows += [[cut(sample.id, 60), f"+{step}", time, f"{value:.5g}"] for step, (time, value) in enumerate(told, 1)]
    if rows:
        output.table(["item", "step", "time", predictor.forecast_name], rows, left=3)


def predictions_json(
    done: Sequence[tuple[Sample, Prediction]], rejected: Sequence[Rejected], *, top: int | None = None
) -> dict[str, Any]:
    """Predictions, for programs.

    Args:
        done: Samples and what the model says of each.
        rejected: Those that could not be read.
        top: How many classes are told, the most probable first; `None`: all.
    """
    from tlstudio.engine.answers import told
    from tlstudio.engine.times import last_and_next

    def times(sample: Sample, prediction: Prediction) -> dict[str, Any]:
        if not sample.times or not isinstance(prediction.value, tuple):
            return {}
        last, following = last_and_next(sample.times, len(prediction.value))
        return {"last_time": last, "times": following}

    return {
        "predictions": [
            {
                "id": sample.id,
                "prediction": told(prediction.value, sample),
                "confidence": prediction.confidence,
                "scores": dict(prediction.scores[:top]),
                **times(sample, prediction),
            }
            for sample, prediction in done
        ],
        "rejected": rejected_json(rejected),
    }
