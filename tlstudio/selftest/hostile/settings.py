"""Recipes, project files, run folders, exports and plugins that were written to trip their readers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tlstudio.selftest.hostile.files import HostileFile, Outcome, Place, Site, content
from tlstudio.selftest.hostile.models import changed

Write = Callable[[Path, Site], None]
_DEEP = '{"a":' * 10**5
_LONG = "9" * 10_000


def files() -> Iterator[HostileFile]:
    """Everything that is JSON or TOML, and what is beside a plugin."""
    yield from _recipes()
    yield from _anything()
    yield from _exports()
    yield from _plugins()


def _recipes() -> Iterator[HostileFile]:
    danger = "It is no recipe, or one that asks for what cannot be."
    tables = {
        "not UTF-8": b"\xff\xfe\x00",
        "NUL": b"training\0 = 1",
        "deep nesting": b"a = " + b"[" * 10**5,
        "deep tables": b"[" + b"a." * 10**4 + b"a]\nb = 1",
        "a number of 10,000 digits": f"format = {_LONG}".encode(),
        "duplicate keys": b"format = 1\nformat = 1",
        "a backbone of a path": b'[backbone]\nname = "../../evil"',
        "weights of a device": b'[backbone]\nname = "mobilenet_v3_small"\noptions = {weights = "/dev/zero"}',
        "weights of the network": b'[backbone]\nname = "mobilenet_v3_small"\noptions = {weights = "http://127.0.0.1:9/x.pt"}',
        "a name of 1 MB": b'[head]\nname = "' + b"x" * 10**6 + b'"',
        "batches of 10**12": b"[training]\nbatch_size = 1000000000000",
        "a rate of nan": b"[training]\nlearning_rate = nan",
        "a rate of infinity": b"[training]\nlearning_rate = inf",
        "a million threads": b"[training]\nthreads = 1000000",
        "tables where values belong": b"[training.epochs]\na = 1",
        "dunder names": b"[training]\n__class__ = 1\n[backbone.options]\n__init__ = 1",
        "a date": b"format = 1979-05-27T07:32:00Z",
        "escape codes": b'[head]\nname = "\\u001b[2J"',
    }
    for name, data in tables.items():
        yield HostileFile(f"recipe: {name}", danger, "recipe", "recipe.toml", content(data), "refused", "recipe")
    for name, text in (
        ("deep nesting", _DEEP),
        ("a list", "[]"),
        ("nothing", ""),
        ("NaN", '{"training": {"l1": NaN}}'),
    ):
        yield HostileFile(f"recipe: {name}, JSON", danger, "recipe", "recipe.json", content(text), "refused", "recipe")


def _anything() -> Iterator[HostileFile]:
    """What every JSON file of a project, a run and a checkpoint may hold instead."""
    texts: dict[str, bytes | str] = {
        "deep nesting": _DEEP,
        "a number of 10,000 digits": f'{{"format": {_LONG}}}',
        "a list": "[]",
        "nothing": "",
        "not UTF-8": b'{"a": "\xff\xfe"}',
        "another kind": '{"format": 1, "files": 3, "metrics": [1], "classes": "ab", "task": 7, "tags": 1, "epoch": {}}',
        "infinity": '{"format": Infinity, "mean": NaN}',
    }
    where: list[tuple[Place, str, Outcome]] = [
        ("project folder", "tlstudio.json", "refused"),
        ("project folder", "runs/2026-01-01-001-x/run.json", "either"),
        ("project folder", "datasets/images/r1/revision.json", "either"),
        ("run folder", "run.json", "refused"),
        ("run folder", "target.json", "refused"),
        ("run folder", "note.json", "either"),
        ("run folder", "events.jsonl", "either"),
        ("checkpoint", "best/manifest.json", "either"),
        ("checkpoint", "last/training.json", "refused"),
        ("exported image model", "config.json", "refused"),
        ("exported image model", "labels.json", "refused"),
        ("exported image model", "assets/preprocessing.json", "refused"),
    ]
    for number, (place, path, outcome) in enumerate(where):
        for turn, (name, text) in enumerate(texts.items()):
            if (number + turn) % 2 == 0 or outcome == "refused":
                danger = "Its reader expects something else."
                expected: Outcome = "either" if (place, name) == ("project folder", "another kind") else outcome
                named = "checkpoint" if place == "checkpoint" else ""
                yield HostileFile(f"{place}: {name} as {path}", danger, place, path, _written(text), expected, named)


def _written(data: bytes | str) -> Write:
    def write(path: Path, site: Site) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content(data)(path, site)

    return write


def _nested(**values: Any) -> Write:  # noqa: ANN401  any JSON values
    """Change values below the backbone's options."""

    def write(path: Path, _site: Site) -> None:
        config = json.loads(path.read_text(encoding="utf-8"))
        config["backbone"]["options"] |= values
        path.write_text(json.dumps(config), encoding="utf-8")

    return write


