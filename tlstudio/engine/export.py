"""Export: a folder that stands alone, and is only called done after it gave the same outputs as the run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from tlstudio import __version__
from tlstudio.api import Modality, Preprocessor, RunError, Sample
from tlstudio.api.nn import TransferModel
from tlstudio.data.own_folders import refuse_as_output
from tlstudio.engine.assemble import load_run_model, preprocessor_of
from tlstudio.engine.columns import columns_of
from tlstudio.engine.exported import EXPORT_FORMAT, load_export
from tlstudio.engine.parts import Parts
from tlstudio.engine.predict import Predictor
from tlstudio.engine.recipe import Recipe, parse_recipe
from tlstudio.engine.source import lineage_of
from tlstudio.engine.target import read_target, target_values
from tlstudio.plugins import Registry
from tlstudio.privacy import without_home
from tlstudio.store.project import Project
from tlstudio.store.run import Run

TOLERANCE = 1e-4
"""Largest difference of an output that counts as the same: folding LoRA's factors into the weights rounds anew."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported.

    Attributes:
        folder: The folder.
        size_bytes: Its size.
        checked_samples: Samples on which the export was compared with the run.
        max_difference: Largest difference of any output on them.
    """

    folder: Path
    size_bytes: int
    checked_samples: int
    max_difference: float


def export_run(
    run: Run,
    folder: Path,
    registry: Registry,
    *,
    project: Project,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ExportReport:
    """Write a run's best model into a folder of its own.

    The folder holds ``model.safetensors`` (keys ``backbone.*`` and ``head.*``, adapters folded in where they can be),
    ``config.json`` (backbone, head and what they were built with), ``labels.json``, ``preprocessing.json``, ``assets/``
    (tokenizer and the like) and a README with an example.

    Args:
        run: The run.
        folder: Where to; must not exist or be empty.
        registry: The components.
        project: Gives the samples on which the export is checked.
        on_progress: Called with steps done and their number.

    Raises:
        RunError: The folder is taken or cannot be written, the run has no model, its assets lead elsewhere, or the
            export gives other outputs.
    """
    folder = folder.absolute()
    check_new_folder(folder)
    recipe = parse_recipe(run.read_recipe())
    parts, model = load_run_model(run, registry)
    preprocessor = preprocessor_of(parts, assets=run.assets)
    samples = _check_samples(project, recipe)
    before = Predictor(model, preprocessor, modality=parts.backbone.modality, title=run.id, device="cpu").outputs(
        samples
    )
    on_progress(1, 3)
    parts.strategy.merge(model)
    with whole_folder(folder) as staging:
        _write(staging, run, recipe, parts, model, preprocessor)
        on_progress(2, 3)
        restored, again, modality = load_export(staging, registry)
        after = Predictor(restored, again, modality=modality, title=run.id, device="cpu").outputs(samples)
        difference = float((before - after).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(before.abs().max())):
            raise RunError(f"The export gives other outputs than the run (by {difference:.2g}); it was not kept.")
    on_progress(3, 3)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return ExportReport(folder, size, len(samples), difference)


def check_new_folder(folder: Path) -> None:
    """Refuse a folder that is taken.

    Raises:
        RunError: It is not empty, or belongs to a project.
    """
    refuse_as_output(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not empty.", "Choose a new folder.", path=folder)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into that takes its place in the end, or nothing at all if something goes wrong.

    Raises:
        RunError: It cannot be written.
    """
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        staging.mkdir(parents=True)
        yield staging
        if folder.exists():
            folder.rmdir()
        staging.rename(folder)
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written: {error.strerror or error}.", "Choose another place.", path=folder
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_samples(project: Project, recipe: Recipe, most: int = 16) -> list[Sample]:
    """Some samples of the run's own data, spread over the test and validation splits."""
    revision = project.dataset(recipe.dataset.name, recipe.dataset.revision)
    indices = [*revision.indices("test"), *revision.indices("validation"), *revision.indices("train")]
    return [revision.sample(int(index)) for index in indices[:: max(1, len(indices) // most)][:most]]


def _write(
    folder: Path, run: Run, recipe: Recipe, parts: Parts, model: TransferModel, preprocessor: Preprocessor
) -> None:
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt", "made_with": f"TL Studio {__version__}"})
    kept = None if parts.strategy.merges else recipe.strategy.model_dump(mode="json")
    config = {
        "format": EXPORT_FORMAT if kept else 1,
        "made_with": f"TL Studio {__version__}",
        "run": run.id,
        "modality": parts.backbone.modality,
        "backbone": recipe.backbone.model_dump(mode="json", include={"name", "options"}),
        "head": recipe.head.model_dump(mode="json"),
        "num_features": model.backbone.num_features,
        "strategy": recipe.strategy.model_dump(mode="json"),
        "prepared_by": kept,
        "dataset": recipe.dataset.model_dump(mode="json"),
        "columns": columns_of(run),
        "metrics": run.metrics(),
        "lineage": [one.model_dump(mode="json") for one in lineage_of(run)],
    }
    files = {
        "config.json": config,
        "labels.json": target_values(read_target(run)),
        "preprocessing.json": preprocessor.describe(),
    }
    for name, value in files.items():
        write_json(folder / name, value)
    # safetensors makes its file private.
    shutil.copymode(folder / "config.json", folder / "model.safetensors")
    check_assets(run.assets)
    shutil.copytree(run.assets, folder / "assets")
    (folder / "README.md").write_text(_readme(run, recipe, parts), encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file of an export."""
    # An option may name a file of the user's; an export is there to be handed on.
    text = without_home(json.dumps(value, indent=2, ensure_ascii=False))
    path.write_text(text + "\n", encoding="utf-8")


def check_assets(folder: Path) -> None:
    """Refuse what would bring files of elsewhere along where assets are copied: a run may be one that somebody sent.

    Raises:
        RunError: Something in the assets is neither a plain file nor a folder.
    """
    for path in (folder, *folder.rglob("*")):
        if not (stat.S_ISREG(mode := path.lstat().st_mode) or stat.S_ISDIR(mode)):
            what = f"{path} is a link or a pipe, not a file of the run: it is not copied."
            raise RunError(what, "Put the file itself there, or remove it.", path=path)


_EXAMPLES: dict[Modality, tuple[str, str]] = {
    "image": ('image=Path("photo.jpg")', "photo.jpg"),
    "text": ('text="some text"', "texts.csv"),
    "audio": ('audio=Path("recording.wav")', "recording.wav"),
    "table": ('values={"column": 1.0}', "rows.csv"),
    "image+text": ('image=Path("photo.jpg"), text="some text"', "images_and_texts.csv"),
}


def _readme(run: Run, recipe: Recipe, parts: Parts) -> str:
    argument, source = _EXAMPLES[parts.backbone.modality]
    rows = [
        f"| {split} | {name} | {value:.4g} |"
        for split, values in run.metrics().items()
        for name, value in values.items()
    ]
    return "\n".join(
        [
            f"# {parts.backbone.title}, {parts.head.title.lower()}",
            "",
            f"Trained with TL Studio {__version__} on `{recipe.dataset.name}` ({recipe.dataset.revision}) by the",
            f"strategy `{recipe.strategy.name}`. Licence of the pretrained weights: {parts.backbone.info().license}.",
            "",
            "| split | metric | value |",
            "|---|---|---|",
            *rows,
            "",
            f"    tlstudio predict THIS_FOLDER {source} --output predictions.csv",
            "",
            "```python",
            "from pathlib import Path",
            "from tlstudio.api import Rejected, Sample",
            "from tlstudio.engine.predict import load_predictor",
            "",
            'predictor = load_predictor("THIS_FOLDER")',
            f'sample = Sample(id="1", {argument})',
            "for _, prediction in predictor.predict([sample]):",
            "    print(prediction.reason if isinstance(prediction, Rejected) else prediction)",
            "```",
            "",
        ]
    )
