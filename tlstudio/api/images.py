"""Opening image files of every odd kind as plain RGB."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tlstudio.api.errors import DataError
from tlstudio.api.files import opening

if TYPE_CHECKING:
    from PIL import Image, ImageFile

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_PIXELS = 100_000_000
"""Largest image that is opened: its decoder and its conversion take some 8 bytes a pixel, below 1 GB in all."""

_BAND = 2**22  # pixels that are converted at a time


def open_image(path: Path, *, at_most: int | None = None) -> Image.Image:
    """Open an image as 8-bit RGB, upright.

    Animated files give their first frame, EXIF orientation is applied, transparency is laid on white, CMYK and
    palettes are converted. Greyscale of more than 8 bits is scaled to 8 by the lowest and highest value in the file,
    as ImageJ does it (Schneider et al. 2012, doi:10.1038/nmeth.2089): cameras fill 12 or 14 of 16 bits, which would
    be almost black by the full range. Where absolute brightness matters, save the images with 8 bits.

    Args:
        path: The file.
        at_most: If given, JPEGs may be decoded at a smaller size of at least this many pixels a side: much faster.

    Raises:
        DataError: Missing, empty, damaged, not an image, or larger than `MAX_PIXELS`.
    """
    with _opened(path, at_most) as image:
        return _upright(_to_rgb(image, path), _orientation(image))


def open_unconverted(path: Path) -> Image.Image:
    """Open an image upright but with the pixels as they are in the file: the indices of a palette, 16 bits, colours.

    Args:
        path: The file.

    Raises:
        DataError: See `open_image`.
    """
    with _opened(path) as image:
        return _upright(image.copy(), _orientation(image))


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels as `open_image` gives them, from the header alone: fast.

    Raises:
        DataError: Missing, empty, or not an image.
    """
    with _in_words(path), path.open("rb") as file, _identify(file) as image:
        lies_on_its_side = _orientation(image) >= 5
        return (image.height, image.width) if lies_on_its_side else (image.width, image.height)


@contextlib.contextmanager
def _opened(path: Path, at_most: int | None = None) -> Iterator[ImageFile.ImageFile]:
    """Read an image that is not too large; of a JPEG at a size of at least `at_most` pixels a side."""
    with _in_words(path), path.open("rb") as file, _identify(file) as image:
        # The decoder of WEBP takes twice the memory of the others.
        most = MAX_PIXELS // 2 if image.format == "WEBP" else MAX_PIXELS
        if image.width * image.height > most:
            raise DataError(
                f"{path.name} has {image.width * image.height / 1e6:.0f} megapixels; "
                f"at most {most / 1e6:.0f} are opened.",
                "Scale it down or cut it into tiles.",
                path=path,
            )
        if at_most is not None and image.format in {"JPEG", "MPO"}:
            image.draft("RGB", (at_most, at_most))
        image.load()
        yield image


@contextlib.contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Say in a sentence why an image cannot be opened."""
    from PIL import Image, UnidentifiedImageError

    try:
        with opening(path, "image", smaller="Close other programs or scale it down."):
            yield
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(
            f"{path.name} is not an image that can be read.",
            "Open it in an image program and save it again, as PNG or JPEG.",
            path=path,
        ) from None
    except Image.DecompressionBombError:
        raise DataError(
            f"{path.name} has more than {MAX_PIXELS / 1e6:.0f} megapixels.",
            "Scale it down or cut it into tiles.",
            path=path,
        ) from None
    except _DAMAGED as error:
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise DataError(f"{path.name} is damaged: {reason}.", "Export or copy it again.", path=path) from error


_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # no EPS: it would start Ghostscript; JPEG includes MPO
# Pillow's decoders raise all of these on damaged files.
_DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
)


def _identify(file: BinaryIO) -> ImageFile.ImageFile:
    """Read the header of an image.

    The same as ``Image.open``, which however would warn of images from 89 megapixels on; and to silence a
    warning for a moment is not safe where images are opened in several threads.
    """
    from PIL import (
        BmpImagePlugin,
        GifImagePlugin,
        Image,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        UnidentifiedImageError,
        WebPImagePlugin,
    )

    del BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
    prefix = file.read(16)
    for name in _FORMATS:
        factory, accepts = Image.OPEN[name]
        accepted = accepts is None or accepts(prefix)
        if accepted is True or (accepted and not isinstance(accepted, str)):
            file.seek(0)
            with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
                return factory(file, "")
    raise UnidentifiedImageError("unknown format")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except _DAMAGED:
        return 1  # a damaged note beside the picture is no reason to lose the picture


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    from PIL import Image

    turns = Image.Transpose
    turn = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    """Convert in bands, so that a large image is never in memory more than twice."""
    from PIL import Image

    convert = _converter(image, path)
    rows = max(1, _BAND // max(1, image.width))
    if image.height <= rows:
        return convert(image)
    result = Image.new("RGB", image.size)
    for box in _bands(image, rows):
        result.paste(convert(image.crop(box)), box)
    return result


def _bands(image: Image.Image, rows: int) -> Iterator[tuple[int, int, int, int]]:
    for top in range(0, image.height, rows):
        yield (0, top, image.width, min(image.height, top + rows))


def _converter(image: Image.Image, path: Path) -> Callable[[Image.Image], Image.Image]:
    """Choose how an image, or a band of it, becomes RGB."""
    import numpy as np
    from PIL import Image

    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        ranges = []
        for box in _bands(image, max(1, _BAND // max(1, image.width))):
            pixels = np.asarray(image.crop(box), dtype=np.float32)
            known = pixels[np.isfinite(pixels)]
            if known.size:
                ranges.append((float(known.min()), float(known.max())))
        low = min((low for low, _ in ranges), default=0.0)
        high = max((high for _, high in ranges), default=0.0)

        def scaled(band: Image.Image) -> Image.Image:
            # What is not a number becomes black, infinity white.
            finite = np.nan_to_num(np.asarray(band, dtype=np.float32), nan=low, posinf=high, neginf=low)
            grey = (finite - low) * (255.0 / (high - low)) if high > low else np.zeros_like(finite)
            return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")

        return scaled
    if image.has_transparency_data:

        def on_white(band: Image.Image) -> Image.Image:
            rgba = band.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")

        return on_white

    def plain(band: Image.Image) -> Image.Image:
        try:
            return band.convert("RGB")
        except ValueError:
            raise DataError(
                f"{path.name} has colours of the kind {image.mode}, which cannot be converted.",
                "Save it as RGB.",
                path=path,
            ) from None

    return plain
