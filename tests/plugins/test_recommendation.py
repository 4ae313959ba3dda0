"""Ratings: the tables that hold them, the head that learns from them, and how its orders are measured."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from tlstudio.api import DataError, FeatureShape, Label, Rejected, Sample, TargetInfo
from tlstudio.api.features import Features
from tlstudio.api.nn import HeadModule
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import choose_format, plan_import, suggest_options
from tlstudio.data.revision import REPORT_FILE, Revision
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing import check_format, check_head, check_strategy, tiny_backbones, tiny_samples, tiny_target
from tlstudio_formats import register_dataset_formats
from tlstudio_heads.recommendation_heads import Recommendation
from tlstudio_heads.recommendation_metrics import ndcg_by_user

FORMATS = {item.name: item for item in register_dataset_formats()}
PLOTS = {"1": "a storm at sea and a lost ship", "2": "two cooks open a small bistro", "3": "a rocket lands on the moon"}
RATINGS = (("ann", "1", "5", "2024-01-01"), ("ann", "2", "1", "2024-02-01"), ("bob", "2", "4", "2024-03-01"))


def write(path: Path, header: str, rows: Sequence[tuple[str, ...]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ratings, with a table of items beside them: one that nobody has rated, and one without a plot."""
    write(tmp_path / "movies.csv", "movieId,plot", [*PLOTS.items(), ("4", "")])
    rows = [*RATINGS, ("bob", "4", "3", "2024-04-01"), ("bob", "9", "3", "2024-04-01"), ("", "1", "3", "2024-04-01")]
    return write(tmp_path / "ratings.csv", "userId,movieId,rating,timestamp", rows)


def read(name: str, path: Path, **options: object) -> list[Sample | Rejected]:
    filled, _ = suggest_options(FORMATS[name], path, options)
    return list(FORMATS[name].read(path, filled, "recommendation"))


def samples_of(found: list[Sample | Rejected]) -> list[Sample]:
    return [item for item in found if isinstance(item, Sample)]


def test_ratings_are_joined_with_the_table_of_items_beside_them(source: Path) -> None:
    assert choose_format(FORMATS.values(), source)[0].name == "text_ratings"
    samples = check_format(FORMATS["text_ratings"], source, "recommendation")
    told = [(sample.user, sample.item, sample.text, sample.label) for sample in samples]
    assert told == [(user, item, PLOTS[item], float(rating)) for user, item, rating, _ in RATINGS]
    rejected = [item for item in read("text_ratings", source) if isinstance(item, Rejected)]
    assert {(item.source, item.reason) for item in rejected} == {
        ("ratings.csv, row 5", "Its item has no text."),
        ("ratings.csv, row 6", "There is no item 9 in movies.csv."),
        ("ratings.csv, row 7", "It has no user."),
    }


def test_a_row_of_ratings_that_cannot_be_read_is_told_with_its_reason(source: Path) -> None:
    with source.open("a", encoding="utf-8") as file:
        file.write("ann,1,4,2024-05-01,and,more\n")
    rejected = {item.source: item.reason for item in read("text_ratings", source) if isinstance(item, Rejected)}
    assert rejected["ratings.csv, row 8"] == "It has 6 fields, and there are 4 columns."


def test_images_and_both_are_found_in_the_same_table(tmp_path: Path) -> None:
    (image,) = tiny_samples("image", "classification", tmp_path, count=1)
    assert image.image is not None
    rows = [("ann", "1", image.image.name, "a red dress with a hat", "2"), ("bob", "1", image.image.name, "x", "5")]
    path = write(tmp_path / "clothes.csv", "user,item,photo,description,rating", rows)
    given = {"image_column": "photo", "text_column": "description", "label_column": "rating"}
    both = samples_of(read("image_text_ratings", path, **given))
    assert next((one.user, one.image, one.text) for one in both) == ("ann", image.image, "a red dress with a hat")
    del given["text_column"]
    assert [one.text for one in samples_of(read("image_ratings", path, **given))] == [None, None]


