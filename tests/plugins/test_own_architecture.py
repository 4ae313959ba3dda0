"""An architecture of one's own: a plugin of a few lines, and never anything that a recipe merely names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import draw_folder
from tests.e2e.test_readme import block
from tests.engine.conftest import Heard
from tlstudio.api import FeatureKind, Features, PluginError, ProblemsError, Sample, WeightsError, module_backbone
from tlstudio.api.own_models import ModuleOptions
from tlstudio.engine.advise import complete
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.export import export_run
from tlstudio.plugins import PluginManager, Registry
from tlstudio.plugins.sources import import_file
from tlstudio.store.project import Project
from tlstudio.testing import check_backbone

ONE_EPOCH: dict[str, Any] = {"epochs": 1, "batch_size": 16, "device": "cpu"}


@pytest.fixture
def images(tmp_path: Path) -> list[Sample]:
    paths = sorted(draw_folder(tmp_path / "images", 2).rglob("*.png"))
    return [Sample(id=path.name, image=path, label=path.parent.name) for path in paths]


def convolutions() -> nn.Module:
    fine = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(fine, nn.Conv2d(8, 16, 3, stride=2, padding=1))


class Pyramid(nn.Module):
    """Gives two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 8, 4, stride=4)
        self.coarse = nn.Conv2d(8, 16, 2, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(x)
        return fine, self.coarse(fine)


class Patches(nn.Module):
    """Gives one token a patch."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 16, stride=16)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.patch(x)
        return y.flatten(2).transpose(1, 2)


class Both(nn.Module):
    """Says itself what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Features:
        return Features(pooled=self.layer(x.mean((2, 3))))


def flat() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 10))


@pytest.mark.parametrize(
    ("build", "width", "kinds", "channels", "strides"),
    [
        (convolutions, 16, {"pooled", "maps"}, (16,), (8,)),
        (Pyramid, 16, {"pooled", "maps"}, (8, 16), (4, 8)),
        (Patches, 12, {"pooled", "tokens"}, (), ()),
        (Both, 5, {"pooled"}, (), ()),
        (flat, 10, {"pooled"}, (), ()),
    ],
)
def test_any_module_keeps_the_promises_of_a_backbone(
    build: Any,
    width: int,
    kinds: set[FeatureKind],
    channels: tuple[int, ...],
    strides: tuple[int, ...],
    images: list[Sample],
    tmp_path: Path,
) -> None:
    backbone = module_backbone("mine", build, shape=(3, 32, 32))
    info = backbone.info()
    assert info.num_features == width
    assert info.provides == kinds
    assert (info.map_channels, info.map_strides) == (channels, strides)
    (tmp_path / "check").mkdir()
    check_backbone(backbone, images, tmp_path / "check")


def test_the_example_of_the_readme_trains_and_is_exported(
    shapes_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "my_net.py").write_text(block("example:architecture"), encoding="utf-8")
    manager = PluginManager(folder)
    manager.discover()
    assert manager.plugins[-1].provides == ("backbone my_net",)
    heard = Heard()
    recipe = complete(
        {"backbone": "my_net", "strategy": "full", "training": ONE_EPOCH},
        shapes_project.dataset("shapes"),
        manager.registry,
        build=True,
    )
    run = execute_run(recipe, shapes_project, manager.registry, on_event=heard, control=heard.control)
    ended = heard.of(RunEnded)[0]
    assert ended.status == "done", ended.error or ended.traceback
    report = export_run(run, tmp_path / "model", manager.registry, project=shapes_project)
    assert report.max_difference < 1e-4


def test_features_of_a_plugin_are_not_taken_for_those_of_a_changed_one(tmp_path: Path) -> None:
    described = []
    for name, shift in (("one", 0), ("two", 1)):
        (tmp_path / f"{name}.py").write_text(
            "import torch\n"
            "from tlstudio.api import module_backbone\n\n"
            f"def prepare(sample):\n    return torch.full((3,), {shift}.0)\n\n"
            "def build():\n    return torch.nn.Linear(3, 2)\n\n"
            'BACKBONE = module_backbone("own", build, modality="text", shape=(3,), prepare=prepare)\n',
            encoding="utf-8",
        )
        backbone = import_file(tmp_path / f"{name}.py").BACKBONE
        described.append(backbone.preprocessor(ModuleOptions()).describe()["plugin_sha256"])
    assert len(set(described)) == 2
    assert all(described)


def letters(sample: Sample) -> Tensor:
    """Count the letters of a text."""
    counts = torch.zeros(26)
    for letter in (sample.text or "").lower():
        if "a" <= letter <= "z":
            counts[ord(letter) - 97] += 1
    return counts


def test_a_function_of_the_plugin_brings_data_of_any_kind(tmp_path: Path) -> None:
    backbone = module_backbone("letters", lambda: nn.Linear(26, 6), modality="text", shape=(26,), prepare=letters)
    check_backbone(backbone, [Sample(id="1", text="a film"), Sample(id="2", text="a play")], tmp_path)
    with pytest.raises(PluginError, match="needs prepare="):
        module_backbone("letters", lambda: nn.Linear(26, 6), modality="text", shape=(26,))


def test_its_own_weights_are_loaded_without_the_head_that_they_had(tmp_path: Path) -> None:
    trained = nn.Sequential(convolutions(), nn.Linear(16, 3))
    state = {f"{'body' if key[0] == '0' else 'head'}.{key[2:]}": value for key, value in trained.state_dict().items()}
    torch.save(state, tmp_path / "mine.pth")

    def build() -> nn.Module:
        module = nn.Module()
        module.add_module("body", convolutions())
        module.forward = lambda x: module.body(x)  # type: ignore[operator]
        return module

    backbone = module_backbone("mine", build, shape=(3, 32, 32), weights=tmp_path / "mine.pth", left_out=("head.",))
    module = backbone.load(ModuleOptions())
    assert torch.equal(module.state_dict()["module.body.0.0.weight"], state["body.0.0.weight"])
    assert backbone.find_weights(ModuleOptions(weights="random")).path is None
    strict = module_backbone("mine", build, shape=(3, 32, 32), weights=tmp_path / "mine.pth")
    with pytest.raises(WeightsError, match=r"2 are unknown \(head\.weight, head\.bias\)"):
        strict.load(ModuleOptions())


def test_a_module_that_returns_something_else_says_what_it_must_return() -> None:
    backbone = module_backbone("mine", lambda: nn.Flatten(0), shape=(3, 8, 8))
    with pytest.raises(PluginError, match=r"returned \(384,\).*must return \[B, D\]"):
        backbone.info()
    with pytest.raises(PluginError, match=r"made a dict, no nn\.Module"):
        module_backbone("mine", dict, shape=(3, 8, 8)).info()  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["name", "weights", "start_from"])
def test_a_python_file_that_a_recipe_names_is_never_run(
    place: str, shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    file = tmp_path / "mine.py"
    file.write_text(f"open({str(trace)!r}, 'w').close()\n", encoding="utf-8")
    backbone: dict[str, Any] = {"name": "test_resnet", "options": {"weights": "random", "image_size": 32}}
    if place == "weights":
        backbone["options"]["weights"] = str(file)
    else:
        backbone[place] = str(file)
    with pytest.raises(ProblemsError):
        complete({"backbone": backbone}, shapes_project.dataset("shapes"), registry, build=True)
    assert not trace.exists()
