"""Opening image files of every odd kind as plain RGB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tlstudio.api.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_PIXELS = 178_956_970
"""Largest image that is opened: Pillow's own limit against decompression bombs (0.5 GB as RGB)."""


def open_image(path: Path, *, at_most: int | None = None) -> Image.Image:
    """Open an image as 8-bit RGB, upright.

    Animated files give their first frame, EXIF orientation is applied, transparency is laid on white, CMYK and
    palettes are converted, 16-bit and float greyscale is scaled to 8 bits (16-bit by its full range, float by its
    own range).

    Args:
        path: The file.
        at_most: If given, JPEGs may be decoded at a smaller size of at least this many pixels a side: much faster.

    Raises:
        DataError: Missing, empty, damaged, not an image, or larger than `MAX_PIXELS`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path.name} is empty (0 bytes).", "Export or copy it again.", path=path)
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{path.name} has {image.width * image.height / 1e6:.0f} megapixels; "
                    f"at most {MAX_PIXELS / 1e6:.0f} are opened.",
                    "Scale it down or cut it into tiles.",
                    path=path,
                )
            if at_most is not None and image.format == "JPEG":
                image.draft("RGB", (at_most, at_most))
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _to_rgb(upright)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(
            f"{path} is no longer there.", "Bring it back or import the data set again.", path=path
        ) from None
    except PermissionError:
        raise DataError(f"{path.name} may not be read.", "Give yourself read access to it.", path=path) from None
    except UnidentifiedImageError:
        raise DataError(
            f"{path.name} is not an image that can be read.", "Save it as PNG or JPEG.", path=path
        ) from None
    except Image.DecompressionBombError:
        raise DataError(
            f"{path.name} has more than {MAX_PIXELS / 1e6:.0f} megapixels.",
            "Scale it down or cut it into tiles.",
            path=path,
        ) from None
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        MemoryError,
        IndexError,
        KeyError,
        TypeError,
    ) as error:
        # Pillow's decoders raise all of these on damaged files.
        raise DataError(f"{path.name} is damaged: {error}.", "Export or copy it again.", path=path) from error


_FORMATS = ("BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")  # no EPS: it would start Ghostscript


def _to_rgb(image: Image.Image) -> Image.Image:
    import numpy as np
    from PIL import Image

    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        pixels = np.asarray(image, dtype=np.float32)
        if image.mode == "F" or pixels.max(initial=0) > 65535 or pixels.min(initial=0) < 0:
            low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
            scaled = (pixels - low) * (255.0 / (high - low)) if high > low else np.zeros_like(pixels)
        else:
            scaled = pixels / 257.0
        grey = np.nan_to_num(scaled).round().clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
