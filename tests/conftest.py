"""Real small things that many tests need: drawn images, a table of texts, a project with both, the bundled plugins."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image, ImageDraw

from tlstudio.api import Task
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.plugins import PluginManager, Registry
from tlstudio.startup import keep_freed_memory, share_the_cores, stay_offline
from tlstudio.store.project import Project

if TYPE_CHECKING:
    from tlstudio.api.components import Component

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks so small that threads would only wait for each other
stay_offline(os.environ)  # as the program does, before torch is loaded
share_the_cores(os.environ)
keep_freed_memory()

# Speed is no matter of the tests: a busy machine must not fail one.
settings.register_profile("tlstudio", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tlstudio")

SHAPES = ("circle", "square", "圆环")
GOOD = ("a wonderful film", "moving and funny", "great acting", "I loved every minute", "a joy to watch")
BAD = ("a dull film", "tedious and loud", "poor acting", "I hated every minute", "a pain to watch")


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Everything that the bundled plugins bring."""
    manager = PluginManager()
    manager.discover()
    failed = [f"{plugin.name}: {plugin.error}" for plugin in manager.plugins if plugin.state == "failed"]
    assert not failed
    return manager.registry


def draw_shape(kind: str, rng: np.random.Generator, size: int = 48) -> Image.Image:
    """Draw one shape in a random place, size and colour."""
    image = Image.new("RGB", (size, size), tuple(int(v) for v in rng.integers(160, 256, 3)))
    draw = ImageDraw.Draw(image)
    radius = int(rng.integers(size // 5, size // 3))
    x, y = (int(v) for v in rng.integers(radius, size - radius, 2))
    colour = tuple(int(v) for v in rng.integers(0, 110, 3))
    box = (x - radius, y - radius, x + radius, y + radius)
    if kind == "circle":
        draw.ellipse(box, fill=colour)
    elif kind == "square":
        draw.rectangle(box, fill=colour)
    else:
        draw.ellipse(box, outline=colour, width=3)
    return image


def draw_folder(folder: Path, per_class: int, seed: int = 0) -> Path:
    """Write a folder of drawn images, one subfolder a class."""
    rng = np.random.default_rng(seed)
    for kind in SHAPES:
        (folder / kind).mkdir(parents=True)
        for number in range(per_class):
            draw_shape(kind, rng).save(folder / kind / f"{kind}_{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 images in each of 3 classes, one of them with a Chinese name."""
    return draw_folder(tmp_path_factory.mktemp("images") / "shapes", 16)


@pytest.fixture(scope="session")
def reviews_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 short reviews with a sentiment, a score and topics."""
    path = tmp_path_factory.mktemp("texts") / "reviews.csv"
    rng = np.random.default_rng(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "sentiment", "score", "topics"])
        for number in range(60):
            good = number % 2 == 0
            phrase = str(rng.choice(GOOD if good else BAD))
            topics = ";".join(t for t in ("plot", "cast", "music") if rng.random() < 0.5) or "plot"
            score = f"{(2 if good else -2) + rng.normal() / 2:.3f}"
            writer.writerow([f"No. {number}: {phrase}, really.", "good" if good else "bad", score, topics])
    return path


@contextlib.contextmanager
def added(registry: Registry, component: Component) -> Iterator[Registry]:
    """The registry with one component more, as long as it is used."""
    label = registry.add(component)
    try:
        yield registry
    finally:
        registry.remove(label)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty project, open for writing."""
    with Project.create(tmp_path / "project", "Test project") as made:
        yield made


@pytest.fixture
def shapes_project(project: Project, shapes_folder: Path, registry: Registry) -> Project:
    """A project with the data set ``shapes``."""
    request, _ = plan_import(registry.formats.values(), shapes_folder, name="shapes")
    import_dataset(request, project.datasets_folder)
    return project


def import_reviews(project: Project, table: Path, registry: Registry) -> None:
    """Bring reviews into a project as ``reviews``, ``scores`` (regression) and ``topics`` (multi-label)."""
    tasks: tuple[tuple[str, str, Task], ...] = (
        ("reviews", "sentiment", "classification"),
        ("scores", "score", "regression"),
        ("topics", "topics", "multi_label"),
    )
    for name, column, task in tasks:
        request, _ = plan_import(
            registry.formats.values(),
            table,
            name=name,
            format="text_table",
            options={"text_column": "text", "label_column": column},
            task=task,
        )
        import_dataset(request, project.datasets_folder)


@pytest.fixture
def reviews_project(project: Project, reviews_csv: Path, registry: Registry) -> Project:
    """A project with the data sets ``reviews``, ``scores`` (regression) and ``topics`` (multi-label)."""
    import_reviews(project, reviews_csv, registry)
    return project


@pytest.fixture
def two_projects(shapes_project: Project, registry: Registry, tmp_path: Path) -> Project:
    """Shapes, and other shapes as a second data set."""
    request, _ = plan_import(
        registry.formats.values(), draw_folder(tmp_path / "others", 8, seed=3), name="others", task="classification"
    )
    import_dataset(request, shapes_project.datasets_folder)
    return shapes_project
