"""Plugins: find them, load each alone, explain what failed, and look up what they bring."""

from __future__ import annotations

import difflib
import importlib.util
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal, TypeVar

import pluggy

from tlstudio.api import (
    API_VERSION,
    TASK_TITLES,
    Backbone,
    BackboneFamily,
    Component,
    DatasetFormat,
    FineTuningStrategy,
    Modality,
    PluginError,
    Task,
    TaskHead,
    hookspecs,
)

C = TypeVar("C", bound=Component | BackboneFamily)
State = Literal["ok", "failed", "disabled"]


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """What became of one plugin.

    Attributes:
        name: Name of its entry point, or of its file.
        version: Version of its distribution; ``""`` for a file.
        origin: The distribution or the path that it came from.
        state: ``"ok"``, ``"failed"`` or ``"disabled"``.
        provides: What it brought, such as ``"backbone resnet18"``.
        error: Why it failed, as a sentence.
        traceback: The traceback of the failure, for its author.
    """

    name: str
    version: str
    origin: str
    state: State = "ok"
    provides: tuple[str, ...] = ()
    error: str = ""
    traceback: str = ""


class Registry:
    """Everything that working plugins bring, by name."""

    def __init__(self) -> None:
        self._formats: dict[str, DatasetFormat] = {}
        self._backbones: dict[str, Backbone] = {}
        self._families: dict[str, BackboneFamily] = {}
        self._heads: dict[str, TaskHead] = {}
        self._strategies: dict[str, FineTuningStrategy] = {}
        self._tables: dict[str, tuple[type[Any], dict[str, Any]]] = {
            "format": (DatasetFormat, self._formats),
            "backbone": (Backbone, self._backbones),
            "family": (BackboneFamily, self._families),
            "head": (TaskHead, self._heads),
            "strategy": (FineTuningStrategy, self._strategies),
        }

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

    def backbone(self, name: str) -> Backbone:
        """Return a backbone by name, from the list or from a family (which may import its library).

        Raises:
            PluginError: No such backbone; the sentence names the nearest.
        """
        if name in self._backbones:
            return self._backbones[name]
        for family in self._families.values():
            if (member := family.get(name)) is not None:
                return member
        known = [*self._backbones, *(n for family in self._families.values() for n in family.names())]
        raise _unknown("backbone", name, known)

    def head(self, name: str) -> TaskHead:
        """Return a task head by name, or raise `PluginError`."""
        return _look_up("task head", self._heads, name)

    def strategy(self, name: str) -> FineTuningStrategy:
        """Return a fine-tuning strategy by name, or raise `PluginError`."""
        return _look_up("strategy", self._strategies, name)

    def format(self, name: str) -> DatasetFormat:
        """Return a data set format by name, or raise `PluginError`."""
        return _look_up("data set format", self._formats, name)

    def detect_format(self, path: Path) -> list[tuple[float, DatasetFormat]]:
        """Return the formats that fit a path with their scores, best first; one that fails is left out."""
        from tlstudio.data.planning import detect_all  # with its libraries only where data are looked at

        return [pair for pair in detect_all(self._formats.values(), path)[0] if pair[0] > 0]

    def why_not(
        self,
        backbone: Backbone,
        head: TaskHead,
        strategy: FineTuningStrategy | None,
        *,
        modality: Modality,
        task: Task,
    ) -> list[str]:
        """Say in sentences why a combination does not fit the data and itself; an empty list means that it fits."""
        sentences = []
        if backbone.modality != modality:
            taken, has = _plural(backbone.modality), _plural(modality)
            sentences.append(f"{backbone.title} takes {taken}, the data set has {has}.")
        if head.task != task:
            sentences.append(
                f"{head.title} solves {TASK_TITLES[head.task].lower()}, "
                f"the data set is for {TASK_TITLES[task].lower()}."
            )
        info = backbone.info()
        if head.requires not in info.provides:
            given = " and ".join(sorted(info.provides))
            sentences.append(f"{head.title} needs {head.requires} features, {backbone.title} gives {given}.")
        if strategy is not None and (reason := strategy.why_not(info, head)):
            sentences.append(reason)
        return sentences

    def add(self, component: Component | BackboneFamily) -> str:
        """Add a component and return what it is called in lists.

        Raises:
            PluginError: It is none of the known kinds, has no name or title, or its name is taken.
        """
        kind = next((kind for kind, (cls, _) in self._tables.items() if isinstance(component, cls)), "")
        if not kind:
            raise PluginError(f"{component!r} is no backbone, task head, strategy or data set format.")
        for attribute in ("name", "title"):
            if not isinstance(getattr(component, attribute, None), str) or not getattr(component, attribute):
                raise PluginError(f"The {kind} {type(component).__name__} has no {attribute}.")
        table = self._tables[kind][1]
        if component.name in table:
            raise PluginError(f"The {kind} name '{component.name}' is taken by another plugin.")
        table[component.name] = component
        return f"{kind} {component.name}"

    def remove(self, label: str) -> None:
        """Take back what `add` has returned."""
        kind, _, name = label.partition(" ")
        self._tables[kind][1].pop(name, None)


