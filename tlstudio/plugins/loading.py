"""Importing one plugin and asking it what it brings."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import ModuleType

import pluggy

from tlstudio.api import API_VERSION, BackboneFamily, Component, PluginError, hookspecs
from tlstudio.plugins.guard import nothing_else_changed
from tlstudio.plugins.records import PluginRecord
from tlstudio.plugins.registry import Registry, shortened
from tlstudio.plugins.sources import Source
from tlstudio.privacy import without_secrets

_SHOWN_ERROR, _SHOWN_TRACEBACK = 1000, 20_000  # characters


def load_plugin(source: Source, registry: Registry) -> PluginRecord:
    """Import a plugin and add what it brings to the registry, all of it or nothing.

    Args:
        source: The plugin.
        registry: Gets its components.

    Returns:
        What became of it.
    """
    record = source.record
    provided: list[str] = []
    try:
        # The bundled ones are ours; looking at what they change would cost time at each start.
        with contextlib.nullcontext() if source.bundled else nothing_else_changed(record.name):
            module = source.load()
            _check_api_version(module, record.name)
            for component in _components_of(module, record.name):
                provided.append(registry.add(component, record))  # noqa: PERF401  what was added before a failure counts
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a plugin raises is its own failure
        for label in provided:
            registry.remove(label)
        return failed(record, error)
    return replace(record, provides=tuple(provided))


def failed(record: PluginRecord, error: BaseException) -> PluginRecord:
    """Say why a plugin is left out."""
    sentence = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        sentence = "It asks for more memory than a plugin may have while it is imported."
    return replace(
        record,
        state="failed",
        error=shortened(without_secrets(sentence), _SHOWN_ERROR),
        traceback=shortened(without_secrets("".join(traceback.format_exception(error))), _SHOWN_TRACEBACK),
    )


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
        hooks.register_methods,
    ):
        for result in hook():
            if isinstance(result, str) or not isinstance(result, Sequence):
                raise PluginError(
                    f"{hook.name} of '{name}' must return a list, not {type(result).__name__}.", plugin=name
                )
            yield from result
