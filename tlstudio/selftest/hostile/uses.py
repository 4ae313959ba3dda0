"""Using a hostile file as a person would: in the process that is watched."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tlstudio.api import ProblemsError, Rejected, Sample, TLStudioError
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.checkpoint_reading import find_resumption
from tlstudio.engine.evaluate import read_evaluation
from tlstudio.engine.events import from_json
from tlstudio.engine.feature_cache import load_features
from tlstudio.engine.predict import Predictor, predict_to_csv
from tlstudio.engine.recipe import read_recipe_file
from tlstudio.engine.spreadsheet import harmless, original
from tlstudio.plugins import Registry
from tlstudio.plugins.sources import find_sources
from tlstudio.selftest.hostile.files import HostileFile, Place, Site
from tlstudio.selftest.hostile.labelled import surround
from tlstudio.selftest.material import draw_images
from tlstudio.store.project import Project

IMAGE_BACKBONE = "shufflenet_v2_x0_5"
IMAGE_OPTIONS = {"weights": "random", "image_size": 32}
_FORMULA_BEGINS = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")


@dataclass(slots=True)
class Heard:
    """What the studio has said of a file.

    Attributes:
        refusals: Sentences of errors and of items that were left out.
        notes: Other sentences.
        faults: What must not be, found by looking at the results.
    """

    refusals: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def reject(self, items: Any) -> None:  # noqa: ANN401  rejected items
        """Note items that were left out."""
        self.refusals += [f"{item.source}: {item.reason}" for item in items]


def prepare(file: HostileFile, site: Site) -> Path:
    """Make a hostile file with all that belongs around it; returns what the studio is given.

    Raises:
        OSError: This system cannot have such a file.
        NotImplementedError: The same.
    """
    for folder in (site.output, site.canary.parent, site.outside.parent):
        folder.mkdir(parents=True)
    site.outside.write_text("somebody else's", encoding="utf-8")
    copied = _COPIED.get(file.place)
    if copied is not None:
        shutil.copytree(site.material / copied, site.source)
    else:
        site.source.mkdir()
    if file.place == "table of images":
        draw_images(site.source / "images", per_class=4)
    surround(file.place, site.source)
    for kind in ("cat", "dog"):
        if file.place == "image folder":
            shutil.copytree(site.material / "images" / "circle", site.source / kind)
        elif file.place == "text folder":
            (site.source / kind).mkdir()
            for number in range(4):
                (site.source / kind / f"{number}.txt").write_text(f"a {kind} no. {number}", encoding="utf-8")
    root = site.source / _INSIDE.get(file.place, "")
    file.write(root / file.path, site)
    return site.source if file.place in _FOLDERS else root / file.path


def use(place: Place, given: Path, site: Site, registry: Registry) -> Heard:
    """Use what was made; raises only what is a bug."""
    heard = Heard()
    try:
        _USES[place](given, site, registry, heard)
    except ProblemsError as error:
        heard.refusals.append(" ".join([str(error), *map(str, error.problems)]))
    except TLStudioError as error:
        heard.refusals.append(str(error))
    return heard


def _image_weights(given: Path, _site: Site, registry: Registry, _heard: Heard) -> None:
    backbone = registry.backbone(IMAGE_BACKBONE)
    backbone.load(backbone.Options.model_validate(IMAGE_OPTIONS | {"weights": str(given)}))


def _text_weights(given: Path, site: Site, registry: Registry, _heard: Heard) -> None:
    backbone = registry.backbone("auto_model")
    values = {"weights": str(given), "folder": str(site.material / "encoder")}
    backbone.load(backbone.Options.model_validate(values))


def _model_folder(given: Path, site: Site, registry: Registry, _heard: Heard) -> None:
    backbone = registry.backbone("auto_model")
    options = backbone.Options.model_validate({"weights": str(given)})
    backbone.find_weights(options)
    prepared = backbone.preprocessor(options)(Sample(id="1", text="a" * 200))
    inputs = backbone.preprocessor(options).collate([prepared])
    backbone.load(options).eval()(inputs)
    backbone.save_assets(options, site.output)


def _feature_cache(given: Path, _site: Site, _registry: Registry, heard: Heard) -> None:
    if load_features(given, 36, 1024) is not None:
        heard.faults.append("The features were taken.")


def _checkpoint(given: Path, site: Site, registry: Registry, heard: Heard) -> None:
    folder = _run_of(site)
    _, notes = find_resumption(folder / "checkpoints")
    heard.refusals += [f"checkpoint: {note}" for note in notes]
    _run(given, site, registry, heard)


def _run_of(site: Site) -> Path:
    return next(path for path in (site.source / "runs").iterdir() if path.name.endswith("-linear_probe"))


def _run(_given: Path, site: Site, registry: Registry, heard: Heard) -> None:
    with Project.open(site.source, write=False) as project:
        heard.refusals += [summary.error for summary in project.runs() if summary.status == "damaged"]
        run = project.run(_run_of(site).name)
        for line in run.event_lines():
            with contextlib.suppress(ValueError):  # a line of another version is left out
                from_json(line)
        run.read_recipe()
        read_evaluation(run)
        _predict_one(Predictor.from_run(run, registry, device="cpu"), site)


def _predict_one(predictor: Predictor, site: Site) -> None:
    image = next((site.material / "images" / "circle").iterdir())
    sample = Sample(id="1", image=image) if predictor.modality == "image" else Sample(id="1", text="a film")
    for _, outcome in predictor.predict([sample]):
        if isinstance(outcome, Rejected):
            raise TLStudioError(f"{outcome.source}: {outcome.reason}")


def _export(given: Path, site: Site, registry: Registry, _heard: Heard) -> None:
    _predict_one(Predictor.from_export(given, registry, device="cpu"), site)


def _data(given: Path, site: Site, registry: Registry, heard: Heard) -> None:
    """Import, and predict the same."""
    formats = registry.formats.values()
    error: TLStudioError | None = None
    try:
        request, preview = plan_import(formats, given, name="data")
        heard.notes += preview.notes
        report = import_dataset(request, site.output / "datasets")
        heard.reject(report.rejected)
        revision = report.revision
        for index in range(min(50, len(revision))):
            revision.sample(index)
    except TLStudioError as caught:
        error = caught
    modality = "image" if "image" in str(given) or (given / "cat").is_dir() else "text"
    with contextlib.suppress(TLStudioError):
        _to_csv(given, site, registry, heard, "image" if any(given.rglob("*.png")) else modality)
    if error is not None:
        raise error


def _labelled(given: Path, site: Site, registry: Registry, heard: Heard, *, format_name: str = "") -> None:
    """Import by the format that it is meant for, which a damaged file may hide."""
    name = format_name or _FORMATS[given.suffix]
    request, preview = plan_import(registry.formats.values(), given, name="data", format=name)
    heard.notes += preview.notes
    report = import_dataset(request, site.output / "datasets")
    heard.reject(report.rejected)
    for index in range(min(50, len(report.revision))):
        report.revision.sample(index)


def _model_archive(given: Path, site: Site, registry: Registry, heard: Heard) -> None:
    os.environ["TLSTUDIO_HOME"] = str(site.output / "home")
    _image_weights(given, site, registry, heard)


def _to_csv(given: Path, site: Site, registry: Registry, heard: Heard, modality: str) -> Path:
    model = site.material / f"{modality}-model"
    predictor = Predictor.from_export(model, registry, device="cpu")
    report = predict_to_csv(predictor, given, site.output / "predictions.csv", registry)
    heard.reject(report.rejected)
    _check_cells(report.output, heard)
    return report.output


def _check_cells(path: Path, heard: Heard) -> None:
    """No cell may be a formula, however a spreadsheet cuts the lines; and each reads back as it was."""
    raw = path.read_text(encoding="utf-8-sig")
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for cell in (cell for row in csv.reader(file) for cell in row):
            if harmless(original(cell)) != cell:
                heard.faults.append(f"The cell {cell[:80]!r} does not read back.")
    for separator in (",", ";", "\t"):
        for row in csv.reader(raw.splitlines(), delimiter=separator):
            heard.faults += [f"The cell {cell[:80]!r} is a formula." for cell in row if _is_formula(cell)]


def _is_formula(cell: str) -> bool:
    if not cell.strip(" \"'").startswith(_FORMULA_BEGINS) or cell.startswith("'"):
        return False
    try:
        float(cell.split(",", 1)[0] or "x")
    except ValueError:
        return cell.lstrip(' "').startswith(_FORMULA_BEGINS)
    return False


def _prediction(given: Path, site: Site, registry: Registry, heard: Heard) -> None:
    output = _to_csv(given, site, registry, heard, "text")
    with given.open(encoding="utf-8", newline="") as file:
        before = [row["text"].strip() for row in csv.DictReader(file)]
    with output.open(encoding="utf-8-sig", newline="") as file:
        after = [original(row["text"]) for row in csv.DictReader(file)]
    if before != after:
        heard.faults.append(f"{[pair for pair in zip(before, after, strict=False) if pair[0] != pair[1]]} differ.")


def _recipe(given: Path, site: Site, registry: Registry, _heard: Heard) -> None:
    values = read_recipe_file(given)
    with Project.open(site.material / "project", write=False) as project:
        complete(values, project.dataset("images"), registry, build=True)


def _project(given: Path, _site: Site, _registry: Registry, heard: Heard) -> None:
    with Project.open(given) as project:
        project.metric_rows()
        made = project.new_run("", dataset="images", revision="r1", backbone="b", head="h", strategy="full")
        made.finish("done")
        project.delete_run(made.id)
        heard.refusals += [summary.error for summary in project.runs() if summary.status == "damaged"]
        for name in project.datasets():
            try:
                project.dataset(name).sample(0)
            except TLStudioError as error:
                heard.refusals.append(str(error))


def _plugin_folder(given: Path, _site: Site, _registry: Registry, heard: Heard) -> None:
    sources = list(find_sources(given))
    for source in sources:
        if not source.bundled:
            source.fingerprint()
    if sum(source.bundled for source in sources) < 5:
        heard.faults.append("Plugins of the studio's own are not found any more.")


def _plugin_metadata(given: Path, site: Site, registry: Registry, heard: Heard) -> None:
    sys.path.insert(0, str(given))
    _plugin_folder(site.output, site, registry, heard)


_FOLDERS = frozenset(
    {
        "sound folder",
        "mask folder",
        "boxes",
        "model folder",
        "checkpoint",
        "run folder",
        "exported image model",
        "exported text model",
        "image folder",
        "text folder",
        "project folder",
        "plugin folder",
        "plugin metadata",
    }
)
_FORMATS = {".csv": "value_table", ".ts": "ts_files", ".jsonl": "conversations"}
_COPIED: dict[Place, str] = {
    "model folder": "encoder",
    "checkpoint": "project",
    "run folder": "project",
    "project folder": "project",
    "exported image model": "image-model",
    "exported text model": "text-model",
}
_INSIDE: dict[Place, str] = {"checkpoint": "runs/run-linear_probe/checkpoints", "run folder": "runs/run-linear_probe"}
_USES: dict[Place, Callable[[Path, Site, Registry, Heard], None]] = {
    "image weights": _image_weights,
    "text weights": _text_weights,
    "model folder": _model_folder,
    "feature cache": _feature_cache,
    "checkpoint": _checkpoint,
    "run folder": _run,
    "exported image model": _export,
    "exported text model": _export,
    "image folder": _data,
    "text folder": _data,
    "table": _data,
    "table of images": _data,
    "sound folder": partial(_labelled, format_name="audio_folder"),
    "mask folder": partial(_labelled, format_name="mask_folder"),
    "boxes": partial(_labelled, format_name="coco_boxes"),
    "rows": _labelled,
    "model archive": _model_archive,
    "prediction": _prediction,
    "recipe": _recipe,
    "project folder": _project,
    "plugin folder": _plugin_folder,
    "plugin metadata": _plugin_metadata,
}
