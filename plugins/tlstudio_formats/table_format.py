"""What the formats for tables have in common: they look at one table, which is opened once for all of them."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from tlstudio.api import DataError, DatasetFormat, Source
from tlstudio_formats.sources import TABLE_SUFFIXES, Table, open_table


class TableFormat(DatasetFormat):
    """Base of formats for tables.

    Attributes:
        unreadable: How well it fits a table that cannot be read: above 0 where it is to say why.
    """

    unreadable: ClassVar[float] = 0.0

    def detect(self, path: Path) -> float:
        """Look at the columns and the first rows."""
        return self.look(Source(path))

    def look(self, source: Source) -> float:
        """Look at the columns and the first rows, which all formats for tables share."""
        try:
            if source.path.suffix.lower() not in TABLE_SUFFIXES or not source.path.is_file():
                return 0.0
            return self.fit(source.once(open_table))
        except (DataError, OSError, ValueError):
            return self.unreadable

    @abstractmethod
    def fit(self, table: Table) -> float:
        """Say how well it fits a table: 0 (not at all) to 1 (certainly).

        Raises:
            DataError: The table cannot be read, which `unreadable` stands for.
        """
