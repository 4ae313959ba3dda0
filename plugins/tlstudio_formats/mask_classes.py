"""Which class a value or a colour of a mask stands for, and reading masks by it."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import UNLABELLED, DataError, Mask
from tlstudio.api.files import read_text
from tlstudio.api.images import open_unconverted
from tlstudio.api.masks import mask_of
from tlstudio_formats.json_records import read_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

CLASS_FILES = (
    "classes.csv",
    "classes.json",
    "classes.txt",
    "class_dict.csv",
    "labels.csv",
    "labels.json",
    "labels.txt",
    "labelmap.txt",
    "codes.txt",
)
"""Files that say what values mean, as they are usually called."""

MOST_UNNAMED = 64
"""Values of one mask that may be classes without a name; more are a mask of single things, or a photo."""

Colour = tuple[int, int, int]

_NUMBERED = re.compile(r"(\d{1,5})\s*[:=,;\t ]\s*(\S.*)")
_LABELMAP = re.compile(r"([^:#]+):(\d{1,3}),(\d{1,3}),(\d{1,3}):.*")
_IDS = ("id", "value", "index", "class_id", "label_id", "trainid", "pixel")
_NAMES = ("name", "class", "label", "class_name", "category")
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")


@dataclass(frozen=True, slots=True)
class MaskClass:
    """What a value of a mask stands for.

    Attributes:
        value: The value.
        name: The class; several values may have one.
        colour: How it is drawn where masks are coloured.
    """

    value: int
    name: str
    colour: Colour | None = None


def written_classes(text: str) -> list[MaskClass]:
    """Read names that the user has written: ``background, road, car`` for 0, 1, 2, or ``0=background, 255=road``.

    Raises:
        DataError: They are neither.
    """
    parts = [part.strip() for part in re.split(r"[,;\n]", text) if part.strip()]
    given = [re.fullmatch(r"(\d{1,5})\s*[=:]\s*(\S.*)", part) for part in parts]
    if any(given) and not all(given):
        raise DataError(
            f"Some of the class names have a value and some have none: {text.strip()[:100]}.",
            "Write them as background, road, car - or as 0=background, 255=road.",
            field="classes",
        )
    return [
        MaskClass(int(match[1]), match[2]) if match else MaskClass(place, part)
        for place, (part, match) in enumerate(zip(parts, given, strict=True))
    ]


def classes_in(path: Path) -> list[MaskClass]:
    """Read a file that says what values mean: one name a line, a table with a header, or JSON.

    Raises:
        DataError: It cannot be read, or says nothing of that kind.
    """
    try:
        suffix = path.suffix.lower()
        if suffix == ".json":
            found = _from_json(read_json(path))
        elif suffix in (".csv", ".tsv"):
            found = _from_table(read_text(path, encoding="utf-8-sig"))
        else:
            found = _from_lines(read_text(path, encoding="utf-8-sig").splitlines())
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise DataError(
            f"{path.name} does not say which class a value stands for: {error}.",
            "Write one name a line, or a table with the columns id, name and perhaps r, g, b.",
            path=path,
            field="classes_file",
        ) from error
    if not found:
        raise DataError(f"{path.name} names no classes.", "Write one name a line.", path=path, field="classes_file")
    return found


def _from_lines(lines: Sequence[str]) -> list[MaskClass]:
    lines = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    drawn = [match for line in lines if (match := _LABELMAP.fullmatch(line))]  # as CVAT writes them
    if drawn:
        return [MaskClass(n, match[1].strip(), _colour(match.groups()[1:])) for n, match in enumerate(drawn)]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        return [MaskClass(int(match[1]), match[2]) for match in numbered if match]
    return [MaskClass(number, line) for number, line in enumerate(lines)]


def _from_table(text: str) -> list[MaskClass]:
    delimiter = next((sign for sign in ("\t", ";", ",") if sign in text.partition("\n")[0]), ",")
    rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter))
    return [_from_record(number, row) for number, row in enumerate(rows)]


def _from_json(content: object) -> list[MaskClass]:
    if isinstance(content, dict) and isinstance(inner := content.get("classes", content.get("labels")), list | dict):
        content = inner
    if isinstance(content, dict):
        pairs = content.items()
        if all(str(key).isdecimal() for key in content):
            return [MaskClass(_value(key), _name(name)) for key, name in pairs]
        return [MaskClass(_value(value), _name(name)) for name, value in pairs]
    if not isinstance(content, list):
        raise TypeError("it is neither a list nor an object")
    return [
        _from_record(number, item) if isinstance(item, dict) else MaskClass(number, _name(item))
        for number, item in enumerate(content)
    ]


def _from_record(number: int, record: Mapping[Any, Any]) -> MaskClass:
    cells = {str(key).strip().casefold(): value for key, value in record.items() if value not in (None, "")}
    name = next((cells[key] for key in _NAMES if key in cells), None)
    if name is None:
        raise ValueError(f"row {number + 1} has no name")
    value = next((cells[key] for key in _IDS if key in cells), number)
    return MaskClass(_value(value), _name(name), _colour_of(cells))


def _value(value: object) -> int:
    number = int(str(value).strip())
    if not 0 <= number < 2**16:
        raise ValueError(f"{number} is no value of a pixel")
    return number


def _name(name: object) -> str:
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"{str(name)[:40]!r} is no name")
    return name.strip()


def _colour_of(cells: Mapping[str, Any]) -> Colour | None:
    if all(key in cells for key in "rgb"):
        return _colour([cells[key] for key in "rgb"])
    if all(key in cells for key in ("red", "green", "blue")):
        return _colour([cells[key] for key in ("red", "green", "blue")])
    given = cells.get("color", cells.get("colour"))
    if isinstance(given, list):
        return _colour(given[:3])
    match = _HEX.fullmatch(str(given).strip()) if given is not None else None
    return _colour(list(bytes.fromhex(match[1]))) if match else None


def _colour(parts: Sequence[object]) -> Colour:
    red, green, blue = (int(str(part).strip()) for part in parts)
    if not all(0 <= part < 256 for part in (red, green, blue)):
        raise ValueError(f"{red}, {green}, {blue} is no colour")
    return red, green, blue


class MaskReader:
    """Turns mask files into masks.

    Args:
        classes: What values and colours stand for; empty: each value is a class named by its number.
        ignored: Value of pixels that nothing is known of, or `None`.
        background: Whether value 0 is a class; otherwise it counts as unknown.
    """

    def __init__(self, classes: Sequence[MaskClass], *, ignored: int | None, background: bool) -> None:
        self._names = {item.value: item.name for item in classes}
        self._colours = {item.colour: item.value for item in classes if item.colour is not None}
        self._unknown = {ignored} | (set() if background else {0})
        if len(set(self._names.values())) > UNLABELLED:
            raise DataError(
                f"There are {len(set(self._names.values()))} classes; at most {UNLABELLED} fit into a mask.",
                "Join or leave out some.",
                field="classes_file",
            )

    def read(self, path: Path) -> Mask:
        """Read a mask.

        Raises:
            DataError: It is damaged, coloured without a table of colours, or has values that stand for no class.
        """
        import numpy as np

        values = self._values(open_unconverted(path), path)
        found = [int(value) for value in np.unique(values)]
        known = [value for value in found if value not in self._unknown]
        if not self._names and len(known) > MOST_UNNAMED:
            raise DataError(
                f"Its mask has {len(known)} different values, far more than classes.",
                "Give each pixel the number of its class; masks that number single things are something else.",
            )
        strange = [value for value in known if self._names and value not in self._names]
        if strange:
            listed = ", ".join(map(str, strange[:8])) + (" and more" if len(strange) > 8 else "")
            raise DataError(
                f"Its mask has values that stand for no class: {listed}.", "Name them, or correct the mask."
            )
        names = list(dict.fromkeys(self._names.get(value, str(value)) for value in known))
        lookup = np.full(max(found) + 1, UNLABELLED, dtype=np.uint8)
        for value in known:
            lookup[value] = names.index(self._names.get(value, str(value)))
        return mask_of(lookup[values], tuple(names))

    def _values(self, image: Image.Image, path: Path) -> NDArray[np.intp]:
        import numpy as np

        if image.mode == "P":
            indices = np.asarray(image).astype(np.intp)
            named = {*self._names, *self._unknown}
            if not self._colours or set(np.unique(indices).tolist()) <= named:
                return indices
            image = image.convert("RGB")
        if image.mode in ("L", "1", "I", "I;16", "I;16B", "I;16L"):
            values = np.asarray(image).astype(np.intp)
            if values.min() < 0 or values.max() >= 2**16:
                raise DataError("Its mask has values beyond 0 to 65535.", "Save it as 8-bit grey PNG.")
            return values
        if image.mode not in ("RGB", "RGBA", "LA"):
            raise DataError(f"Its mask is of the kind {image.mode}.", "Save it as 8-bit grey PNG.")
        colours = np.asarray(image.convert("RGB")).astype(np.intp)
        red, green, blue = (colours[:, :, channel] for channel in range(3))
        if not self._colours:
            if (red == green).all() and (green == blue).all():
                return red
            raise DataError(
                "Its mask has colours, and nothing says what they stand for.",
                "Give a file of classes with the columns id, name, r, g and b, or save the mask as 8-bit grey PNG.",
            )
        return self._by_colour(red * 65536 + green * 256 + blue)

    def _by_colour(self, codes: NDArray[np.intp]) -> NDArray[np.intp]:
        import numpy as np

        table = {red * 65536 + green * 256 + blue: value for (red, green, blue), value in self._colours.items()}
        found, places = np.unique(codes, return_inverse=True)
        strange = [int(code) for code in found if int(code) not in table]
        if strange:
            listed = ", ".join(f"#{code:06x}" for code in strange[:5]) + (" and more" if len(strange) > 5 else "")
            raise DataError(
                f"Its mask has colours that stand for no class: {listed}.",
                "Add them to the file of classes, or correct the mask; it must not be scaled or saved as JPEG.",
            )
        values = np.array([table[int(code)] for code in found], dtype=np.intp)
        return values[places].reshape(codes.shape)
