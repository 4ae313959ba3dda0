"""Images that are bombs, cut off, or something else than their names say."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tlstudio.selftest.hostile.files import HostileFile, Outcome, Site, content

Write = Callable[[Path, Site], None]


def encoded(kind: str, size: tuple[int, int] = (37, 23), mode: str = "RGB", **options: Any) -> bytes:  # noqa: ANN401
    """Encode a small picture with some content."""
    from PIL import Image

    image = Image.effect_noise(size, 60).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *, colour: int = 2, bits: int = 8, before: bytes = b"", rows: int | None = None
) -> bytes:
    """A PNG file of nothing but zeros, compressed a thousandfold."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    line = bytes(1 + (width * channels * bits + 7) // 8)
    pack = zlib.compressobj(9)
    parts = [pack.compress(line) for _ in range(height if rows is None else rows)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    data = b"".join(parts) + pack.flush()
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(entries: list[tuple[int, int, int, int]], *, following: int = 0, data: bytes = b"") -> bytes:
    """A TIFF file with whatever entries (tag, type, count, value)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", following) + data


def _oriented(kind: str, orientation: int) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(kind, exif=exif)


def _made(make: Callable[[], bytes]) -> Write:
    """Made when it is asked for: bombs take a second each."""
    return lambda path, site: content(make())(path, site)


def _bomb_webp() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (7000, 7100)).save(buffer, "WEBP", lossless=True, quality=0, method=0)
    return buffer.getvalue()


def _many_frames() -> bytes:
    from PIL import Image

    buffer, frames = io.BytesIO(), [Image.new("L", (200, 200), number % 2 * 255) for number in range(2000)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(encoded("JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


_SVG = (
    '<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY y "&x;&x;&x;&x;">]>'
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="http://127.0.0.1:9/x"/><text>&y;</text>'
    "<script>alert(1)</script></svg>"
)
_EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch ran) (w) file\nshowpage\n%%EOF\n"


def files() -> Iterator[HostileFile]:
    """Images for a folder of images; around them lie good ones."""
    dimensions = "Its size is beyond all memory."
    other = "It is something else than its name says, and its reader would do more than read."
    grown = "A few kilobytes unfold to a picture as large as is allowed; turning and converting it takes more."
    cases: list[tuple[str, str, str, Write, Outcome]] = [
        ("PNG of 900 megapixels", dimensions, "bomb.png", _made(lambda: png(30_000, 30_000, rows=10)), "refused"),
        (
            "PNG of 2**31 pixels a side",
            dimensions,
            "bomb.png",
            _made(lambda: png(2**31 - 1, 2**31 - 1, rows=0)[:60]),
            "refused",
        ),
        ("PNG just below the limit, RGBA", grown, "bomb.png", _made(lambda: png(9_990, 10_000, colour=6)), "either"),
        (
            "PNG just below the limit, 16 bits",
            grown,
            "bomb.png",
            _made(lambda: png(9_990, 10_000, colour=0, bits=16)),
            "either",
        ),
        (
            "PNG just below the limit, 1 bit",
            grown,
            "bomb.png",
            _made(lambda: png(9_990, 10_000, colour=0, bits=1)),
            "either",
        ),
        ("PNG of one endless line", grown, "bomb.png", _made(lambda: png(2**26, 1)), "either"),
        ("PNG of one endless column", grown, "bomb.png", _made(lambda: png(1, 2**22)), "either"),
        ("PNG of no pixels", dimensions, "none.png", _made(lambda: png(0, 0)), "refused"),
        (
            "PNG with a text of 1 GB",
            grown,
            "text.png",
            _made(lambda: png(9, 9, before=chunk(b"zTXt", b"a\0\0" + _zeros(2**30)))),
            "either",
        ),
        (
            "PNG with an international text of 1 GB",
            grown,
            "text.png",
            _made(lambda: png(9, 9, before=chunk(b"iTXt", b"a\0\1\0\0\0" + _zeros(2**30)))),
            "either",
        ),
        (
            "PNG with a profile of 1 GB",
            grown,
            "profile.png",
            _made(lambda: png(9, 9, before=chunk(b"iCCP", b"a\0\0" + _zeros(2**30)))),
            "either",
        ),
        ("PNG without a palette", "It is incomplete.", "palette.png", _made(lambda: png(9, 9, colour=3)), "either"),
        (
            "PNG with a wrong checksum",
            "It is damaged.",
            "crc.png",
            _made(lambda: png(9, 9)[:-30] + b"\0\0\0\0" + png(9, 9)[-26:]),
            "refused",
        ),
        (
            "PNG with an archive behind",
            "It is two files in one.",
            "both.png",
            _made(lambda: encoded("PNG") + b"PK\x05\x06" + bytes(18)),
            "used",
        ),
        (
            "GIF of 65535 x 65535",
            dimensions,
            "bomb.gif",
            content(
                b"GIF89a"
                + struct.pack("<HH", 65535, 65535)
                + b"\x80\0\0"
                + bytes(6)
                + b","
                + struct.pack("<HHHH", 0, 0, 65535, 65535)
                + b"\0\x02\x02D\x01\0;"
            ),
            "refused",
        ),
        ("GIF of 2,000 frames", "It would be 2,000 images.", "frames.gif", _made(_many_frames), "used"),
        ("WEBP of 50 megapixels", grown, "bomb.webp", _made(_bomb_webp), "either"),
        ("JPEG of 65500 x 65500", dimensions, "bomb.jpg", _made(lambda: _jpeg_of_size(65500, 65500)), "refused"),
        ("JPEG of no height", dimensions, "none.jpg", _made(lambda: _jpeg_of_size(9, 0)), "refused"),
        (
            "BMP of negative size",
            dimensions,
            "bomb.bmp",
            content(
                b"BM" + struct.pack("<IHHIIiiHHIIiiII", 70, 0, 0, 54, 40, -5, -5, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(16)
            ),
            "refused",
        ),
        (
            "BMP of 2**31 pixels a side",
            dimensions,
            "bomb.bmp",
            content(
                b"BM"
                + struct.pack("<IHHIIiiHHIIiiII", 70, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0)
                + bytes(16)
            ),
            "refused",
        ),
        (
            "TIFF of 2**31 pixels a side",
            dimensions,
            "bomb.tif",
            content(
                tiff(
                    [
                        (256, 4, 1, 2**31 - 1),
                        (257, 4, 1, 2**31 - 1),
                        (258, 3, 1, 8),
                        (259, 3, 1, 1),
                        (262, 3, 1, 1),
                        (273, 4, 1, 8),
                        (279, 4, 1, 9),
                    ]
                )
            ),
            "refused",
        ),
        (
            "TIFF that leads in a circle",
            "Each page is the one before.",
            "circle.tif",
            content(
                tiff(
                    [
                        (256, 4, 1, 4),
                        (257, 4, 1, 4),
                        (258, 3, 1, 8),
                        (259, 3, 1, 1),
                        (262, 3, 1, 1),
                        (273, 4, 1, 8),
                        (278, 4, 1, 4),
                        (279, 4, 1, 16),
                    ],
                    following=8,
                    data=bytes(64),
                )
            ),
            "either",
        ),
        (
            "TIFF with four billion strips",
            "Its table of strips is endless.",
            "strips.tif",
            content(
                tiff(
                    [
                        (256, 4, 1, 4),
                        (257, 4, 1, 4),
                        (258, 3, 1, 8),
                        (259, 3, 1, 1),
                        (262, 3, 1, 1),
                        (273, 4, 2**32 - 1, 8),
                        (279, 4, 2**32 - 1, 8),
                    ]
                )
            ),
            "refused",
        ),
        ("TIFF bomb", grown, "bomb.tif", _made(_bomb_tiff), "either"),
        ("SVG as PNG", other, "drawing.png", content(_SVG), "refused"),
        ("EPS as JPEG", other, "drawing.jpg", content(_EPS), "refused"),
        (
            "PDF as PNG",
            other,
            "paper.png",
            content("%PDF-1.7\n1 0 obj <</OpenAction <</S /JavaScript /JS (app.alert(1))>>>> endobj\n"),
            "refused",
        ),
        (
            "PSD as TIFF",
            other,
            "layers.tif",
            content(b"8BPS\0\1" + bytes(6) + b"\0\3" + struct.pack(">IIHH", 9, 9, 8, 3) + bytes(40)),
            "refused",
        ),
        ("WMF as BMP", other, "metafile.bmp", content(b"\xd7\xcd\xc6\x9a" + bytes(60)), "refused"),
        ("ICO as PNG", other, "icon.png", _made(lambda: encoded("ICO", (16, 16))), "refused"),
        ("HEIC as JPEG", other, "phone.jpg", content(b"\0\0\0\x18ftypheic" + bytes(80)), "refused"),
        ("HTML as GIF", other, "page.gif", content("<html><script>alert(1)</script></html>"), "refused"),
        ("a program as PNG", other, "program.png", content(b"\x7fELF" + bytes(100)), "refused"),
        ("nothing as PNG", "It is empty.", "nothing.png", content(b""), "refused"),
        ("one byte as JPEG", "It is one byte.", "byte.jpg", content(b"\xff"), "refused"),
        ("zeros as PNG", "It is nothing but zeros.", "zeros.png", content(bytes(10**6)), "refused"),
        (
            "CMYK as JPEG",
            "Its colours are those of print.",
            "print.jpg",
            _made(lambda: encoded("JPEG", mode="CMYK")),
            "used",
        ),
        (
            "JPEG with an EXIF block that lies",
            "Its note says that it is 4 GB long.",
            "note.jpg",
            _made(lambda: encoded("JPEG", exif=b"Exif\0\0" + tiff([(0x0112, 3, 2**32 - 1, 2**32 - 1)]))),
            "either",
        ),
        ("an orientation of 65535", "There are eight.", "turned.jpg", _made(lambda: _oriented("JPEG", 65535)), "used"),
        ("an orientation of 0", "There are eight.", "turned.jpg", _made(lambda: _oriented("JPEG", 0)), "used"),
    ]
    for name, danger, path, write, outcome in cases:
        yield HostileFile(f"image: {name}", danger, "image folder", f"cat/{path}", write, outcome)
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif")):
        for turn in range(1, 9):
            whole = _made(lambda kind=kind, turn=turn: _oriented(kind, turn))  # type: ignore[misc]
            cut = _made(lambda kind=kind, turn=turn: _oriented(kind, turn)[:-120])  # type: ignore[misc]
            name, danger = f"image: {kind} turned by {turn}", "It lies on its side or stands on its head."
            yield HostileFile(name, danger, "image folder", f"cat/turned.{suffix}", whole, "used")
            yield HostileFile(f"{name}, cut", "Its end is missing.", "image folder", f"cat/cut.{suffix}", cut)
    for kind, suffix in (("GIF", "gif"), ("BMP", "bmp"), ("WEBP", "webp")):
        cut = _made(lambda kind=kind: encoded(kind)[:-300])  # type: ignore[misc]
        yield HostileFile(f"image: {kind}, cut", "Its end is missing.", "image folder", f"cat/cut.{suffix}", cut)


def _zeros(size: int) -> bytes:
    pack, part = zlib.compressobj(9), bytes(2**24)
    return b"".join([*(pack.compress(part) for _ in range(size // len(part))), pack.flush()])


def _bomb_tiff() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (9_990, 10_000)).save(buffer, "TIFF", compression="tiff_lzw")
    return buffer.getvalue()
