"""Recommendations, from tables of ratings and items to the items that somebody will like best."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from tests.cli.conftest import Tlstudio
from tests.cli.test_text_tasks import encoder, rows_of

__all__ = ["encoder"]

FILMS = {
    number: f"{person} loves {place} ."
    for number, (person, place) in enumerate(
        (person, place) for person in ("Anna", "Bob", "Carla", "Dora", "Emil") for place in ("Rome", "Oslo", "Prague")
    )
}
NEW = 12
"""From this number on nobody has rated a film."""


def liking(user: int, film: int) -> int:
    """Each user loves one place and does not care for the others."""
    return 5 if film % 3 == user % 3 else 1


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder with ratings.csv and films.csv."""
    made = random.Random(0)
    folder = tmp_path / "films"
    folder.mkdir()
    with (folder / "films.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["film_id", "plot"], *FILMS.items()])
    with (folder / "ratings.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "film_id", "rating"])
        for user in range(18):
            writer.writerows([f"user {user}", film, liking(user, film)] for film in made.sample(range(NEW), 9))
    return folder


def trained(tlstudio: Tlstudio, project: Path, encoder: Path, source: Path, name: str) -> dict[str, float]:
    imported = tlstudio("import", project, source, "--name", name)
    assert imported.code == 0, imported.err
    options = ("backbone.weights=" + str(encoder), "training.epochs=40", "training.learning_rate=0.02")
    words = [word for option in (*options, "training.threads=1", "head.dropout=0") for word in ("-o", option)]
    told = tlstudio("train", project, "--dataset", name, "--backbone", "auto_model", *words, "--json")
    assert told.code == 0, told.err
    metrics: dict[str, float] = told.json["metrics"]["test"]
    return metrics


def test_ratings_are_learned_and_the_best_films_listed_also_those_nobody_has_rated(
    tlstudio: Tlstudio, films: Path, encoder: Path, tmp_path: Path
) -> None:
    project, model = tmp_path / "project", tmp_path / "model"
    assert tlstudio("new", project).code == 0
    metrics = trained(tlstudio, project, encoder, films / "ratings.csv", "ratings")
    assert metrics["rmse"] < 0.7
    assert metrics["ndcg_at_10"] > 0.95

    found = tlstudio("recommend", project, "--user", "user 1", "-k", "3", "--json").json
    assert found["known"]
    assert all(int(one["id"]) % 3 == 1 for one in found["items"][:1])
    everything = tlstudio("recommend", project, "--user", "user 1", "-k", "100", "--json").json["items"]
    fresh = {int(one["id"]): one["value"] for one in everything if not one["rated"]}
    assert set(fresh) == set(range(NEW, 15)), "films that nobody has rated are among them"
    assert max(fresh, key=lambda film: fresh[film]) == 13, "the one of the place that the user loves"
    with (films / "ratings.csv").open(encoding="utf-8") as file:
        own = {row["film_id"] for row in csv.DictReader(file) if row["user_id"] == "user 1"}
    assert not own & {one["id"] for one in everything}, "what the user has rated is not recommended again"

    more = films / "more.csv"
    more.write_text("film_id,plot\n77,Bob loves Oslo .\n78,\n", encoding="utf-8")
    told = tlstudio("recommend", project, "--user", "nobody", "--items", more, "-k", "100", "--json").json
    assert not told["known"]
    assert "77" in {one["id"] for one in told["items"]}
    assert [one["reason"] for one in told["rejected"]] == ["Its item has no text."]
    stranger = tlstudio("recommend", project, "--user", "stranger")
    assert "stranger has rated nothing that was learned from: this is what most people like." in stranger.out
    assert {line.split()[-1] for line in stranger.out.splitlines()[2:]} == {"others", "yet"}
    report = tlstudio("recommend", project, "--measure", "-k", "5", "--json").json
    assert report["hit_rate"] > 0.8
    assert report["items"] == NEW

    assert tlstudio("export", project, "latest", model).code == 0
    assert tlstudio("predict", model, films / "ratings.csv", "--output", tmp_path / "out.csv").code == 0
    rows = rows_of(tmp_path / "out.csv")
    assert len(rows) == 18 * 9
    assert rows[0]["id"].startswith("user 0 / ")
    user, film = (int(part.removeprefix("user ")) for part in rows[0]["id"].split(" / "))
    assert float(rows[0]["prediction"]) == pytest.approx(liking(user, film), abs=1.5)


def test_choices_are_learned_among_what_was_not_chosen(
    tlstudio: Tlstudio, films: Path, encoder: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    with (films / "ratings.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    chosen = [f"{row['user_id']},{row['film_id']}" for row in rows if row["rating"] == "5"]
    source = films / "chosen.csv"
    source.write_text("\n".join(["user_id,film_id", *chosen]), encoding="utf-8")
    (films / "ratings.csv").unlink()
    assert tlstudio("new", project).code == 0
    metrics = trained(tlstudio, project, encoder, source, "chosen")
    assert metrics["roc_auc"] > 0.7
    best = tlstudio("recommend", project, "--user", "user 2", "-k", "1", "--json").json["items"][0]
    assert 0 <= best["value"] <= 1
    assert int(best["id"]) % 3 == 2


def test_a_run_that_was_not_trained_to_recommend_says_so(tlstudio: Tlstudio, folder: Path) -> None:
    from tests.cli.conftest import TINY

    assert tlstudio("train", folder, *TINY, "-o", "training.epochs=1").code == 0
    told = tlstudio("recommend", folder, "--user", "ann")
    assert told.code != 0
    assert "was not trained to recommend" in told.err
    assert "Give either --user or --measure." in tlstudio("recommend", folder).err