class PluginManager:
    """Finds plugins and loads each of them alone.

    Plugins are entry points of the group ``tlstudio`` and, in the user's folder, single ``.py`` files and packages.
    One that raises, has a syntax error, asks for another interface or brings a taken name is recorded with its
    traceback, and hurts nothing else.

    Args:
        plugins_folder: The user's folder of drop-in plugins; may be missing.
        disabled: Names of plugins that are not to be loaded.
    """

    def __init__(self, plugins_folder: Path | None = None, disabled: Collection[str] = ()) -> None:
        self.plugins_folder = plugins_folder
        self.registry = Registry()
        self._disabled = frozenset(disabled)
        self._records: list[PluginRecord] = []

    @property
    def plugins(self) -> tuple[PluginRecord, ...]:
        """What became of each plugin, in the order of loading."""
        return tuple(self._records)

    def discover(self) -> None:
        """Load all plugins. To be called once."""
        entry_points = sorted(metadata.entry_points(group=hookspecs.NAMESPACE), key=lambda e: (not _bundled(e), e.name))
        for entry in entry_points:
            version = entry.dist.version if entry.dist else ""
            origin = f"{entry.dist.name} {version}" if entry.dist else entry.value
            self._load(PluginRecord(entry.name, version, origin), entry)
        for path in self._files():
            self._load(PluginRecord(path.stem, "", str(path)), path)

    def _files(self) -> Iterator[Path]:
        if self.plugins_folder is None or not self.plugins_folder.is_dir():
            return
        for path in sorted(self.plugins_folder.iterdir()):
            if path.name.startswith((".", "_")):
                continue
            if path.suffix == ".py" or (path / "__init__.py").is_file():
                yield path

    def _load(self, record: PluginRecord, source: metadata.EntryPoint | Path) -> None:
        if record.name in self._disabled:
            self._records.append(replace(record, state="disabled"))
            return
        provided: list[str] = []
        try:
            module = source.load() if isinstance(source, metadata.EntryPoint) else _import_file(source)
            _check_api_version(module, record.name)
            components = _components_of(module, record.name)
            provided.extend(self.registry.add(component) for component in components)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a plugin raises is its own failure
            for label in provided:
                self.registry.remove(label)
            sentence = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
            self._records.append(replace(record, state="failed", error=sentence, traceback=traceback.format_exc()))
        else:
            self._records.append(replace(record, provides=tuple(provided)))


def _bundled(entry: metadata.EntryPoint) -> bool:
    """Bundled plugins go first, so that a name they bring cannot be taken from them."""
    return entry.dist is not None and entry.dist.name == "tlstudio"


def _import_file(path: Path) -> ModuleType:
    """Import a plugin from the user's folder under a name that cannot hide another module."""
    name = f"tlstudio_user_plugin_{path.stem}"
    file = path / "__init__.py" if path.is_dir() else path
    locations = [str(path)] if path.is_dir() else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=locations)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} cannot be imported.", path=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _check_api_version(module: ModuleType, name: str) -> None:
    wanted = getattr(module, "TLSTUDIO_API", None)
    if not isinstance(wanted, str):
        raise PluginError(
            f"The plugin '{name}' does not say which plugin interface it was written for.",
            f'Its module needs a line TLSTUDIO_API = "{API_VERSION}".',
            plugin=name,
        )
    try:
        major, minor = (int(part) for part in wanted.split("."))
    except ValueError:
        raise PluginError(f"TLSTUDIO_API = {wanted!r} of '{name}' is not of the form '1.0'.", plugin=name) from None
    our_major, our_minor = (int(part) for part in API_VERSION.split("."))
    if major != our_major or minor > our_minor:
        raise PluginError(
            f"The plugin '{name}' was written for plugin interface {wanted}, this studio has {API_VERSION}.",
            "Install a release of the plugin for this studio, or the other way round.",
            plugin=name,
        )


def _components_of(module: ModuleType, name: str) -> Iterator[Component | BackboneFamily]:
    """Call the hooks of one plugin alone, in a pluggy manager of its own, so that none can break another's."""
    manager = pluggy.PluginManager(hookspecs.NAMESPACE)
    manager.add_hookspecs(hookspecs)
    manager.register(module, name)
    manager.check_pending()
    hooks = manager.hook
    for hook in (
        hooks.register_dataset_formats,
        hooks.register_backbones,
        hooks.register_task_heads,
        hooks.register_strategies,
    ):
        for result in hook():
            if isinstance(result, str) or not isinstance(result, Sequence):
                raise PluginError(
                    f"{hook.name} of '{name}' must return a list, not {type(result).__name__}.", plugin=name
                )
            yield from result


def _look_up(kind: str, table: Mapping[str, C], name: str) -> C:
    if name not in table:
        raise _unknown(kind, name, list(table))
    return table[name]


def _unknown(kind: str, name: str, known: list[str]) -> PluginError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    remedy = f"Did you mean {', '.join(near)}?" if near else f"There are: {', '.join(known[:12]) or 'none'}."
    return PluginError(f"There is no {kind} '{name}'.", remedy)


def _plural(modality: Modality) -> str:
    return {"image": "images", "text": "texts"}[modality]
