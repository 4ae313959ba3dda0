"""``tlstudio similar``: what is most like a sample, by a pretrained backbone or by a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import TINY, Tlstudio
from tests.conftest import draw_folder
from tlstudio.api import Sample
from tlstudio.engine.similar import SimilarItems
from tlstudio.plugins import Registry
from tlstudio.store.project import Project


@pytest.fixture
def shapes(tlstudio: Tlstudio, tmp_path: Path) -> Path:
    """A project with drawn shapes, and nothing trained."""
    project = tmp_path / "project"
    assert tlstudio("new", project).code == 0
    assert tlstudio("import", project, draw_folder(tmp_path / "shapes", 12), "--name", "shapes").code == 0
    return project


def test_an_item_is_most_like_itself_by_an_untrained_search(tlstudio: Tlstudio, shapes: Path, tmp_path: Path) -> None:
    image = next((tmp_path / "shapes" / "square").iterdir())
    result = tlstudio("similar", shapes, image, *TINY, "-k", 3, "--json")
    assert result.code == 0, result.err
    found = result.json["found"][0]["similar"]
    assert len(found) == 3
    assert found[0]["id"] == f"square/{image.name}"
    assert found[0]["label"] == "square"
    assert found[0]["similarity"] == pytest.approx(1.0, abs=1e-5)
    similarities = [each["similarity"] for each in found]
    assert similarities == sorted(similarities, reverse=True)


def test_features_are_kept_and_not_computed_twice(tlstudio: Tlstudio, shapes: Path) -> None:
    first = tlstudio("similar", shapes, "--measure", *TINY, "--json")
    assert first.code == 0, first.err
    kept = next((shapes / "cache").glob("*.npy"))
    before = kept.stat().st_mtime_ns, kept.read_bytes()
    again = tlstudio("similar", shapes, "--measure", *TINY, "--json")
    assert again.json == first.json
    assert [file.name for file in (shapes / "cache").glob("*.npy")] == [kept.name]
    assert kept.read_bytes() == before[1]


def test_a_project_that_somebody_else_holds_is_searched_without_writing(tlstudio: Tlstudio, shapes: Path) -> None:
    with Project.open(shapes):
        held = tlstudio("similar", shapes, "--measure", *TINY, "--json")
    assert held.code == 0, held.err
    assert "Features that it has not kept are computed again." in held.err
    assert not list(shapes.glob("cache/*.npy"))
    assert tlstudio("similar", shapes, "--measure", *TINY, "--json").json == held.json
    (kept,) = shapes.glob("cache/*.npy")
    np.save(kept, np.random.default_rng(0).normal(size=np.load(kept).shape).astype(np.float32))
    with Project.open(shapes):
        assert tlstudio("similar", shapes, "--measure", *TINY, "--json").json != held.json, "what is kept is taken"


def test_the_features_of_a_run_are_those_of_its_trained_backbone(tlstudio: Tlstudio, shapes: Path) -> None:
    trained = tlstudio("train", shapes, *TINY, "--strategy", "lora", "-o", "training.epochs=1", "--json")
    assert trained.code == 0, trained.err
    by_run = tlstudio("similar", shapes, "--measure", "-k", 5, "--json")
    assert by_run.code == 0, by_run.err
    assert by_run.json["k"] == 5
    assert 0 < by_run.json["precision"] <= by_run.json["hits"] <= 1
    assert len(list((shapes / "cache").glob("*.npy"))) == 1


def test_neighbours_are_those_of_the_highest_cosine(shapes_project: Project, registry: Registry) -> None:
    backbone = registry.backbone("test_resnet")
    options = backbone.Options.model_validate({"weights": "random", "image_size": 32})
    revision = shapes_project.dataset("shapes")
    items = SimilarItems.of_backbone(backbone, options, revision, shapes_project)
    features = np.load(next((shapes_project.folder / "cache").glob("*.npy"))).astype(np.float64)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = unit @ unit[5]
    expected[5] = -2
    found = items.like(5, 4)
    assert [each.similarity for each in found] == pytest.approx(sorted(expected)[:-5:-1], abs=1e-5)
    assert [each.index for each in found] == np.argsort(-expected, kind="stable")[:4].tolist()
    assert 5 not in [each.index for each in items.like(5, len(revision))]

    train, test = revision.indices("train"), revision.indices("test")
    labels = np.array(revision.labels(np.arange(len(revision))), dtype=object)
    nearest = np.argsort(-(unit[test] @ unit[train].T), axis=1, kind="stable")[:, :3]
    alike = labels[train][nearest] == labels[test][:, None]
    report = items.measure(3)
    assert (report.items, report.k) == (len(test), 3)
    assert report.hits == pytest.approx(alike.any(axis=1).mean())
    assert report.precision == pytest.approx(alike.mean())


def test_what_cannot_be_read_is_told_and_the_rest_is_found(
    shapes_project: Project, registry: Registry, shapes_folder: Path, tmp_path: Path
) -> None:
    backbone = registry.backbone("test_resnet")
    options = backbone.Options.model_validate({"weights": "random", "image_size": 32})
    items = SimilarItems.of_backbone(backbone, options, shapes_project.dataset("shapes"), shapes_project)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    good = next((shapes_folder / "circle").iterdir())
    outcome = list(items.nearest([Sample("a", image=broken), Sample("b", image=good)], 2))
    assert "broken.png" in getattr(outcome[0][1], "reason", "")
    assert [len(found) if isinstance(found, tuple) else 0 for _, found in outcome] == [0, 2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Give either a SOURCE, --text or --measure."),
        (("--measure", "--text", "a"), "Give either a SOURCE, --text or --measure."),
        (("--measure", "--run", "best", "--backbone", "resnet18"), "Give either --run or --backbone."),
        (("--measure", "--dataset", "shapes"), "go with --backbone"),
        (("--measure", "--backbone", "minilm"), "There is no backbone 'minilm'."),
        (("--measure", "--backbone", "test_resnet", "-o", "backbone.nonsense=1"), "nonsense"),
        (("--measure", "--backbone", "all-MiniLM-L6-v2"), "does not take what 'shapes' holds"),
    ],
)
def test_what_does_not_go_together_is_said(
    tlstudio: Tlstudio, shapes: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    result = tlstudio("similar", shapes, *arguments)
    assert result.code == 2
    assert sentence in result.err
