"""``tlstudio models --download``: a model from a hub, only when it is asked for, and without code."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.hf_api import RepoSibling
from safetensors.torch import save_file

from tests.cli.conftest import Tlstudio
from tests.hub import COMMIT, Hub, running_hub
from tests.plugins.test_text import write_model
from tlstudio.api import TLStudioError, WeightsError
from tlstudio.engine.downloads import download_model
from tlstudio.engine.hub_process import wanted_files
from tlstudio.plugins import Registry

_seen: list[str] | None = None


def _listen(event: str, _arguments: object) -> None:
    if _seen is not None and event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        _seen.append(event)


sys.addaudithook(_listen)  # for good: there is no way to take it back


@pytest.fixture
def connections() -> Iterator[list[str]]:
    """What this process does to reach another one over the network."""
    global _seen
    _seen = []
    yield _seen
    _seen = None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a text model, code and pickles beside it; it is the one of the environment."""
    folder = tmp_path / "hub" / "lab" / "tiny-bert"
    folder.mkdir(parents=True)
    write_model(folder, "bert")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n", encoding="utf-8")
    for name in ("pytorch_model.bin", "modeling.py", "other.safetensors", ".hidden.json"):
        (folder / name).write_bytes(b"raise SystemExit")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with running_hub(tmp_path / "hub") as made:
        monkeypatch.setenv("HF_ENDPOINT", made.address)
        yield made


def test_a_model_is_downloaded_without_code_listed_and_used_and_this_process_stays_offline(
    tlstudio: Tlstudio,
    home: Path,
    hub: Hub,
    registry: Registry,
    connections: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "of-this-hub")
    assert tlstudio("models").code == 0
    assert tlstudio("models", "--revision", "main").code == 2
    assert hub.asked == [], "nobody has asked for a download yet"
    done = tlstudio("models", "--download", "lab/tiny-bert", "--name", "tiny", "--json")
    assert done.code == 0, done.err
    listed = next(one for one in tlstudio("models", "--json").json["models"] if one["name"] == "tiny")
    assert listed == done.json["models"][0]
    assert (listed["place"], listed["backbone"], listed["license"]) == ("yours", "auto_model", "apache-2.0")
    assert listed["origin"] == f"added from {hub.address}/lab/tiny-bert, commit {COMMIT}"
    weights = hub.root / "lab" / "tiny-bert" / "model.safetensors"
    assert listed["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert listed["size"] > weights.stat().st_size
    backbone = registry.backbone(listed["backbone"])
    options = backbone.Options.model_validate(listed["options"])
    assert sum(one.numel() for one in backbone.load(options).parameters()) > 0
    assert sorted(hub.files) == sorted(file.name for file in Path(listed["path"]).iterdir())
    assert {"model.safetensors", "config.json", "README.md"} < set(hub.files)
    assert not set(hub.files) & {"pytorch_model.bin", "modeling.py", "other.safetensors", ".hidden.json"}
    assert [file.name for file in (home / "models").iterdir()] == ["tiny"], "nothing is left of the download"
    assert set(hub.tokens) == {"Bearer of-this-hub"}
    assert connections == [], "only the process of the download has reached out"
    assert constants.is_offline_mode()
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert "already" in tlstudio("models", "--download", "lab/tiny-bert", "--name", "tiny").err


def test_a_download_that_was_broken_off_goes_on_where_it_was_and_what_is_damaged_is_told(
    home: Path, hub: Hub, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "of-another-hub")
    address = hub.address.replace("127.0.0.1", "localhost")
    folder = hub.root / "lab" / "large"
    folder.mkdir()
    save_file({"a": torch.rand(6_000_000)}, folder / "model.safetensors")  # more than two parts of 10 MB
    hub.hold_at = 22_000_000

    def stop(done: int, _total: int) -> None:
        if done > 20_000_000:
            raise TLStudioError("enough")

    with pytest.raises(TLStudioError, match="enough"):
        download_model("lab/large", registry, hub=address, on_progress=stop)
    assert not [one for one in (home / "models").iterdir() if not one.name.startswith(".")]
    hub.go_on.set()
    hub.claimed_hash = "0" * 64
    with pytest.raises(WeightsError, match="has arrived damaged"):
        download_model("lab/large", registry, hub=address)
    assert hub.asked[-1][1] == "bytes=20971520-"
    hub.claimed_hash = ""
    entry = download_model(f"{address}/lab/large", registry, hub=f"{address}/")
    assert hub.asked[-1][1] == "", "what was damaged is fetched anew"
    assert entry.path.read_bytes() == (folder / "model.safetensors").read_bytes()
    assert [one.name for one in (home / "models").iterdir()] == ["lab-large"]
    assert set(hub.tokens) == {""}, "a login is not told to another hub"


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ("model.safetensors consolidated.safetensors config.json", "model.safetensors config.json"),
        (
            "model.safetensors.index.json model-1-of-2.safetensors model-2-of-2.safetensors x.safetensors",
            "model.safetensors.index.json model-1-of-2.safetensors model-2-of-2.safetensors",
        ),
        ("resnet.safetensors LICENSE merges.txt spiece.model", "resnet.safetensors LICENSE merges.txt spiece.model"),
        ("../model.safetensors a/model.safetensors C:x.json .env.json model.safetensors", "model.safetensors"),
        ("unet/model.safetensors config.json pytorch_model.bin", ""),
        ("model.safetensors model.pkl run.py model.onnx weights.PT tf_model.h5", "model.safetensors"),
    ],
)
def test_of_a_repository_the_weights_as_safetensors_and_what_describes_them_are_wanted(files: str, wanted: str) -> None:
    found = wanted_files({name: RepoSibling(rfilename=name) for name in files.split()})
    assert {file.rfilename for file in found} == set(wanted.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lab/nothing"], "There is no model lab/nothing at http://127.0.0.1"),
        (["private/model"], "or it is private"),
        (["gated/model"], "only to those who have agreed to its terms. Agree to them on its page"),
        (["lab/tiny-bert", "--revision", "v9"], "lab/tiny-bert has no revision 'v9'"),
        (["lab/tiny-bert", "--hub", "http://127.0.0.1:9"], "http://127.0.0.1:9 cannot be reached"),
        (["lab/pickled"], "has no weights as safetensors; nothing was fetched"),
        (["lab/huge"], "needs 1000000.0 GB more"),
        (["lab/tiny-bert", "--hub", "ftp://here"], "ftp://here is no address of a model hub"),
        (["../etc/passwd"], "'../etc/passwd' is no name of a model on a hub"),
    ],
)
def test_what_is_in_the_way_of_a_download_is_told_in_a_sentence_and_nothing_is_left(
    tlstudio: Tlstudio, home: Path, hub: Hub, words: list[str], sentence: str
) -> None:
    (hub.root / "lab" / "pickled").mkdir()
    (hub.root / "lab" / "pickled" / "pytorch_model.bin").write_bytes(b"raise SystemExit")
    shutil.copytree(hub.root / "lab" / "tiny-bert", hub.root / "lab" / "huge")
    if words == ["lab/huge"]:
        hub.claimed["model.safetensors"] = 10**15
    refused = tlstudio("models", "--download", *words)
    assert refused.code == 2
    assert sentence in refused.err
    assert hub.files == []
    assert not list(home.rglob("*.*"))
