"""Everything that working plugins bring, by name, and which plugin brought it."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from tlstudio.api import (
    MODALITIES,
    TASKS,
    Backbone,
    BackboneFamily,
    Component,
    DatasetFormat,
    FineTuningStrategy,
    Method,
    Modality,
    Options,
    PluginError,
    Task,
    TaskHead,
    TLStudioError,
)
from tlstudio.api.features import FeatureKind
from tlstudio.api.wording import did_you_mean
from tlstudio.plugins.joined import PLUS, join
from tlstudio.plugins.records import PluginRecord

log = logging.getLogger(__name__)

C = TypeVar("C", bound=Component | BackboneFamily)

_LONGEST = {"name": 100, "title": 200, "description": 4000, "source": 500}  # characters
_MODALITY = {"modality": get_args(Modality)}
_ALLOWED: dict[str, dict[str, tuple[str, ...]]] = {
    "format": _MODALITY,
    "backbone": _MODALITY,
    "family": _MODALITY,
    "head": {"task": get_args(Task), "requires": get_args(FeatureKind)},
}
_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


class Registry:
    """Everything that working plugins bring, by name."""

    def __init__(self) -> None:
        self._formats: dict[str, DatasetFormat] = {}
        self._backbones: dict[str, Backbone] = {}
        self._families: dict[str, BackboneFamily] = {}
        self._heads: dict[str, TaskHead] = {}
        self._strategies: dict[str, FineTuningStrategy] = {}
        self._methods: dict[str, Method] = {}
        self._tables: dict[str, tuple[type[Any], dict[str, Any]]] = {
            "format": (DatasetFormat, self._formats),
            "backbone": (Backbone, self._backbones),
            "family": (BackboneFamily, self._families),
            "head": (TaskHead, self._heads),
            "strategy": (FineTuningStrategy, self._strategies),
            "method": (Method, self._methods),
        }
        self._plugins: dict[str, PluginRecord] = {}

    @property
    def formats(self) -> Mapping[str, DatasetFormat]:
        """Data set formats by name."""
        return MappingProxyType(self._formats)

    @property
    def backbones(self) -> Mapping[str, Backbone]:
        """Backbones that are listed one by one; families hold more."""
        return MappingProxyType(self._backbones)

    @property
    def families(self) -> Mapping[str, BackboneFamily]:
        """Families of backbones by name."""
        return MappingProxyType(self._families)

    @property
    def heads(self) -> Mapping[str, TaskHead]:
        """Task heads by name."""
        return MappingProxyType(self._heads)

    @property
    def strategies(self) -> Mapping[str, FineTuningStrategy]:
        """Fine-tuning strategies by name."""
        return MappingProxyType(self._strategies)

    @property
    def methods(self) -> Mapping[str, Method]:
        """Methods by name."""
        return MappingProxyType(self._methods)

    def backbone(self, name: str) -> Backbone:
        """Return a backbone by name, from the list or from a family (which may import its library).

        Two names with a plus between them, such as ``"resnet18+all-MiniLM-L6-v2"``, are a backbone for images and one
        for texts that are joined.

        Raises:
            PluginError: No such backbone; the sentence names the nearest.
        """
        if name in self._backbones:
            return self._backbones[name]
        if names := self.joined_names(name):
            return self._joined(*names)
        for family in self._families.values():
            if (member := _member(family, name)) is not None:
                return member
        known = [*self._backbones, *(n for family in self._families.values() for n in self.members(family))]
        raise _unknown("backbone", name, known)

    def joined_names(self, name: str) -> tuple[str, str] | None:
        """Take apart the name of two joined backbones; `None` where it is that of a single one."""
        image, plus, text = name.partition(PLUS)
        return (image.strip(), text.strip()) if plus and name not in self._backbones else None

    def _joined(self, *names: str) -> Backbone:
        parts = [self.backbone(name) for name in names]
        modalities: tuple[Modality, Modality] = ("image", "text")
        for part, modality in zip(parts, modalities, strict=True):
            if part.modality != modality:
                taken, wanted = MODALITIES[part.modality].items, MODALITIES[modality].items
                raise PluginError(
                    f"{part.title} takes {taken}, where a backbone for {wanted} must stand.",
                    f"Name first a backbone for images, then one for texts, with a {PLUS} between them.",
                )
        return join(*parts)

    def members(self, family: BackboneFamily) -> tuple[str, ...]:
        """Name the members of a family; none where its plugin fails, which is logged and hurts no other."""
        try:
            return tuple(family.names())
        except Exception:  # whatever a plugin raises is its own failure
            log.exception("names of the family %s", family.name)
            return ()

    def present(self, family: BackboneFamily) -> tuple[str, ...]:
        """Name the members of a family whose weights are on this machine; none where its plugin fails."""
        try:
            return tuple(family.present())
        except Exception:  # whatever a plugin raises is its own failure
            log.exception("what is present of the family %s", family.name)
            return ()

    def head(self, name: str) -> TaskHead:
        """Return a task head by name, or raise `PluginError`."""
        return _look_up("task head", self._heads, name)

    def strategy(self, name: str) -> FineTuningStrategy:
        """Return a fine-tuning strategy by name, or raise `PluginError`."""
        return _look_up("strategy", self._strategies, name)

    def method(self, name: str) -> Method:
        """Return a method by name, or raise `PluginError`."""
        return _look_up("method", self._methods, name)

    def format(self, name: str) -> DatasetFormat:
        """Return a data set format by name, or raise `PluginError`."""
        return _look_up("data set format", self._formats, name)

    def detect_format(self, path: Path) -> list[tuple[float, DatasetFormat]]:
        """Return the formats that fit a path with their scores, best first; one that fails is left out."""
        from tlstudio.data.planning import detect_all  # with its libraries only where data are looked at

        return [pair for pair in detect_all(self._formats.values(), path)[0] if pair[0] > 0]

    def why_not(
        self,
        backbone: Backbone | None,
        head: TaskHead | None,
        strategy: FineTuningStrategy | None,
        *,
        modality: Modality,
        task: Task,
    ) -> list[str]:
        """Say in sentences why a combination does not fit the data and itself; an empty list means that it fits.

        Of a component that is `None`, nothing is known.
        """
        sentences = []
        if backbone is not None and backbone.modality != modality:
            taken, has = MODALITIES[backbone.modality].items, MODALITIES[modality].items
            sentence = f"{backbone.title} takes {taken}, the data set has {has}."
            if modality == "image+text" and backbone.modality in ("image", "text"):
                sentence += f" Join one for images and one for texts: their names with a {PLUS} between them."
            sentences.append(sentence)
        if head is not None and head.task != task:
            sentences.append(
                f"{head.title} solves {TASKS[head.task].title.lower()}, "
                f"the data set is for {TASKS[task].title.lower()}."
            )
        if backbone is None or head is None:
            return sentences
        info = backbone.info()
        if head.requires not in info.provides:
            given = " and ".join(sorted(info.provides))
            needed = "several kinds of" if head.requires == "parts" else head.requires
            sentences.append(f"{head.title} needs {needed} features, {backbone.title} gives {given}.")
        if strategy is not None and (reason := strategy.why_not(info, head)):
            sentences.append(reason)
        return sentences

    def plugin_of(self, kind: str, name: str) -> PluginRecord | None:
        """Return the plugin that has brought a component, or `None` where there is no such component.

        Args:
            kind: ``"format"``, ``"backbone"``, ``"family"``, ``"head"``, ``"strategy"`` or ``"method"``.
            name: Its name.
        """
        label = f"{kind} {name}"
        if kind == "backbone" and name not in self._backbones:
            label = next((f"family {one.name}" for one in self._families.values() if _member(one, name)), label)
        return self._plugins.get(label)

    def add(self, component: Component | BackboneFamily, plugin: PluginRecord | None = None) -> str:
        """Add a component and return what it is called in lists.

        Args:
            component: The component.
            plugin: The plugin that brings it.

        Raises:
            PluginError: It is none of the known kinds, lacks what its kind must have, or its name is taken.
        """
        kind = next((kind for kind, (cls, _) in self._tables.items() if isinstance(component, cls)), "")
        if not kind:
            if isinstance(component, type):
                raise PluginError(f"{component.__name__} is a class; it must be an instance, {component.__name__}().")
            raise PluginError(
                f"{shortened(repr(component), 100)} is no backbone, task head, strategy, method or data set format."
            )
        check_component(kind, component)
        table = self._tables[kind][1]
        label = f"{kind} {component.name}"
        if component.name in table:
            other = self._plugins.get(label)
            by = f"the plugin '{other.name}'" if other else "another plugin"
            raise PluginError(f"The {kind} name '{component.name}' is taken by {by}.")
        table[component.name] = component
        if plugin is not None:
            self._plugins[label] = plugin
        return label

    def remove(self, label: str) -> None:
        """Take back what `add` has returned."""
        kind, _, name = label.partition(" ")
        self._tables[kind][1].pop(name, None)
        self._plugins.pop(label, None)


def check_component(kind: str, component: Component | BackboneFamily) -> None:
    """Make sure that lists, forms and recipes can show and store a component.

    Raises:
        PluginError: An attribute is missing, of the wrong type, or no line of text.
    """
    what = f"The {kind} {shortened(type(component).__name__, _LONGEST['name'])}"
    texts = ("name", "title") if kind == "family" else ("name", "title", "description", "source")
    for attribute in texts:
        value = getattr(component, attribute, None)
        if not isinstance(value, str) or not (value.strip() or attribute == "source"):
            raise PluginError(f"{what} has no {attribute}.")
        if len(value) > (longest := _LONGEST[attribute]):
            raise PluginError(
                f"{what} has a {attribute} of {len(value):,} characters; at most {longest:,} can be shown."
            )
        if odd := next(
            (
                sign
                for sign in value.replace("\n", " " if attribute == "description" else "\n")
                if _cannot_be_shown(sign)
            ),
            "",
        ):
            raise PluginError(f"The {attribute} of {what[:1].lower()}{what[1:]} has the character {odd!r}.")
    for attribute, allowed in _ALLOWED.get(kind, {}).items():
        if (value := getattr(component, attribute, None)) not in allowed:
            raise PluginError(
                f"{what} has the {attribute} {shortened(repr(value), 100)}; it must be {' or '.join(allowed)}."
            )
    if isinstance(component, Component):
        model = getattr(component, "Options", None)
        if not (isinstance(model, type) and issubclass(model, Options)):
            raise PluginError(f"The Options of {what[:1].lower()}{what[1:]} are no subclass of tlstudio.api.Options.")


def shortened(text: str, length: int) -> str:
    """Cut a text that a plugin has written, so that it can be shown."""
    return text if len(text) <= length else f"{text[:length]} ..."


def _cannot_be_shown(sign: str) -> bool:
    """Control characters, half characters, and marks that turn round the text after them."""
    return unicodedata.category(sign) in ("Cc", "Cs") or unicodedata.bidirectional(sign) in _TURNING


def _member(family: BackboneFamily, name: str) -> Backbone | None:
    try:
        return family.get(name)
    except TLStudioError:
        raise  # it knows the name, and says why it cannot have it
    except Exception:  # whatever a plugin raises is its own failure; the families after it are asked, too
        log.exception("%s of the family %s", name, family.name)
        return None


def _look_up(kind: str, table: Mapping[str, C], name: str) -> C:
    if name not in table:
        raise _unknown(kind, name, list(table))
    return table[name]


def _unknown(kind: str, name: str, known: list[str]) -> PluginError:
    return PluginError(f"There is no {kind} '{name}'.", did_you_mean(name, known, "There are"))