def _exports() -> Iterator[HostileFile]:
    place: Place = "exported image model"
    asset, labels, config = "assets/preprocessing.json", "labels.json", "config.json"
    huge = "Working with it would take all the memory."
    cases: list[tuple[str, str, str, Write, Outcome, str]] = [
        (
            "pictures of 10**9 pixels a side",
            huge,
            asset,
            changed(height=10**9, width=10**9, resize_height=10**9, resize_width=10**9),
            "refused",
            "",
        ),
        ("pictures of 40,000 pixels a side", huge, asset, changed(height=40_000, width=40_000), "refused", ""),
        (
            "pictures of no size",
            "It divides by 0.",
            asset,
            changed(height=0, width=0, resize_height=0, resize_width=0),
            "refused",
            "",
        ),
        ("pictures of negative size", "It counts backwards.", asset, changed(height=-9, width=-9), "refused", ""),
        ("pictures of half a pixel", "It is no whole number.", asset, changed(height=1.5), "refused", ""),
        ("four means", "There are three colours.", asset, changed(mean=[1, 2, 3, 4]), "refused", ""),
        ("a spread of 0", "It divides by 0.", asset, changed(std=[0, 0, 0]), "refused", ""),
        ("means as text", "They are no numbers.", asset, changed(mean=["a", "b", "c"]), "refused", ""),
        ("an interpolation that is none", "It is not known.", asset, changed(interpolation="evil"), "refused", ""),
        ("a crop that is none", "It is not known.", asset, changed(crop_mode="evil"), "refused", ""),
        ("classes as a number", "There are none.", labels, changed(classes=3), "refused", "source"),
        ("no classes", "There are none.", labels, changed(classes=[]), "refused", "source"),
        ("classes that are none", "They are no names.", labels, changed(classes=[1, None, {}]), "refused", "source"),
        (
            "a million classes",
            huge,
            labels,
            changed(classes=[str(number) for number in range(10**6)]),
            "refused",
            "source",
        ),
        ("a task that is none", "It is not known.", labels, changed(task="evil"), "refused", "source"),
        (
            "a head of another task",
            "Its outputs mean something else.",
            labels,
            changed(task="regression"),
            "refused",
            "source",
        ),
        (
            "classes that paint the terminal",
            "They hold escape codes.",
            labels,
            changed(classes=["\x1b[2J", "\u202ea"], class_counts=[1, 1]),
            "either",
            "",
        ),
        ("a newer format", "It means something else.", config, changed(format=10**6), "refused", "source"),
        ("a format as text", "It is no number.", config, changed(format="x"), "refused", "source"),
        (
            "a backbone of a path",
            "It leads elsewhere.",
            config,
            changed(backbone={"name": "../../evil", "options": {}}),
            "refused",
            "evil",
        ),
        (
            "a head with code",
            "It is not known.",
            config,
            changed(head={"name": "os.system", "options": {"x": "touch ran"}}),
            "refused",
            "os.system",
        ),
        ("weights of its own", "It names a file elsewhere.", config, _nested(weights="/etc/passwd"), "either", ""),
        ("pictures of 10**9 in the options", huge, config, _nested(image_size=10**9), "refused", "config.json"),
    ]
    for name, danger, path, write, outcome, named in cases:
        yield HostileFile(f"export: {name}", danger, place, path, write, outcome, named)


def _plugins() -> Iterator[HostileFile]:
    danger = "A plugin that cannot be one must hurt no other."
    folder: list[tuple[str, str, bytes]] = [
        ("not UTF-8", "plugin.py", b"\xff\xfe\x00"),
        ("NUL", "plugin.py", b"TLSTUDIO_API = '1.0'\0"),
        ("deep nesting", "plugin.py", b"x = " + b"(" * 1000),
        ("an encoding that is none", "plugin.py", b"# coding: evil\n"),
        ("nothing", "plugin.py", b""),
        ("bytecode alone", "plugin.pyc", b"\xa7\r\r\n" + bytes(40)),
        ("a name of a module", "torch.py", b"raise SystemExit('not torch')"),
        ("a name with escape codes", "\x1b[2J.py", b"1/0"),
        ("a version that is none", "plugin.py", b"TLSTUDIO_API = 'evil'"),
        ("a version of a million", "plugin.py", b"TLSTUDIO_API = '1000000.0'"),
    ]
    for name, path, data in folder:
        yield HostileFile(f"plugin: {name}", danger, "plugin folder", path, content(data), "either")
    entries = {
        "a module that is none": "[tlstudio]\nevil = no_such_module\n",
        "a name that is taken": "[tlstudio]\nvision = no_such_module\n",
        "code as a module": "[tlstudio]\nevil = os; import sys:exit()\n",
        "escape codes": "[tlstudio]\n\x1b[2J = no_such_module\n",
        "no entry points": "this is no INI file\n[[[\n",
        "a dotted way out": "[tlstudio]\nevil = ..outside:payload\n",
        "a thousand entries": "[tlstudio]\n" + "".join(f"e{n} = no_such_module_{n}\n" for n in range(1000)),
        "nothing": "",
    }
    for name, text in entries.items():
        path = "evil-1.0.dist-info/entry_points.txt"
        yield HostileFile(f"metadata: {name}", danger, "plugin metadata", path, _distribution(text), "either")


def _distribution(entry_points: str) -> Write:
    def write(path: Path, _site: Site) -> None:
        path.parent.mkdir()
        path.with_name("METADATA").write_text(
            "Metadata-Version: 2.1\nName: ../../evil\x1b[2J\nVersion: not.a.version\n", encoding="utf-8"
        )
        path.write_text(entry_points, encoding="utf-8")

    return write
