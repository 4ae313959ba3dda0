"""Masks: the pixels behind a `Mask`."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlstudio.api.data import UNLABELLED, Mask
from tlstudio.api.errors import DataError
from tlstudio.api.images import MAX_PIXELS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def mask_of(values: NDArray[np.uint8], names: tuple[str, ...]) -> Mask:
    """Make a mask.

    Args:
        values: Index into `names` of each pixel, or `UNLABELLED`, ``[height, width]``.
        names: The classes.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return Mask(names, file.getvalue())


def mask_values(mask: Mask) -> NDArray[np.uint8]:
    """Return the value of each pixel, ``[height, width]``: an index into the names, or `UNLABELLED`.

    Raises:
        DataError: It is no PNG of 8 bits a pixel, damaged, or larger than `MAX_PIXELS`.
    """
    import numpy as np
    from PIL import Image, PngImagePlugin

    try:
        with PngImagePlugin.PngImageFile(io.BytesIO(mask.png)) as image:
            if image.mode not in ("L", "P", "1"):
                raise DataError("Its mask has colours instead of one number a pixel.", "Save it as 8-bit grey PNG.")
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"Its mask has more than {MAX_PIXELS / 1e6:.0f} megapixels.", "Cut it into tiles.")
            image.load()
            return np.asarray(image).astype(np.uint8)  # of a palette: its indices; of a bilevel image: 0 and 1
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error, Image.DecompressionBombError) as error:
        raise DataError(f"Its mask is damaged: {error}.", "Save it again as 8-bit grey PNG.") from error


def class_values(mask: Mask, classes: Sequence[str]) -> NDArray[np.uint8]:
    """Return the place of the class of each pixel among some classes, or `UNLABELLED`, ``[height, width]``.

    Args:
        mask: The mask.
        classes: At most 255 names.

    Raises:
        DataError: It has a class that is none of them, or is damaged.
    """
    import numpy as np

    place = {name: number for number, name in enumerate(classes)}
    lookup = np.full(256, UNLABELLED, dtype=np.uint8)
    values = mask_values(mask)
    for value, name in enumerate(mask.names):
        if name in place:
            lookup[value] = place[name]
        elif (values == value).any():
            raise DataError(f"The class {name!r} of a mask is none of the {len(classes)} that the model learns.")
    return lookup[values]


def pixel_confusion(truth: Mask, predicted: Mask, classes: Sequence[str]) -> NDArray[np.int64]:
    """Count pixels by their class and the one that was predicted, ``[K, K]``; unlabelled ones are left out.

    Args:
        truth: What is right.
        predicted: A mask of the same size.
        classes: K names, which both take theirs from.

    Raises:
        DataError: One of the masks is damaged, or they differ in size.
    """
    import numpy as np

    right, found = class_values(truth, classes), class_values(predicted, classes)
    if right.shape != found.shape:
        raise DataError(f"A mask of {found.shape} pixels was predicted for one of {right.shape}.", "Predict it anew.")
    count = len(classes)
    known = (right < count) & (found < count)
    pairs = right[known].astype(np.intp) * count + found[known]
    return np.bincount(pairs, minlength=count * count).reshape(count, count).astype(np.int64)


def pixel_shares(mask: Mask) -> dict[str, float]:
    """Return the share of its pixels that each class of a mask has, largest first.

    Raises:
        DataError: It is damaged.
    """
    import numpy as np

    values = mask_values(mask)
    counts = np.bincount(values.ravel(), minlength=256)[: len(mask.names)]
    shares = {name: float(count / values.size) for name, count in zip(mask.names, counts, strict=True)}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
