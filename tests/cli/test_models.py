"""``tlstudio models``: what is on this machine, adding from files of every kind, and taking away."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models._api import get_model

from tests.cli.conftest import TINY, Tlstudio
from tests.cli.test_image_text import encoder, posts
from tests.plugins.test_text import write_model, write_tokenizer

__all__ = ["encoder", "posts"]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    folder = tmp_path / "my-bert"
    folder.mkdir()
    write_model(folder, "bert")
    write_tokenizer(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Mine\n", encoding="utf-8")
    (folder / "modeling.py").write_text("raise SystemExit", encoding="utf-8")
    return folder


def weights(name: str) -> bytes:
    file = io.BytesIO()
    torch.save(get_model(name, weights=None, num_classes=3).state_dict(), file)
    return file.getvalue()


def test_a_folder_is_added_without_its_code_listed_hashed_and_removed(
    tlstudio: Tlstudio, home: Path, bert: Path
) -> None:
    added = tlstudio("models", "--add", str(bert), "--json").json["models"][0]
    assert added["name"] == "my-bert"
    assert (added["backbone"], added["modality"], added["license"]) == ("auto_model", "text", "apache-2.0")
    assert added["options"] == {"weights": str(home / "models" / "my-bert" / "model")}
    assert not list(home.rglob("*.py"))
    file = bert / "model.safetensors"
    hashed = tlstudio("models", "--hash", "my-bert", "--json").json["models"][0]
    assert hashed["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    listed = tlstudio("models")
    assert "my-bert" in listed.out
    assert "--backbone auto_model -o backbone.weights=" in listed.out
    again = tlstudio("models", "--add", str(bert))
    assert again.code == 2
    assert "There is a model 'my-bert' already" in again.err
    assert tlstudio("models", "--remove", "my-bert").code == 0
    assert not list((home / "models").iterdir())
    assert tlstudio("models", "--remove", "my-bert").code == 2


@pytest.mark.parametrize("kind", ["file", "zip", "wheel"])
def test_a_weight_file_is_added_and_the_network_that_it_is_of_is_seen(
    tlstudio: Tlstudio, home: Path, tmp_path: Path, kind: str
) -> None:
    source = tmp_path / {"file": "own.pth", "zip": "own.zip", "wheel": "own-1.0-py3-none-any.whl"}[kind]
    if kind == "file":
        source.write_bytes(weights("squeezenet1_1"))
    else:
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("own/weights/squeezenet.pth", weights("squeezenet1_1"))
            archive.writestr("own/__init__.py", "raise SystemExit")
            said = "Name: own\nLicense: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n"
            archive.writestr("own-1.0.dist-info/METADATA", said)
    licence = () if kind == "wheel" else ("--licence", "MIT License")
    result = tlstudio("models", "--add", str(source), "--name", "mine", *licence, "--json")
    added = result.json["models"][0]
    assert (added["backbone"], added["license"], added["why_not"]) == ("squeezenet1_1", "MIT License", "")
    assert Path(added["options"]["weights"]).is_file()
    assert str(source) in added["origin"]


def test_weights_of_an_unknown_network_are_kept_and_say_that_it_must_be_named(
    tlstudio: Tlstudio, home: Path, tmp_path: Path
) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "odd.pth")
    added = tlstudio("models", "--add", str(tmp_path / "odd.pth"), "--json").json["models"][0]
    assert "cannot be seen which backbone" in added["why_not"]
    named = tlstudio("models", "--add", str(tmp_path / "odd.pth"), "--name", "b", "--backbone", "resnet18", "--json")
    assert named.json["models"][0]["backbone"] == "resnet18"
    wrong = tlstudio("models", "--add", str(tmp_path / "missing.pth"))
    assert wrong.code == 2
    assert "There is nothing at" in wrong.err
    (tmp_path / "notes.txt").write_text("no weights", encoding="utf-8")
    assert "is no weight file" in tlstudio("models", "--add", str(tmp_path / "notes.txt")).err
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    assert "python -m tlstudio_text.gguf FILE FOLDER" in tlstudio("models", "--add", str(tmp_path / "small.gguf")).err
    names = [one["name"] for one in tlstudio("models", "--json").json["models"] if one["place"] == "yours"]
    assert names == ["b", "odd"], "what failed has left nothing behind"


def test_what_lies_in_the_caches_of_the_libraries_is_listed(
    tlstudio: Tlstudio, home: Path, tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "torch" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(weights("squeezenet1_1"))
    (hub / "odd.pth").write_bytes(weights("squeezenet1_1"))
    found = {one["name"]: one for one in tlstudio("models", "--json").json["models"]}
    known = found["squeezenet1_1"]
    assert (known["place"], known["backbone"], known["why_not"]) == ("torch", "squeezenet1_1", "")
    assert known["size"] == (hub / "squeezenet1_1-b8a52dc0.pth").stat().st_size
    assert found["odd.pth"]["place"] == "torch"
    assert "choose a backbone" in found["odd.pth"]["why_not"]
    assert "squeezenet1_1-b8a52dc0.pth" not in found


def test_finished_runs_and_exports_are_models_and_start_another_run(
    tlstudio: Tlstudio, folder: Path, tmp_path: Path
) -> None:
    project = str(folder)
    quick = ("-o", "training.epochs=1", "-o", "training.device=cpu", "--json")
    first = tlstudio("train", project, *TINY, "--strategy", "full", *quick).json["run"]
    entry = next(one for one in tlstudio("models", project, "--json").json["models"] if one["place"] == "run")
    assert (entry["start_from"], entry["modality"]) == (first, "image")
    assert entry["size"] > 0
    second = tlstudio("train", project, "--start-from", "latest", "--strategy", "linear_probe", *quick).json["run"]
    told = tlstudio("runs", project, second)
    assert f"{first} -> {second}" in told.out
    assert [one["run"] for one in tlstudio("runs", project, second, "--json").json["lineage"]] == [first]
    dry = tlstudio("train", project, "--start-from", second, "--dry-run")
    assert f"Starts from run {second}." in dry.out
    assert f'start_from = "{second}"' in dry.out
    tlstudio("export", project, second, str(tmp_path / "exported"))
    added = tlstudio("models", "--add", str(tmp_path / "exported"), "--json").json["models"][0]
    third = tlstudio("train", project, "--start-from", added["start_from"], *quick).json["run"]
    assert [one["run"] for one in tlstudio("runs", project, third, "--json").json["lineage"]] == [first, second]
    wrong = tlstudio("train", project, "--start-from", first[:-1] + "x")
    assert wrong.code == 2
    assert "There is no run" in wrong.err


@pytest.mark.parametrize(
    ("kind", "backbone"), [("gpt2", "language_model"), ("wav2vec2", "auto_audio"), ("vit", "auto_image_model")]
)
def test_what_kind_of_folder_it_is_is_seen_from_its_configuration(
    tlstudio: Tlstudio, tmp_path: Path, kind: str, backbone: str
) -> None:
    folder = tmp_path / kind
    folder.mkdir()
    write_tokenizer(folder)
    config = {"model_type": kind, "architectures": ["GPT2LMHeadModel" if kind == "gpt2" else "Model"]}
    (folder / "preprocessor_config.json").write_text("{}", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({"a": torch.zeros(2)}, folder / "model.safetensors")
    added = tlstudio("models", "--add", str(folder), "--json").json["models"][0]
    assert added["backbone"] == backbone


def test_repositories_of_hugging_faces_cache_are_listed_known_or_not(
    tlstudio: Tlstudio, tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    known = tmp_path / "hub" / "models--me--my-bert"
    (known / "refs").mkdir(parents=True)
    (known / "refs" / "main").write_text("abc", encoding="utf-8")
    shutil.copytree(bert, known / "snapshots" / "abc")
    odd = tmp_path / "hub" / "models--me--odd" / "snapshots" / "abc"
    odd.mkdir(parents=True)
    save_file({"a": torch.zeros(2)}, odd / "weights.safetensors")
    found = {one["name"]: one for one in tlstudio("models", "--json").json["models"]}
    entry = found["me/my-bert"]
    assert (entry["place"], entry["backbone"], entry["license"]) == ("huggingface", "me/my-bert", "apache-2.0")
    assert found["me/odd"]["place"] == "huggingface"
    assert found["me/odd"]["why_not"]
    hashed = tlstudio("models", "--hash", "me/odd", "--json").json["models"][0]
    assert hashed["sha256"] == hashlib.sha256((odd / "weights.safetensors").read_bytes()).hexdigest()
    added = tlstudio("models", "--add", str(known / "snapshots" / "abc"), "--name", "mine", "--json").json["models"][0]
    assert added["backbone"] == "auto_model"


def test_two_joined_backbones_are_a_start_together(
    tlstudio: Tlstudio, posts: Path, encoder: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    tlstudio("new", project)
    tlstudio("import", project, posts, "--name", "posts", "--text-column", "caption")
    options = {"image_weights": "random", "image_image_size": 32, "text_weights": encoder}
    words = [word for name, value in options.items() for word in ("-o", f"backbone.{name}={value}")]
    quick = ("-o", "training.epochs=1", "-o", "training.device=cpu", "--json")
    first = tlstudio("train", project, "--backbone", "test_resnet+auto_model", *words, "--strategy", "lora", *quick)
    assert first.code == 0, first.err
    longer = ("-o", "backbone.text_max_length=32")
    second = tlstudio("train", project, "--start-from", "latest", *longer, "--strategy", "linear_probe", *quick)
    assert second.code == 0, second.err
    told = tlstudio("runs", project, "latest", "--json").json
    assert [one["run"] for one in told["lineage"]] == [first.json["run"]]
    assert told["recipe"]["backbone"]["name"] == "test_resnet+auto_model"
    assert told["recipe"]["backbone"]["options"]["text_max_length"] == 32
