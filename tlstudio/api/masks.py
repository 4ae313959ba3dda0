"""Masks: the pixels behind a `Mask`."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

from tlstudio.api.data import Mask
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
