"""What speaks against methods beside what else is chosen: told before anything is loaded, and all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import added
from tests.engine.conftest import TINY_VISION, Heard, assert_each_told_once
from tlstudio import api
from tlstudio.api import Augmentation, DataStream, FeatureKind, Method, ProblemsError, View
from tlstudio.api.method_modules import MethodContext, MethodModule
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.execute import execute_run
from tlstudio.engine.method_building import dataset_beside, stream_rows
from tlstudio.engine.methods import ChosenMethod
from tlstudio.engine.overlaps import left_out
from tlstudio.engine.recipe import learned_from
from tlstudio.engine.sequence_plan import plan_sequence
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing.components import TinyTextEncoder

BESIDE = {"batch_size": 4, "epochs": 2, "augmentation": "light"}


def against(project: Project, registry: Registry, dataset: str = "shapes", **values: Any) -> list[str]:
    """What is said of a recipe, each with its place; nothing where it can start."""
    training = {**BESIDE, **values.pop("training", {})}
    shown = {"shots": values.pop("shots", 0)}
    recipe = {"backbone": TINY_VISION, "strategy": "full", "training": training, "dataset": shown, **values}
    try:
        complete(recipe, project.dataset(dataset), registry)
    except ProblemsError as error:
        return [str(problem) for problem in error.problems]
    return []


def add_words(project: Project, registry: Registry, folder: Path) -> None:
    """Import texts as ``words``."""
    (folder / "words.conll").write_text("".join(f"Mr O\nNo{n} B-PER\nsang O\n\n" for n in range(20)), "utf-8")
    request, _ = plan_import(registry.formats.values(), folder / "words.conll", name="words")
    import_dataset(request, project.datasets_folder)


PROBE = {"name": "linear_probe", "options": {"cache_features": False}}


def test_what_teaches_the_backbone_is_refused_where_that_stays_as_it_is_though_its_features_are_not_kept(
    two_projects: Project, registry: Registry
) -> None:
    coral = {"target": "others", "layers": "features"}
    dann, joint = {"target": "others"}, {"source": "others"}
    methods = {"coral": coral, "dann": dann, "mmd": dann, "joint": joint, "l2_sp": {}, "wise_ft": {}}
    told = against(two_projects, registry, strategy=PROBE, methods=methods)
    assert [one.partition(":")[0] for one in told] == [f"methods.{name}" for name in methods]
    assert all("as it is" in one for one in told)


def test_what_comes_beside_few_labels_is_counted_by_a_batch_of_no_more_than_those(
    shapes_project: Project, registry: Registry
) -> None:
    values = {"backbone": TINY_VISION, "strategy": "full", "methods": {"fixmatch": {"ratio": 2.0}}}
    few = {"name": "shapes", "shots": 3}  # of three classes: 9 with labels, and fewer than 2 x 16 left
    revision = shapes_project.dataset("shapes")
    assert complete({**values, "dataset": few}, revision, registry).training.batch_size == 9
    with pytest.raises(ProblemsError, match="fewer than a batch of 32"):
        complete({**values, "dataset": few, "training": {"batch_size": 16}}, revision, registry)


def test_methods_that_would_do_nothing_are_refused(two_projects: Project, registry: Registry) -> None:
    def told(training: dict[str, Any], **methods: dict[str, Any]) -> str:
        return " ".join(against(two_projects, registry, methods=methods, training=training))

    for name in ("mixup", "cutmix"):
        assert "one in each" in told({"batch_size": 1}, **{name: {}})
    assert "the last alone would be averaged" in told({"epochs": 3}, swa={})
    assert told({"epochs": 3}, swa={"start": 0.4}) == ""
    assert told({"epochs": 8}, swa={}) == ""


def test_data_that_the_run_learns_from_itself_are_no_other_domain_no_other_task_and_nothing_earlier(
    two_projects: Project, registry: Registry
) -> None:
    adapting = {name: {"target": "shapes"} for name in ("coral", "dann", "mmd")}
    beside = {"joint": {"source": "others, shapes@r1"}, "replay": {"datasets": "others, shapes"}}
    for shots in (0, 4):
        told = against(two_projects, registry, shots=shots, methods={**adapting, **beside})
        places = [f"methods.{name}.target" for name in adapting]
        assert [one.partition(":")[0] for one in told] == [*places, "methods.joint.source", "methods.replay.datasets"]
        assert all("'shapes' is what the run itself learns from. Name " in one for one in told)
    # What they look like without their labels still teaches something, above all where few labels are shown.
    for name in ("fixmatch", "pseudo_labels"):
        assert against(two_projects, registry, shots=4, methods={name: {"dataset": "shapes", "ratio": 2.0}}) == []


def test_the_head_of_lp_ft_does_not_learn_alone_to_the_end(
    two_projects: Project, registry: Registry, tmp_path: Path
) -> None:
    add_words(two_projects, registry, tmp_path)
    label = registry.add(TinyTextEncoder())
    backbone = {"name": "tiny_text_encoder", "options": {}}
    try:
        values = {"backbone": backbone, "strategy": "lp_ft", "training": {"augmentation": "none"}}
        (told,) = against(two_projects, registry, "words", **values)
        # Outputs for words cannot be compared between texts of different lengths.
        coral = {"backbone": backbone, "methods": {"coral": {"target": "words"}}, "training": {"augmentation": "none"}}
        of_coral = against(two_projects, registry, "words", **coral)
    finally:
        registry.remove(label)
    assert told.startswith("strategy.head_epochs: the head would learn alone")
    assert of_coral[0].startswith("methods.coral.target: 'words' is what the run itself learns from")
    assert of_coral[1].startswith("methods.coral.layers: Token classification gives outputs for places")


def test_setfit_fits_its_head_to_the_last_weights_and_not_to_their_mean(
    two_projects: Project, registry: Registry
) -> None:
    for name in ("ema", "swa"):
        (told,) = against(two_projects, registry, strategy="setfit", methods={name: {}}, training={"epochs": 8})
        assert "exclude each other" in told


def test_everything_that_speaks_against_a_method_is_told_also_where_its_data_set_is_gone(
    two_projects: Project, registry: Registry
) -> None:
    label = registry.add(TinyTextEncoder())
    try:
        methods = {
            "ema": {},
            "swa": {"start": 0.0},
            "pseudo_labels": {"dataset": "nothing", "rises_from": 0.9, "rises_to": 0.1},
            "joint": {"source": "others, others"},
            "replay": {"datasets": "others, others"},
        }
        told = against(two_projects, registry, methods=methods, strategy=PROBE)
    finally:
        registry.remove(label)
    assert sum("exclude each other" in one for one in told) == 1
    sentences = "no data set 'nothing'", "before it rises", "stays as it is", "replay.datasets: others@r1"
    assert_each_told_once(told, *sentences)
    (gone,) = (one for one in against(two_projects, registry, methods={"lwf": {"teacher": "gone"}}) if "gone" in one)
    assert gone.startswith("methods.lwf")
    both = against(two_projects, registry, strategy=PROBE, methods={"lwf": {"teacher": "gone"}})
    assert any("nothing is forgotten" in one for one in both), "not only that the run is gone"


def test_what_no_data_set_would_mend_is_told_first_and_a_strategy_that_does_not_fit_once(
    two_projects: Project, registry: Registry
) -> None:
    fixmatch: dict[str, Any] = {"fixmatch": {}}
    told = against(two_projects, registry, methods=fixmatch, head="regression", training={"batch_size": 8})
    told = [one for one in told if one.startswith("methods.")]
    assert "the probabilities of classes" in told[0]
    assert told[1] == (
        "methods.fixmatch.dataset: 'shapes' has no unlabelled samples for FixMatch: all are learned with their labels. "
        "Name a data set of unlabelled samples, or set dataset.shots."
    )
    ratio = {"fixmatch": {"ratio": 2, "dataset": "others"}}
    (few,) = against(two_projects, registry, methods=ratio, training={"batch_size": 64})
    begins = (
        "methods.fixmatch.dataset: 'others' has 18 training samples for FixMatch, fewer than a batch of 128 (2 times "
    )
    assert few.startswith(f"{begins}training.batch_size, which is 64). Those that 'shapes' validates or tests are ")
    assert "Set training.batch_size to 9 or less or methods.fixmatch.ratio lower, or name another data set." in few
    probed = against(two_projects, registry, strategy="nearest_mean", head="regression")
    assert sum("linear" in one for one in probed) == 1


class Unvaried(TinyTextEncoder):
    """Cannot vary texts."""

    name = "unvaried"

    def augmentations(self, wanted: FeatureKind) -> Sequence[Augmentation]:
        return ["none"]


def test_variations_that_a_backbone_does_not_know_are_refused(reviews_project: Project, registry: Registry) -> None:
    labels = [registry.add(TinyTextEncoder()), registry.add(Unvaried())]
    try:

        def told(backbone: str, **options: Any) -> str:
            method = {"fixmatch": {"dataset": "reviews", "ratio": 1, **options}}
            return " ".join(
                against(
                    reviews_project,
                    registry,
                    "reviews",
                    backbone={"name": backbone, "options": {}},
                    methods=method,
                    training={"augmentation": "none"},
                )
            )

        assert told("tiny_text_encoder") == ""
        assert "cannot be varied by randaugment" in told("tiny_text_encoder", strong="randaugment")
        assert "cannot be varied by light or strong" in told("unvaried")
    finally:
        for label in labels:
            registry.remove(label)


def test_nothing_that_a_run_holds_out_is_in_a_stream_by_whatever_name(
    two_projects: Project, registry: Registry
) -> None:
    shapes = two_projects.dataset("shapes")
    source = Path(shapes.source)
    request, _ = plan_import(registry.formats.values(), source, name="again", task="pretraining", seed=7)
    import_dataset(request, two_projects.datasets_folder)

    def contents(name: str, run: dict[str, Any]) -> tuple[set[str], set[str], int]:
        recipe = complete({"backbone": TINY_VISION, "dataset": run}, shapes, registry)
        own = learned_from(recipe, shapes)
        held_out = np.concatenate([own.indices("validation"), own.indices("test")])
        data = dataset_beside(own, name)
        rows = stream_rows(DataStream("unlabelled", name, rows="all"), data, own)
        hashes = [
            {str(one) for one in table.column("hash").take(taken).to_pylist()}
            for table, taken in ((data.table, rows), (own.table, held_out))
        ]
        return hashes[0], hashes[1], len(rows)

    for name in ("shapes", "shapes@r1", "again", ""):
        for run in ({}, {"folds": 3, "fold": 1}):
            seen, held_out, count = contents(name, run)
            assert not seen & held_out
            assert count == 48 - len(held_out)
    assert contents("others", {})[2] == 24, "of other items, none is left out"
    options = registry.method("pseudo_labels").Options
    chosen = [
        ChosenMethod(registry.method("pseudo_labels"), options.model_validate({"dataset": name}))
        for name in ("again", "others")
    ]
    (note,) = left_out(chosen, shapes)
    assert "of the samples of 'again' are validated or tested by this run: Pseudo-labels leaves them out." in note


def test_what_speaks_against_later_runs_of_a_sequence_is_told_before_the_first(
    two_projects: Project, registry: Registry
) -> None:
    revisions = [two_projects.dataset("shapes"), two_projects.dataset("others")]

    def told(protection: Any, options: Mapping[str, Any], **values: Any) -> str:
        recipe = {"backbone": TINY_VISION, "training": {"batch_size": 8}, "strategy": "full", **values}
        with pytest.raises(ProblemsError) as caught:
            plan_sequence(revisions, recipe, registry, protection=protection, options=options)
        return " ".join(map(str, caught.value.problems))

    assert "methods.ewc.strength" in told("ewc", {"strength": -1})
    assert "LoRA leaves these as they are" in told("ewc", {}, strategy="lora")
    assert "nothing is forgotten" in told("lwf", {}, strategy=PROBE)
    assert "fewer than a batch" in told("replay", {}, training={"batch_size": 64})
    assert "There are not 7 samples of each class" in told("replay", {}, dataset={"shots": 7})
    assert two_projects.runs() == []


class Wide(Method):
    """Asks for a view of its own samples that no backbone knows."""

    name, title, description = "wide", "Wide", "Looks twice."

    def views(self, options: api.Options) -> Mapping[str, View]:
        return {"again": View("trivialaugment")}

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        return MethodModule(context)


@pytest.fixture
def wide(registry: Registry) -> Iterator[Registry]:
    with added(registry, Wide()):
        yield registry


def test_views_of_the_own_samples_are_looked_at_as_well(reviews_project: Project, wide: Registry) -> None:
    label = wide.add(TinyTextEncoder())
    try:
        backbone = {"name": "tiny_text_encoder", "options": {}}
        values = {"backbone": backbone, "methods": {"wide": {}}, "training": {"augmentation": "none"}}
        (told,) = against(reviews_project, wide, "reviews", **values)
    finally:
        wide.remove(label)
    assert "cannot be varied by trivialaugment" in told


def test_a_wrong_option_hides_nothing_else_that_is_wrong_with_its_method_or_others(
    two_projects: Project, registry: Registry, tmp_path: Path
) -> None:
    add_words(two_projects, registry, tmp_path)
    methods: dict[str, Any] = {
        "ema": {"decay": 2},
        "swa": {"start": 0.0},
        "nothing": {},
        "joint": {"source": "x"},
        "replay": {"datasets": "gone, others", "ratio": -1},
        "coral": {"target": "words", "strength": -1},
        "dann": {"strength": -1},
        "fixmatch": {"dataset": "others", "threshold": 1.5},
    }
    told = against(two_projects, registry, methods=methods)
    assert_each_told_once(
        told,
        "methods.ema.decay: 2 is",
        "no method 'nothing'",
        "exclude each other",
        "no data set 'x'",
        "methods.replay.datasets: There is no data set 'gone'",
        "methods.coral.target: The data set 'words' has texts",
        "methods.dann.target: no data set is named",
        "methods.fixmatch.dataset: 'others' has 18 training samples",
        *(f"methods.{name}: -1 is" for name in ("replay.ratio", "coral.strength", "dann.strength")),
        "methods.fixmatch.threshold: 1.5 is",
    )
    assert len(told) == 12, told


def test_with_an_unknown_strategy_or_a_wrong_option_of_it_all_else_is_checked(
    two_projects: Project, registry: Registry
) -> None:
    methods: dict[str, Any] = {"nothing": {}, "replay": {"datasets": "gone"}, "coral": {"strength": 1}}
    places = ["methods.nothing", "methods.replay.datasets", "methods.coral.target", "training.epoch"]
    lora = {"name": "lora", "options": {"rank": -1}}
    for strategy, place in (("fulll", "strategy.name"), (lora, "strategy.rank")):
        told = against(two_projects, registry, strategy=strategy, methods=methods, training={"epoch": 3})
        assert sorted(one.partition(":")[0] for one in told) == sorted([*places, place])


def test_an_earlier_run_whose_model_is_gone_is_told_before_the_run(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    recipe = {"backbone": TINY_VISION, "training": {**BESIDE, "epochs": 1}}
    revision = shapes_project.dataset("shapes")
    run = execute_run(
        complete(recipe, revision, registry), shapes_project, registry, on_event=heard, control=heard.control
    )
    teacher = {"distillation": {"teacher": run.id}}
    assert against(shapes_project, registry, methods=teacher) == []
    (run.folder / "checkpoints" / "best" / "model.safetensors").unlink()
    (told,) = against(shapes_project, registry, methods=teacher)
    assert told.startswith("methods.distillation.teacher: The checkpoint file")


def test_the_data_set_of_an_earlier_run_that_is_held_out_as_a_whole_is_told(
    shapes_project: Project, registry: Registry, shapes_folder: Path, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    revision = shapes_project.dataset("shapes")
    for row in revision.indices("test"):
        name = revision.label(int(row))
        (held / str(name)).mkdir(parents=True, exist_ok=True)
        source = revision.sample(int(row)).image
        assert source is not None
        (held / str(name) / source.name).write_bytes(source.read_bytes())
    request, _ = plan_import(registry.formats.values(), held, name="held", task="classification")
    import_dataset(request, shapes_project.datasets_folder)
    told = against(shapes_project, registry, methods={"ewc": {"run": "gone", "dataset": "held"}})
    assert any("'held' has no training samples" in one for one in told)


def test_a_table_with_other_columns_is_told_before_anything_is_trained(
    project: Project, registry: Registry, tmp_path: Path
) -> None:
    for name, column in (("sizes", "size"), ("heights", "height")):
        table = tmp_path / f"{name}.csv"
        table.write_text(f"{column},kind\n" + "".join(f"{n * 1.5},{'xyz'[n % 3]}\n" for n in range(30)))
        options = {"label_column": "kind"}
        request, _ = plan_import(registry.formats.values(), table, name=name, format="table", options=options)
        import_dataset(request, project.datasets_folder)
    values = {"backbone": "table_mlp", "strategy": "full", "training": {**BESIDE, "augmentation": "none"}}
    first, second = (project.dataset(name) for name in ("sizes", "heights"))
    with pytest.raises(ProblemsError) as caught:
        complete({**values, "methods": {"joint": {"source": "heights"}}}, first, registry, build=True)
    assert [problem.where for problem in caught.value.problems] == ["methods.joint.source"]
    with pytest.raises(ProblemsError, match=r'heights: .*lacks "size"'):
        plan_sequence([first, second], values, registry)
    assert project.runs() == []
