"""The plugin manager: every plugin is tried and loaded alone."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Self

from tlstudio import startup
from tlstudio.plugins.loading import load_plugin
from tlstudio.plugins.memory import PluginMemory
from tlstudio.plugins.records import PluginRecord
from tlstudio.plugins.registry import Registry
from tlstudio.plugins.sources import Source, find_sources
from tlstudio.plugins.trial import try_plugins


class PluginManager:
    """Finds plugins and loads each of them alone.

    Plugins are entry points of the group ``tlstudio`` and, in the user's folder, single ``.py`` files and packages.
    One that is not bundled and is new or has changed is first imported in a process of its own: one that hangs, ends
    the program or changes what is not its own is recorded with its reason and never comes in. One that raises, has a
    syntax error, asks for another interface or brings a taken name is recorded with its traceback, and hurts nothing
    else.

    Args:
        plugins_folder: The user's folder of drop-in plugins; may be missing. What was tried is remembered there.
        disabled: Names of plugins that are not to be loaded.
        safe_mode: Whether only the bundled plugins are loaded.
    """

    def __init__(
        self, plugins_folder: Path | None = None, disabled: Collection[str] = (), *, safe_mode: bool = False
    ) -> None:
        self.plugins_folder = plugins_folder
        self.safe_mode = safe_mode
        self.registry = Registry()
        self.disabled = frozenset(disabled)
        self._records: list[PluginRecord] = []

    @classmethod
    def of_user(cls) -> Self:
        """Load the plugins as the user has set them up on this machine."""
        folder, off = startup.plugins_folder(), startup.disabled_plugins()
        manager = cls(folder, off, safe_mode=startup.is_safe_mode(os.environ))
        manager.discover()
        return manager

    @property
    def plugins(self) -> tuple[PluginRecord, ...]:
        """What became of each plugin, in the order of loading."""
        return tuple(self._records)

    def discover(self) -> None:
        """Load all plugins. To be called once."""
        memory = PluginMemory(self.plugins_folder)
        sources = list(find_sources(self.plugins_folder))
        wanted = [source for source in sources if not (source.bundled or self._is_off(source))]
        prints = {source.key: source.fingerprint() for source in wanted}
        verdicts = {source.key: memory.verdict(source, prints[source.key]) for source in wanted}
        untried = [source for source in wanted if verdicts[source.key] is None]
        if untried:
            for source, record in zip(untried, try_plugins(self.plugins_folder, untried), strict=True):
                verdicts[source.key] = record
                memory.remember(source, prints[source.key], record)
            memory.save()
        for source in sources:
            verdict = verdicts.get(source.key)
            other = next((record for record in self._records if record.name == source.record.name), None)
            if other is not None:
                sentence = f"The plugin name '{other.name}' is taken by the one from {other.origin}; rename this one."
                self._records.append(replace(source.record, state="failed", error=sentence))
            elif self._is_off(source):
                self._records.append(replace(source.record, state="disabled"))
            elif verdict is not None and verdict.state != "ok":
                self._records.append(verdict)
            elif source.bundled:
                self._records.append(load_plugin(source, self.registry))
            else:
                with memory.loading(source, prints[source.key]):
                    self._records.append(load_plugin(source, self.registry))

    def try_again(self, name: str) -> None:
        """Let the next start try a plugin again that is left out for what it did at an earlier one.

        Raises:
            OSError: The plugin folder cannot be written.
        """
        PluginMemory(self.plugins_folder).forget(name)

    def _is_off(self, source: Source) -> bool:
        return source.record.name in self.disabled or (self.safe_mode and not source.bundled)