def test_a_table_of_reviews_is_still_taken_for_texts(tmp_path: Path) -> None:
    rows = [(f"u{n}", f"i{n % 3}", f"this was a rather {'good' if n % 2 else 'bad'} film", "1") for n in range(9)]
    path = write(tmp_path / "reviews.csv", "user,item,review,stars", rows)
    assert "ratings" not in choose_format(FORMATS.values(), path)[0].name


def test_ratings_alone_are_told_what_they_lack_and_other_formats_name_that_for_ratings(tmp_path: Path) -> None:
    alone = write(tmp_path / "a.csv", "user,item,rating", [(f"u{n % 5}", f"i{n % 7}", str(n % 3)) for n in range(35)])
    assert choose_format(FORMATS.values(), alone)[0].name == "text_ratings"
    with pytest.raises(DataError, match="No text column") as caught:
        read("text_ratings", alone)
    assert "items_table" in caught.value.remedy
    assert len(samples_of(read("text_ratings", alone, text_column="item"))) == 35
    numbers = write(tmp_path / "b.csv", "user,item,rating", [(str(n % 5), str(n % 7), str(n % 3)) for n in range(35)])
    assert choose_format(FORMATS.values(), numbers)[0].name == "table"
    for name, options in (("table", {}), ("text_table", {"text_column": "item"})):
        assert any("--format text_ratings" in note for note in FORMATS[name].preview(numbers, options).notes)
    assert not any("text_ratings" in note for note in FORMATS["table"].preview(numbers, {"label_column": "item"}).notes)


def test_of_choices_as_many_are_drawn_as_asked_that_the_user_has_not_chosen(tmp_path: Path) -> None:
    items = [(str(number), f"the plot of film number {number}") for number in range(20)]
    write(tmp_path / "items.csv", "item,plot", items)
    chosen = [("ann", str(number)) for number in range(5)] + [("bob", "7")]
    path = write(tmp_path / "chosen.csv", "user,item", chosen)
    found = samples_of(read("text_ratings", path, negatives=2))
    assert Counter(one.label for one in found) == {1.0: 6, 0.0: 12}
    pairs = [(one.user, one.item) for one in found]
    assert len(set(pairs)) == len(pairs), "nothing is drawn twice for a user"
    assert {(one.user, one.item) for one in found if one.label == 1.0} == set(chosen)
    assert found == samples_of(read("text_ratings", path, negatives=2))
    assert found != samples_of(read("text_ratings", path, negatives=2, seed=1))
    everything = samples_of(read("text_ratings", path, negatives=10))
    assert len([one for one in everything if one.user == "ann"]) == 20, "no more than there are"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"items_table": "gone.csv"}, "gone.csv cannot be read"),
        ({"item_name_column": "number"}, 'movies.csv has no column "number"'),
        ({"user_column": "who"}, 'ratings.csv has no column "who"'),
        ({"item_column": ""}, "No item column is chosen"),
        ({"time_column": "", "split_by": "time"}, "No time column is chosen"),
    ],
)
def test_columns_and_tables_that_are_not_there_are_told(
    options: dict[str, object], sentence: str, source: Path
) -> None:
    with pytest.raises(DataError, match=sentence):
        read("text_ratings", source, **options)


def imported(source: Path, project: Project, registry: Registry, **options: object) -> Revision:
    request, _ = plan_import(registry.formats.values(), source, name="ratings", options=options)
    return import_dataset(request, project.datasets_folder).revision


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """40 users with 8 ratings each of 30 films, one a day."""
    write(tmp_path / "films.csv", "film,plot", [(str(n), f"what happens in film number {n}") for n in range(30)])
    rng = np.random.default_rng(0)
    pairs = [(user, int(film)) for user in range(40) for film in rng.permutation(30)[:8]]
    rows = [(f"user {user}", str(film), str(1 + (user + film) % 5), str(day)) for day, (user, film) in enumerate(pairs)]
    return write(tmp_path / "ratings.csv", "user,film,rating,time", rows)


