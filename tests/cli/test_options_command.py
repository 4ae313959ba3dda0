"""``tlstudio options``: names and options of all that a recipe can choose."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Tlstudio
from tlstudio.api import describe
from tlstudio.plugins import Registry


def test_every_name_is_listed_and_has_its_options(tlstudio: Tlstudio, registry: Registry) -> None:
    listed = tlstudio("options", "--json").json["catalogue"]
    names = {(one["section"], one["name"]) for one in listed}
    kinds = {
        "format": registry.formats,
        "backbone": registry.backbones,
        "head": registry.heads,
        "strategy": registry.strategies,
        "methods": registry.methods,
    }
    assert names - {("recipe", "summarisation"), ("recipe", "translation")} == {
        (section, name) for section, table in kinds.items() for name in table
    }
    assert {one["section"] for one in tlstudio("options", "methods", "--json").json["catalogue"]} == {"methods"}


def test_of_one_name_each_option_is_told_with_what_it_may_be(tlstudio: Tlstudio, registry: Registry) -> None:
    shown = tlstudio("options", "mixup")
    assert shown.code == 0
    method = registry.method("mixup")
    assert f"Source: {method.source}" in shown.out
    assert [line.split()[1] for line in shown.out.splitlines() if line.startswith("-o ")] == [
        f"methods.mixup.{field.name}=VALUE" for field in describe(method.Options)
    ]
    found = tlstudio("options", "fixmatch", "--json").json["found"][0]["options"]
    threshold = next(one for one in found if one["option"] == "methods.fixmatch.threshold")
    assert (threshold["gt"], threshold["lt"], threshold["default"], threshold["type"]) == (0, 1, 0.95, "float")
    assert threshold["allowed"] == "a number, more than 0, less than 1"


def test_strategies_and_heads_are_told_with_their_source(tlstudio: Tlstudio, registry: Registry) -> None:
    for one in (registry.strategy("gradual_unfreezing"), registry.head("detection"), registry.strategy("lp_ft")):
        assert f"Source: {one.source}" in tlstudio("options", one.name).out
        assert tlstudio("options", one.name, "--json").json["found"][0]["source"] == one.source
    assert "Source:" not in tlstudio("options", "image_folder").out, "where there is none, none is told"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("training", "-o training.epochs=VALUE"),
        ("dataset", "-o dataset.shots=VALUE"),
        ("series", "-o format.horizon=VALUE"),
        ("resnet34", "-o backbone.image_size=VALUE"),  # of a library's list
        ("summarisation", 'prompt = "summarize: {text}"'),
    ],
)
def test_sections_libraries_and_recipes_have_options_too(tlstudio: Tlstudio, name: str, words: str) -> None:
    assert words in tlstudio("options", name).out


def test_options_of_a_format_are_said_to_follow_the_data(tlstudio: Tlstudio) -> None:
    assert "48 if left out and the data suggest nothing else" in " ".join(tlstudio("options", "series").out.split())
    assert "suggest nothing else" not in tlstudio("options", "mixup").out


def test_a_name_that_is_nearly_right_is_told(tlstudio: Tlstudio) -> None:
    for name, words in (("fixmtch", "Did you mean fixmatch?"), ("qqqq", "tlstudio options lists all names")):
        missed = tlstudio("options", name)
        assert missed.code == 2
        assert words in missed.err


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("DoRA", {"lora"}),
        ("ulmfit", {"gradual_unfreezing"}),
        ("P-tuning v2", {"prefix_tuning"}),
        ("LLRD", {"full"}),
        ("houlsby", {"adapters"}),
        ("rehearsal", {"replay"}),
        ("DAN", {"mmd"}),
        ("vpt", {"vpt"}),
        ("qlora", {"qlora"}),
    ],
)
def test_what_has_another_name_is_found_by_that_too(tlstudio: Tlstudio, word: str, names: set[str]) -> None:
    found = tlstudio("options", word, "--json").json["found"]
    assert {one["name"] for one in found} == names
