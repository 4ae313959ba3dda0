"""``tlstudio label-next`` and ``tlstudio label``: the commands that ask for the next labels and take them."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.cli.conftest import TINY, Tlstudio
from tests.conftest import draw_folder


def test_the_next_labels_are_asked_for_filled_in_and_given_back(
    tlstudio: Tlstudio, folder: Path, tmp_path: Path
) -> None:
    pool, table = draw_folder(tmp_path / "pool", 2, seed=5), tmp_path / "next.csv"
    trained = tlstudio("train", folder, "--strategy", "nearest_mean", *TINY)
    assert trained.code == 0, trained.err
    assert "train loss" not in trained.err, "nothing learns"
    asked = tlstudio("label-next", folder, "latest", pool, "--by", "margin", "--count", 3, "--csv", table, "--json")
    assert asked.code == 0, asked.err
    assert asked.json["searched"] == 6
    assert f"give it back: tlstudio label {folder} shapes {table}" in asked.err
    assert [one["score"] for one in asked.json["candidates"]] == sorted(
        (one["score"] for one in asked.json["candidates"]), reverse=True
    )
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [one["id"] for one in asked.json["candidates"]]
    for row in rows[:2]:
        row["label"] = "square"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    given = tlstudio("label", folder, "shapes", table, "--json")
    assert given.code == 0, given.err
    assert (given.json["revision"], given.json["items"], given.json["empty"]) == ("r2", 50, 1)
    again = tlstudio("label", folder, "shapes", table, "--json")
    assert again.code == 2
    assert "already, as" in again.json["error"]

    rows[0]["label"] = "sqare"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    wrong = tlstudio("label", folder, "shapes", table)
    assert wrong.code == 2
    assert "Did you mean square?" in wrong.err


def test_that_no_label_is_of_an_item_that_is_there_is_told(
    tlstudio: Tlstudio, folder: Path, shapes_folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(f"id,pool,label\nnothing,{shapes_folder},square\n", encoding="utf-8")
    told = tlstudio("label", folder, "shapes", table)
    assert told.code == 2
    assert "has no item 'nothing'" in told.err
