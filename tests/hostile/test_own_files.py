"""What the studio writes holds no pickle, and no socket is opened from the import to the export."""

from __future__ import annotations

import json
import pickletools
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

WHOLE_WAY = """
import json, sys
from pathlib import Path

seen = []


def look(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        seen.append(f"{event} {arguments[1:]}")
    if event.startswith(("pickle.", "socket.connect")):
        seen.append(event)
    if event == "socket.connect":
        raise OSError("there is no network")


sys.addaudithook(look)
from tlstudio.__main__ import main
from tlstudio.selftest.material import draw_images, write_encoder, write_texts

folder = Path(sys.argv[1])
draw_images(folder / "images", per_class=6)
write_texts(folder / "texts.csv")
write_encoder(folder / "encoder")
seen.clear()
project = str(folder / "project")


def do(*arguments):
    assert main(arguments) == 0, arguments


training = ["-o", "training.epochs=1", "-o", "training.device=cpu", "-o", "training.checkpoint_every=0"]
do("new", project)
do("import", project, str(folder / "images"), "--name", "images")
do("import", project, str(folder / "texts.csv"), "--name", "texts")
do("train", project, "--dataset", "images", "--backbone", "shufflenet_v2_x0_5", "--strategy", "linear_probe",
   "-o", "backbone.weights=random", "-o", "backbone.image_size=32", *training)
do("train", project, "--dataset", "texts", "--backbone", "auto_model", "--strategy", "lora",
   "-o", f"backbone.weights={folder / 'encoder'}", *training)
do("export", project, "latest", str(folder / "model"))
do("predict", str(folder / "model"), str(folder / "texts.csv"), "--output", str(folder / "predictions.csv"))
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A project with runs, an export and predictions, and what was called on the way to them."""
    folder = tmp_path_factory.mktemp("way")
    command = [sys.executable, "-c", WHOLE_WAY, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_no_socket_is_opened_and_no_class_is_unpickled_from_import_to_export(way: tuple[Path, list[str]]) -> None:
    assert way[1] == []


def is_pickle(data: bytes) -> bool:
    """Whether something is a pickle, or an archive with one."""
    if data[:1] not in (b"\x80", b"c", b"(", b"]", b"}") or b"." not in data:
        return False
    try:
        return sum(1 for _ in pickletools.genops(data)) > 1 and data[:1] == b"\x80"
    except ValueError:
        return False


def test_no_file_of_the_studio_holds_a_pickle(way: tuple[Path, list[str]]) -> None:
    folder = way[0]
    own = [path for part in ("project", "model") for path in (folder / part).rglob("*") if path.is_file()]
    kinds = {path.suffix for path in own}
    assert {".safetensors", ".json", ".toml", ".parquet", ".npy"} <= kinds
    assert not kinds & {".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib"}
    for path in own:
        data = path.read_bytes()
        assert not is_pickle(data), path
        assert not zipfile.is_zipfile(path), path
        if path.suffix == ".npy":
            assert b"'descr': '<f4'" in data[:128], path


def test_the_scan_knows_a_pickle_when_it_sees_one() -> None:
    import pickle

    for protocol in range(2, 6):
        assert is_pickle(pickle.dumps({"weight": [1.0]}, protocol=protocol))
    assert not is_pickle(b'{"a": 1.0}')
