"""Where strategies, heads and methods come from, and what their options are, is told of each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from tlstudio.api import Component, Method, Options, PluginError
from tlstudio.api.method_modules import MethodContext, MethodModule
from tlstudio.plugins import Registry
from tlstudio.plugins.catalogue import Table, catalogue


class Plain(Method):
    """Says no more of itself than it must."""

    name = "plain"
    title = "Plain"
    description = "Does nothing. For tests."

    def build(self, context: MethodContext, options: Options) -> MethodModule:
        return MethodModule(context)


def test_each_strategy_head_and_method_names_a_paper(registry: Registry) -> None:
    components: list[Component] = [*registry.strategies.values(), *registry.heads.values(), *registry.methods.values()]
    parts = [one.method(one.Options()) for one in registry.strategies.values()]
    components += [part[0] for part in parts if part is not None]
    assert len(components) > 50
    cited = re.compile(r"[A-Z]\w+ (et al\. |(and|&) [A-Z]\w+ )?(19|20)\d\d")
    assert [one.name for one in components if not cited.search(one.source)] == []


def test_each_option_has_a_title_and_a_help(registry: Registry) -> None:
    tables: Sequence[dict[str, Component]] = [
        dict(table)
        for table in (registry.formats, registry.backbones, registry.heads, registry.strategies, registry.methods)
    ]
    fields = [
        (f"{one.name}.{name}", field)
        for table in tables
        for one in table.values()
        for name, field in one.Options.model_fields.items()
    ]
    assert len(fields) > 100
    assert [where for where, field in fields if not (field.title or "").strip()] == []
    assert [where for where, field in fields if not (field.description or "").strip()] == []


def test_the_catalogue_names_the_sources(registry: Registry) -> None:
    tables: dict[str, Table] = {table.title: table for table in catalogue(registry)}
    known = {
        "Task heads": registry.heads,
        "Strategies": registry.strategies,
        "Methods beside a strategy": registry.methods,
    }
    for title, components in known.items():
        assert tables[title].headers[-1] == "source"
        assert {row[0]: row[-1] for row in tables[title].rows} == {name: one.source for name, one in components.items()}


def test_a_component_may_have_no_source_but_none_that_cannot_be_shown() -> None:
    registry = Registry()
    label = registry.add(Plain())
    assert registry.method("plain").source == ""
    registry.remove(label)
    wrong = Plain()
    for source, what in ((7, "has no source"), ("two\nlines", "has the character"), ("x" * 600, "at most 500")):
        vars(wrong)["source"] = source
        with pytest.raises(PluginError, match=what):
            registry.add(wrong)
    assert not registry.methods