def test_an_import_keeps_users_and_items_and_knows_them_from_train_alone(
    many: Path, project: Project, registry: Registry
) -> None:
    revision = imported(many, project, registry)
    first = revision.sample(0)
    assert (first.user, revision.task, len(revision)) == ("user 0", "recommendation", 320)
    assert first.text == f"what happens in film number {first.item}"
    hashes = revision.table.column("hash").to_pylist()
    assert len(set(hashes)) == 320, "the same film rated by another is another content"
    target = revision.target_info()
    train = {one.user for one in revision.samples(revision.indices("train"))}
    assert set(target.users) == train
    assert not target.binary


@pytest.mark.parametrize("by", ["item", "user"])
def test_splits_by_item_or_user_hold_them_together(by: str, many: Path, project: Project, registry: Registry) -> None:
    revision = imported(many, project, registry, split_by=by)
    splits: dict[str, set[str]] = {}
    for row in range(len(revision)):
        splits.setdefault(str(getattr(revision.sample(row), by)), set()).add(revision.split(row))
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "validation", "test"}


def test_splits_by_time_are_tested_on_the_newest(many: Path, project: Project, registry: Registry) -> None:
    revision = imported(many, project, registry, split_by="time")
    told = json.loads((revision.folder / REPORT_FILE).read_text(encoding="utf-8"))["notes"]
    assert any("cut by time: the oldest 70%" in note for note in told)
    # Rows are in the order of time.
    assert [len(revision.indices(split)) for split in ("train", "validation", "test")] == [224, 48, 48]
    assert revision.indices("train").max() < revision.indices("validation").min()
    assert revision.indices("validation").max() < revision.indices("test").min()


@pytest.mark.parametrize("modality", ["image", "text", "image+text"])
def test_the_head_keeps_the_contract_with_each_strategy(modality: str, registry: Registry, tmp_path: Path) -> None:
    (backbone,) = [one for one in tiny_backbones() if one.modality == modality]
    samples = tiny_samples(backbone.modality, "recommendation", tmp_path)
    check_head(Recommendation(), tiny_target("recommendation"), samples)
    for name in ("linear_probe", "lora"):
        (tmp_path / name).mkdir()
        target = tiny_target("recommendation")
        check_strategy(registry.strategy(name), backbone, Recommendation(), samples, target, tmp_path / name)


def built(target: TargetInfo, width: int = 4, **options: object) -> HeadModule:
    torch.manual_seed(0)
    head = Recommendation()
    return head.build(FeatureShape(width), target, head.Options.model_validate({"dropout": 0.0, **options}))


def sample(user: str | None) -> Sample:
    return Sample("x", text="x", user=user)


def test_scores_are_those_of_a_factorisation_and_a_stranger_is_the_mean_of_all_users() -> None:
    module = built(TargetInfo("recommendation", mean=3.0, std=2.0, users=("ann", "bob"))).eval()
    context = module.encoder().context([sample("bob"), sample("ann"), sample("nobody"), sample(None)])
    assert context is not None
    assert context.tolist() == [2, 1, 0, 0]
    x = torch.randn(1, 4).expand(4, 4)
    with torch.no_grad():
        output = module(Features(pooled=x, context=context))
    state = module.state_dict()
    item = x[0] @ state["item_vector.weight"].T + state["item_vector.bias"]
    bias = x[0] @ state["item_bias.weight"][0]
    expected = state["user_vector.weight"] @ item + bias
    torch.testing.assert_close(output[:2, 0], expected.flip(0))
    torch.testing.assert_close(output[2, 0], expected.mean())
    assert output[:, 1].tolist() == [2, 1, 0, 0]
    value = module.decode(output)[0].value
    assert isinstance(value, float)
    assert value == pytest.approx(float(output[0, 0]) * 2 + 3, rel=1e-6)


