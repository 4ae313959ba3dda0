"""The commands that the README gives for each kind of data fit the data and each other."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Tlstudio
from tests.conftest import draw_folder
from tests.e2e.test_readme import README
from tlstudio.api import Sample
from tlstudio.cli.main import COMMANDS
from tlstudio.cli.output import Output
from tlstudio.cli.training import recipe_values
from tlstudio.data.unlabelled import samples_in
from tlstudio.engine.advise import complete
from tlstudio.plugins import Registry
from tlstudio.store import Project
from tlstudio.testing.sounds import write_tone

NAMES = ("Anna", "Bela", "Carl", "Dora")


def rows() -> list[tuple[str, list[str], list[str], list[str]]]:
    """What the table says: a title, and the words behind the project of three commands."""
    table = README.read_text(encoding="utf-8").partition("<!-- example:tasks -->")[2].partition("\n\n")[0]
    found = []
    for line in table.splitlines()[3:]:
        title, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        words = [shlex.split(re.findall("`([^`]+)`", cell)[0]) for cell in cells]
        found.append((title, words[0], words[1], words[2]))
    return found


def write_table(path: Path, header: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *lines])


def picture(path: Path, shade: int = 90, size: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (shade, 120, 60)).save(path)
    return path


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a little of all that the table names, which is where the commands are given."""
    folder = tmp_path / "here"
    draw_folder(folder / "photos", 8)
    draw_folder(folder / "parts", 8, seed=1)
    names = [NAMES[number % 4] for number in range(24)]
    lived = [f"{name} lives in house {number} ." for number, name in enumerate(names)]
    for number in range(8):
        picture(folder / "more" / f"{number}.png", number * 20)
        picture(folder / "new-cells" / f"{number}.png", number * 20)
        picture(folder / "cells" / "images" / f"{number}.png", number * 20)
        mask = folder / "cells" / "masks" / f"{number}.png"
        mask.parent.mkdir(exist_ok=True)
        Image.fromarray(np.tri(32, k=number, dtype=np.uint8)).save(mask)
        picture(folder / "street" / "images" / f"{number}.jpg", number * 20)
        box = folder / "street" / "labels" / f"{number}.txt"
        box.parent.mkdir(exist_ok=True)
        box.write_text("0 0.5 0.5 0.4 0.4\n")
        picture(folder / "goods" / f"{number}.jpg", number * 20)
        write_tone(folder / f"{number}.wav", 200 + 50 * number, 0.5)
    (folder / "street" / "data.yaml").write_text("names: [car]\n")
    picture(folder / "new.jpg")
    write_table(folder / "mails.csv", ("body", "folder"), [(text, "ab"[n % 2]) for n, text in enumerate(lived)])
    spans = [{"text": text, "spans": [{"start": 0, "end": 4, "label": "PERSON"}]} for text in lived]
    (folder / "names.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in spans))
    told = [{"text": text[:4], "answer_start": 0} for text in lived]
    asked = [
        {"context": text, "qas": [{"id": str(n), "question": "Who?", "answers": [told[n]]}]}
        for n, text in enumerate(lived)
    ]
    (folder / "squad.json").write_text(json.dumps({"data": [{"title": "t", "paragraphs": asked}]}))
    write_table(folder / "news.csv", ("article", "summary"), [(text * 3, text) for text in lived])
    (folder / "report.txt").write_text(lived[0])
    (folder / "0.wav").rename(folder / "new.wav")
    write_table(folder / "clips.csv", ("path", "sentence"), [(f"{n}.wav", lived[n]) for n in range(1, 8)])
    houses = [(n * 7.5, "ab"[n % 2], n * 100.5) for n in range(24)]
    write_table(folder / "houses.csv", ("size", "street", "price"), houses)
    write_table(folder / "new-houses.csv", ("size", "street"), [house[:2] for house in houses])
    days = [(f"2026-{n // 28 + 1:02}-{n % 28 + 1:02}", n % 7, n % 7 + 0.5) for n in range(300)]
    write_table(folder / "sales.csv", ("date", "visitors", "sales"), days)
    write_table(folder / "recent.csv", ("date", "visitors", "sales"), days[-100:])
    goods = [(f"goods/{n % 8}.jpg", text, "ab"[n % 2]) for n, text in enumerate(lived)]
    write_table(folder / "goods.csv", ("photo", "about", "kind"), goods)
    write_table(folder / "new-goods.csv", ("photo", "about"), [one[:2] for one in goods])
    rated = [(name, f"film{n % 8}", n % 5, lived[n % 8]) for n, name in enumerate(names * 2)]
    write_table(folder / "ratings.csv", ("user", "item", "rating", "plot"), rated)
    monkeypatch.chdir(folder)
    return folder


def test_the_commands_for_each_kind_of_data_fit_the_data_and_each_other(
    tlstudio: Tlstudio, sources: Path, registry: Registry
) -> None:
    assert tlstudio("new", "my-project").code == 0
    table = rows()
    assert len(table) >= 12
    for title, wanted, learned, used in table:
        imported = tlstudio("import", "my-project", *wanted, "--json")
        assert imported.code == 0, (title, imported.err)
        dataset = imported.json["dataset"]
        assert learned[0] == dataset, title
        with Project.open(Path("my-project"), write=False) as project:
            revision = project.dataset(dataset)
            if not any("weights=" in word for word in learned):  # a model that the user has
                train = COMMANDS["train"].make_context("train", ["my-project", "--dataset", *learned]).params
                chosen = {name: train[name] for name in ("assignments", "recipe_path", "methods", "shots")}
                choices = {
                    name: train[name] for name in ("dataset", "revision", "backbone", "start_from", "head", "strategy")
                }
                output = Output(as_json=False)
                values, _ = recipe_values(output, project, choices, registry=registry, **chosen)
                assert complete(values, revision, registry).head.name, title
        if used[0] == "tlstudio":
            COMMANDS[used[1]].make_context(used[1], used[2:])
            continue
        predict = COMMANDS["predict"].make_context("predict", ["my-project", *used]).params
        assert predict["run_id"] in ("", f"best:{dataset}"), title
        if predict["source"] is None:
            assert revision.modality == "text", title
            assert (predict["pair"] is not None) == (revision.task == "question_answering"), title
        else:
            found = samples_in(predict["source"], registry.formats.values(), revision.modality, task=revision.task)
            assert any(isinstance(one, Sample) for one in found), title
