"""Predicted masks as files: one PNG an image, in a folder beside the table of predictions."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tlstudio.api import Mask, RunError, Sample
from tlstudio.api.masks import class_values
from tlstudio.data.names import safe_name
from tlstudio.data.own_folders import refuse_as_output


class PredictedMasks:
    """A folder of masks that appears as a whole when all is done.

    The value of a pixel is the place of its class, the same in all files; a table beside them says which, so that the
    folder can be imported again. Colours are only there to be looked at.

    Args:
        table: The table of predictions, beside which it is made: ``shapes.csv`` has ``shapes_masks``.
        classes: Names of the classes.

    Raises:
        RunError: The folder is taken.
    """

    def __init__(self, table: Path, classes: Sequence[str]) -> None:
        self.folder = table.with_name(f"{table.stem}_masks")
        refuse_as_output(self.folder)
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise RunError(
                f"{self.folder}, where the masks would go, is not empty.",
                "Give another name for the predictions, or move that folder away.",
                path=self.folder,
            )
        self._classes = tuple(classes)
        self._palette = [part for value in range(256) for part in _colour(value)]
        self._staging = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.part")
        self._taken: set[str] = set()

    def write(self, sample: Sample, mask: Mask) -> str:
        """Write the mask of a sample; returns its path as seen from the table.

        Raises:
            OSError: It cannot be written.
        """
        self._staging.mkdir(parents=True, exist_ok=True)
        stem = safe_name(Path(sample.id).stem)
        name, number = f"{stem}.png", 2
        while name.casefold() in self._taken:
            name, number = f"{stem} ({number}).png", number + 1
        self._taken.add(name.casefold())
        image = Image.fromarray(class_values(mask, self._classes)).convert("L")
        coloured = Image.frombytes("P", image.size, image.tobytes())
        coloured.putpalette(self._palette)
        coloured.save(self._staging / name)
        return f"{self.folder.name}/{name}"

    def finish(self) -> None:
        """Let the folder appear.

        Raises:
            OSError: It cannot be written.
        """
        self._staging.mkdir(parents=True, exist_ok=True)
        with (self._staging / "classes.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "name", "r", "g", "b"])
            writer.writerows([number, name, *_colour(number)] for number, name in enumerate(self._classes))
        if self.folder.exists():
            self.folder.rmdir()
        self._staging.rename(self.folder)

    def discard(self) -> None:
        """Take away what has not been finished."""
        shutil.rmtree(self._staging, ignore_errors=True)


def _colour(value: int) -> tuple[int, int, int]:
    """Colours that differ well, as PASCAL VOC has them: each bit of the value sets a high bit of a channel."""
    parts = [0, 0, 0]
    for level in range(8):
        for channel in range(3):
            parts[channel] |= ((value >> (3 * level + channel)) & 1) << (7 - level)
    return parts[0], parts[1], parts[2]
