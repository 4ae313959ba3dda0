"""Where plugins come from: entry points of installed distributions, and files in the user's folder."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from tlstudio import __version__
from tlstudio.api import API_VERSION, PluginError
from tlstudio.api.hookspecs import NAMESPACE
from tlstudio.plugins.records import PluginRecord

_USER_MODULE = "tlstudio_user_plugin_"


@dataclass(frozen=True, slots=True)
class Source:
    """A plugin that was found and not yet imported.

    Attributes:
        record: What is known of it so far.
        entry: Its entry point, unless it is a file.
        path: Its file or folder in the user's folder, unless it is an entry point.
    """

    record: PluginRecord
    entry: metadata.EntryPoint | None = None
    path: Path | None = None

    @property
    def bundled(self) -> bool:
        """Whether it comes with the studio."""
        return self.record.distribution == "tlstudio"

    @property
    def key(self) -> str:
        """What it is remembered by."""
        return f"{self.record.name} from {self.record.origin}"

    def load(self) -> ModuleType:
        """Import it; raises whatever it raises."""
        if self.entry is not None:
            module = self.entry.load()
            if not isinstance(module, ModuleType):
                raise PluginError(f"The entry point {self.entry.value} is no module.")
            return module
        assert self.path is not None  # noqa: S101  one of both is there
        return import_file(self.path)

    def files(self) -> list[Path]:
        """All its files, found without importing it."""
        root = self.path
        if self.entry is not None:
            spec = importlib.util.find_spec(self.record.file) if self.record.file.isidentifier() else None
            if spec is None:
                return []
            folders = list(spec.submodule_search_locations or [])
            root = Path(folders[0]) if folders else Path(spec.origin or "")
        if root is None or not root.exists():
            return []
        if root.is_file():
            return [root]
        found = [
            Path(folder, name)
            for folder, _, names in os.walk(root)
            if Path(folder).name != "__pycache__"
            for name in names
        ]
        return sorted(found)

    def fingerprint(self) -> str:
        """A text that changes with the plugin, or with what it is loaded into."""
        digest = hashlib.sha256(f"{self.record.version} {__version__} {API_VERSION} {sys.version}".encode())
        for file in self.files():
            digest.update(os.fsencode(file))
            try:
                stat = file.stat()
                digest.update(
                    file.read_bytes() if file.suffix == ".py" else f"{stat.st_size} {stat.st_mtime_ns}".encode()
                )
            except OSError as error:  # importing it will say so
                digest.update(str(error).encode())
        return digest.hexdigest()


def find_sources(folder: Path | None) -> Iterator[Source]:
    """Find all plugins: the bundled ones first, so that a name that they bring cannot be taken from them.

    Args:
        folder: The user's folder; may be missing.
    """
    sources = []
    for entry in metadata.entry_points(group=NAMESPACE):
        distribution, version = (entry.dist.name, entry.dist.version) if entry.dist else ("", "")
        origin = f"{distribution} {version}" if distribution else entry.value
        # Not entry.module: it fails on what is no module, and all other plugins with it.
        file = entry.value.partition(":")[0].partition(".")[0].strip()
        sources.append(Source(PluginRecord(entry.name, version, origin, distribution, file), entry=entry))
    yield from sorted(sources, key=lambda source: (not source.bundled, source.record.name))
    if folder is None or not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            yield Source(PluginRecord(path.stem, "", str(path), file=path.name), path=path)


def file_of(module: str) -> Path | None:
    """File or folder of the user's plugin that a module belongs to; `None` if it belongs to none."""
    root = sys.modules.get(module.partition(".")[0])
    if root is None or not root.__name__.startswith(_USER_MODULE) or root.__file__ is None:
        return None
    file = Path(root.__file__)
    return file.parent if file.name == "__init__.py" else file


def have_imported(path: Path) -> None:
    """Import a plugin of the user's folder in a process that has not; raises whatever it raises."""
    if file_of(f"{_USER_MODULE}{path.stem}") != path:
        import_file(path)


def packed(part: object) -> tuple[Path | None, bytes]:
    """Pickle a part of a plugin, and say where the plugin is if it is the user's: another process must import it."""
    return file_of(type(part).__module__), pickle.dumps(part)


def unpacked(state: tuple[Path | None, bytes]) -> Any:  # noqa: ANN401  whatever was packed
    """Read back what `packed` has made in a process of our own."""
    plugin, pickled = state
    if plugin is not None:
        have_imported(plugin)
    return pickle.loads(pickled)  # noqa: S301  from our own parent process


def import_file(path: Path) -> ModuleType:
    """Import a plugin from the user's folder under a name that cannot hide another module."""
    name = f"{_USER_MODULE}{path.stem}"
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
        sys.modules.pop(name, None)
        raise
    return module
