"""Data set formats: they read a folder or file of the user's into samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tlstudio.api.components import Component
from tlstudio.api.data import Modality, Preview, Rejected, Sample, Task
from tlstudio.api.options import Options

T = TypeVar("T")


class Source:
    """A folder or file of the user's while several formats look at it, one after the other.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[Callable[[Path], Any], tuple[Any, Exception | None]] = {}

    def once(self, look: Callable[[Path], T]) -> T:
        """Return what a function makes of the path, or raise what it raises; it is called for the first who asks.

        Args:
            look: Opens the table, say. What it returns is shared, and not to be changed.
        """
        if look not in self._found:
            try:
                self._found[look] = look(self.path), None
            except Exception as error:  # noqa: BLE001  it is raised below, and to all who ask later
                self._found[look] = None, error
        found, failed = self._found[look]
        if failed is not None:
            raise failed
        result: T = found
        return result


class DatasetFormat(Component):
    """Reads a folder or file of the user's into samples.

    Attributes:
        modality: What its samples are.
        tasks: What its labels may be for.
    """

    modality: Modality
    tasks: Collection[Task] = ("classification", "multi_label", "regression", "anomaly_detection")

    @property
    def every_task(self) -> tuple[Task, ...]:
        """`tasks`, and pretraining, as any data can be learned from without labels."""
        return (*(task for task in self.tasks if task != "pretraining"), "pretraining")

    @abstractmethod
    def detect(self, path: Path) -> float:
        """Say how well this format fits a path: 0 (not at all) to 1 (certainly). Fast; never raises."""

    def look(self, source: Source) -> float:
        """Do the same with a source that other formats look at, too, so that nothing need be read twice.

        Args:
            source: `Source.once` gives what one of them has read to the others. The default takes the path alone.
        """
        return self.detect(source.path)

    @abstractmethod
    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Look at the first items and suggest options.

        Args:
            path: Folder or file.
            options: Options that the user has already set; the rest is suggested.

        Raises:
            DataError: Nothing usable is there.
        """

    @abstractmethod
    def read(self, path: Path, options: Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield every item in a stable order; an item that cannot be used is yielded as `Rejected`.

        Raises:
            DataError: The source as a whole cannot be read (missing column, empty folder).
        """

    def splits_told(self, options: Options) -> str:
        """Say in a sentence how the format itself makes the splits, by time for instance; ``""``: it does not."""
        return ""

    def without_labels(self) -> Mapping[str, Any] | None:
        """Options under which `read` gives every sample without its label, for prediction; `None`: it cannot."""
        return None

    def for_pretraining(self) -> Mapping[str, Any]:
        """Options under which samples that are learned from without labels are read, where the user sets no others.

        Any data can be learned from so: labels that `read` gives all the same are left out. It is asked for the task
        ``"pretraining"`` where this is among `tasks`, else for the first of them.
        """
        return self.without_labels() or {}