def test_likings_are_learned_from_features_and_hold_for_items_that_nobody_has_rated() -> None:
    rng = np.random.default_rng(0)
    tastes, films = rng.normal(size=(20, 3)), rng.normal(size=(80, 3))
    ratings = tastes @ films.T
    users = tuple(f"user {n}" for n in range(20))
    module = built(TargetInfo("recommendation", mean=0.0, std=float(ratings.std()), users=users), width=3, factors=8)
    encoder = module.encoder()
    pairs = [(user, film) for user in range(20) for film in range(60)]  # the last 20 films are new
    labels: list[Label] = [float(ratings[pair]) for pair in pairs]
    targets, x = encoder(labels, ()), torch.tensor(np.array([films[film] for _, film in pairs]), dtype=torch.float32)
    context = encoder.context([sample(users[user]) for user, _ in pairs])
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        torch.autograd.backward(module.loss(module(Features(pooled=x, context=context)), targets).mean())
        optimizer.step()
    new = [(user, film) for user in range(20) for film in range(60, 80)]
    x = torch.tensor(np.array([films[film] for _, film in new]), dtype=torch.float32)
    context = encoder.context([sample(users[user]) for user, _ in new])
    with torch.no_grad():
        found = module.eval()(Features(pooled=x, context=context))[:, 0] * float(ratings.std())
    assert np.corrcoef(found, [ratings[pair] for pair in new])[0, 1] > 0.99


@pytest.mark.parametrize("decimals", [9, 0])
def test_ndcg_of_each_user_is_that_of_scikit_learn_also_where_scores_are_equal(decimals: int) -> None:
    rng = np.random.default_rng(3)
    users = rng.integers(1, 30, 500)
    scores, relevance = rng.normal(size=500).round(decimals), rng.integers(0, 5, 500).astype(np.float64)
    expected = [
        sk.ndcg_score(relevance[None, users == user], scores[None, users == user], k=10)
        for user in np.unique(users)
        if len(set(relevance[users == user])) > 1
    ]
    np.testing.assert_allclose(ndcg_by_user(scores, relevance, users), expected, atol=1e-9)


@pytest.mark.parametrize("binary", [False, True])
def test_metrics_are_those_of_scikit_learn_however_they_are_batched(*, binary: bool) -> None:
    rng = np.random.default_rng(1)
    users = tuple(f"user {n}" for n in range(8))
    module = built(TargetInfo("recommendation", mean=2.5, std=1.5, users=users, binary=binary))
    numbers = rng.integers(0, 9, 200)
    labels = rng.integers(0, 2, 200) if binary else rng.integers(1, 6, 200)
    scores = rng.normal(size=200)
    output = torch.tensor(np.stack([scores, numbers], axis=1), dtype=torch.float32)
    target = module.encoder()([float(label) for label in labels], ())
    collection = module.metrics()
    for rows in np.array_split(np.arange(200), 3):
        collection.update(output[rows], target[rows])
    found = {name: float(value) for name, value in collection.compute().items()}
    known = numbers > 0
    each = ndcg_by_user(scores[known], (labels - labels.min())[known].astype(np.float64), numbers[known])
    expected = {"ndcg_at_10": each.mean()}
    if binary:
        expected["roc_auc"] = sk.roc_auc_score(labels, scores)
        expected["average_precision"] = sk.average_precision_score(labels, scores)
    else:
        values = scores * 1.5 + 2.5
        expected["rmse"] = sk.root_mean_squared_error(labels, values)
        expected["mae"] = sk.mean_absolute_error(labels, values)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert module.monitor[0] in found


def test_choices_are_learned_by_logistic_loss_and_told_as_probabilities() -> None:
    module = built(TargetInfo("recommendation", mean=0.2, std=0.4, users=("ann",), binary=True))
    output = torch.tensor([[0.7, 1.0], [-2.0, 1.0]])
    loss = module.loss(output, module.encoder()([1.0, 0.0], ()))
    np.testing.assert_allclose(loss, [np.log1p(np.exp(-0.7)), np.log1p(np.exp(-2.0))], rtol=1e-6)
    assert [one.value for one in module.decode(output)] == pytest.approx([1 / (1 + np.exp(-0.7)), 1 / (1 + np.exp(2))])


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (TargetInfo("recommendation", mean=1.0, std=1.0), "Nobody has rated anything"),
        (TargetInfo("recommendation", std=0.0, users=("ann",)), "All ratings are the same"),
        (TargetInfo("regression", users=("ann",)), "solves recommendation"),
    ],
)
def test_what_cannot_be_learned_is_told(target: TargetInfo, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        built(target)
