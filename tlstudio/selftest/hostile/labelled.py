"""Sounds, masks, boxes, rows, series and conversations that lie, and archives of models that are traps."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tlstudio.selftest.hostile.archives import safetensors
from tlstudio.selftest.hostile.files import HostileFile, Outcome, Place, Site, content

Write = Callable[[Path, Site], None]
Cases = Mapping[str, tuple[bytes | Write, Outcome]]

_DEEP = "[" * 100_000
_DIGITS = "9" * 5000


def wav(
    *,
    rate: int = 8000,
    channels: int = 1,
    bits: int = 16,
    kind: int = 1,
    data: bytes = bytes(1600),
    claimed: int | None = None,
) -> bytes:
    """Write a WAV file with whatever head."""
    length = len(data) if claimed is None else claimed
    width = channels * bits // 8
    head = struct.pack("<IHHIIHH", 16, kind, channels, rate, rate * width % 2**32, width % 2**16, bits)
    return (
        b"RIFF"
        + struct.pack("<I", (36 + length) % 2**32)
        + b"WAVEfmt "
        + head
        + b"data"
        + struct.pack("<I", length % 2**32)
        + data
    )


def _flac(rate: int, channels: int, frames: int) -> Write:
    """A FLAC file of a second that says something else of itself."""

    def write(path: Path, _site: Site) -> None:
        import numpy as np
        import soundfile

        soundfile.write(path, np.zeros(16_000, dtype="int16"), 16_000, format="FLAC")
        data = bytearray(path.read_bytes())
        data[18:26] = (rate << 44 | (channels - 1) << 41 | 15 << 36 | frames).to_bytes(8, "big")
        path.write_bytes(data)

    return write


def _silence(path: Path, _site: Site) -> None:
    """Half an hour in eight channels, in less than a megabyte; decoded at once it takes 2.8 GB."""
    import numpy as np
    import soundfile

    with soundfile.SoundFile(path, "w", samplerate=48_000, channels=8, format="FLAC", subtype="PCM_16") as file:
        for _ in range(180):
            file.write(np.zeros((480_000, 8), dtype="int16"))


def _sounds() -> Cases:
    numbers = struct.pack("<4f", 3e38, -3e38, 1e38, 0.0) * 100
    return {
        "nothing.wav": (b"", "refused"),
        "text.wav": (b"this is no sound" * 100, "refused"),
        "a head alone.wav": (wav()[:30], "refused"),
        "no samples.wav": (wav(data=b""), "refused"),
        "no rate.wav": (wav(rate=0), "refused"),
        "a rate of 1.wav": (wav(rate=1), "refused"),
        "a prime rate of ten million.wav": (wav(rate=10_000_019), "refused"),
        "the largest rate.wav": (wav(rate=2**31 - 1), "refused"),
        "no channels.wav": (wav(channels=0), "refused"),
        "65535 channels.wav": (wav(channels=65_535), "refused"),
        "1024 channels.wav": (wav(channels=1024, data=bytes(2048 * 10)), "used"),
        "no bits.wav": (wav(bits=0), "refused"),
        "no numbers.wav": (wav(kind=3, bits=32, data=struct.pack("<2f", float("nan"), float("inf")) * 9), "refused"),
        "beyond all bounds.wav": (wav(kind=3, bits=32, data=numbers), "refused"),
        "sums beyond all bounds.wav": (wav(kind=3, bits=32, channels=2, data=numbers), "refused"),
        "four gigabytes claimed.wav": (wav(claimed=2**32 - 1), "used"),
        "a million hours claimed.flac": (_flac(16_000, 1, 2**36 - 1), "refused"),
        "75 gigabytes claimed.flac": (_flac(655_350, 8, 2**31), "refused"),
        "a bomb of silence.flac": (_silence, "used"),
        "a tag beyond the end.mp3": (b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(500), "refused"),
    }


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *, bits: int = 8, colour: int = 0, rows: bytes | None = None, extra: bytes = b""
) -> bytes:
    """Write a PNG file with whatever head; black where no rows are given."""
    black = bytes(min(10**6, height * (1 + width * bits // 8)))
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = _chunk(b"IDAT", zlib.compress(black if rows is None else rows, 9))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + extra + body + _chunk(b"IEND", b"")


def _masks() -> Cases:
    packed = zlib.compress(bytes(2**28), 9)
    return {
        "nothing": (b"", "refused"),
        "text": (b"no image", "refused"),
        "four billion pixels": (png(65_536, 65_536), "refused"),
        "the largest size": (png(2**31 - 1, 2**31 - 1), "refused"),
        "no width": (png(0, 8), "refused"),
        "cut": (png(12, 8)[:50], "either"),
        "fewer rows than said": (png(12, 8, rows=bytes(20)), "refused"),
        "half a gigabyte of rows": (png(12, 8, rows=bytes(2**29)), "either"),
        "another size": (png(13, 8), "refused"),
        "a value of no class": (png(12, 8, rows=(b"\0" + b"\7" * 12) * 8), "refused"),
        "unlabelled alone": (png(12, 8, rows=(b"\0" + b"\xff" * 12) * 8), "refused"),
        "colours": (png(12, 8, colour=2, rows=(b"\0" + bytes(range(36))) * 8), "refused"),
        "a profile that is a bomb": (png(12, 8, extra=_chunk(b"iCCP", b"a\0\0" + packed)), "either"),
        "a text that is a bomb": (png(12, 8, extra=_chunk(b"zTXt", b"a\0\0" + packed)), "either"),
    }


def coco(**changes: object) -> bytes:
    """Boxes of six images, and then some."""
    numbers = range(6)
    told: dict[str, object] = {
        "images": [{"id": n, "file_name": f"images/{n}.png", "width": 12, "height": 8} for n in numbers],
        "annotations": [{"image_id": n, "category_id": 1, "bbox": [1, 1, 5, 5]} for n in numbers],
        "categories": [{"id": 1, "name": "cat"}],
    }
    return json.dumps(told | changes).encode()


def _boxes() -> Cases:
    def box(**changes: object) -> bytes:
        good = [{"image_id": n, "category_id": 1, "bbox": [1, 1, 5, 5]} for n in range(5)]
        return coco(annotations=[*good, {"image_id": 5, "category_id": 1, "bbox": [1, 1, 5, 5], **changes}])

    def named(name: object) -> bytes:
        good = [{"id": n, "file_name": f"images/{n}.png"} for n in range(5)]
        return coco(images=[*good, {"id": 5, "file_name": name}])

    whole = coco()
    return {
        "cut": (whole[:-20], "refused"),
        "nested without end": (whole.replace(b'"cat"', _DEEP.encode()), "refused"),
        "a string without end": (whole[:-3] + b'"' + b"a" * 2**20, "refused"),
        "an id of 5000 digits": (whole.replace(b'"id": 5', f'"id": {_DIGITS}'.encode()), "refused"),
        "no number": (box(bbox=[float("nan"), 1, 2, 2]), "refused"),
        "an edge without end": (box(bbox=[1, 1, float("inf"), 2]), "refused"),
        "no area": (box(bbox=[1, 1, 0, 2]), "refused"),
        "less than no area": (box(bbox=[5, 5, -3, -3]), "refused"),
        "outside": (box(bbox=[1, 1, 50, 50]), "refused"),
        "three numbers": (box(bbox=[1, 2, 3]), "refused"),
        "an unknown class": (box(category_id=9), "refused"),
        "an image that is not listed": (box(image_id=77), "refused"),
        "a path that leads out": (named("../outside/secret.txt"), "refused"),
        "an absolute path": (named("/etc/passwd"), "refused"),
        "a path with a drive": (named("C:\\secret.png"), "refused"),
        "a path of 5000 letters": (named("a" * 5000), "refused"),
        "a name that is a list": (named(["a"]), "refused"),
    }


def _table(*rows: str) -> bytes:
    good = [f"{20 + n},j{n % 3},{n / 2},{'ab'[n % 2]}" for n in range(24)]
    return "\n".join(["age,job,pay,label", *good, *rows, ""]).encode("utf-8", "surrogatepass")


def _series(*rows: str, head: str = "@classLabel true a b") -> bytes:
    good = [f"1,2,3,{n}:4,5,6,{n}:{'ab'[n % 2]}" for n in range(12)]
    return "\n".join(["@problemName x", head, "@data", *good, *rows, ""]).encode()


def _talks(*rows: object) -> bytes:
    asked = {"role": "user", "content": "what?"}
    good = [json.dumps({"messages": [asked, {"role": "assistant", "content": f"that {n}"}]}) for n in range(12)]
    return "\n".join([*good, *(row if isinstance(row, str) else json.dumps(row) for row in rows), ""]).encode()


def _rows() -> Cases:
    return {
        "numbers without end.csv": (_table("1e400,j1,inf,a", f"{_DIGITS},j1,1,a"), "either"),
        "a word for a number.csv": (_table("old,j1,1,a"), "either"),
        "fewer cells.csv": (_table("1"), "either"),
        "more cells.csv": (_table("1,j1,2,a,5,6,7"), "either"),
        "formulas.csv": (_table("1,=1+1,2,a", "1,@SUM(1),2,a"), "either"),
        "half a letter.csv": (_table("1,\ud800,2,a"), "either"),
        "a series of words.ts": (_series("1,x,3:1,2,3:a"), "refused"),
        "a number of 5000 digits.ts": (_series(f"{_DIGITS},2,3,4:1,2,3,4:a"), "either"),
        "a hundred thousand channels.ts": (_series(":".join("1" * 100_000) + ":a"), "either"),
        "no data.ts": (_series().replace(b"@data\n", b""), "refused"),
        "time stamps.ts": (_series(head="@timeStamps true\n@classLabel true a b"), "refused"),
        "nested without end.jsonl": (_talks(_DEEP), "refused"),
        "messages that are no list.jsonl": (_talks({"messages": "a"}), "refused"),
        "a role that is a list.jsonl": (_talks({"messages": [{"role": [], "content": {}}]}), "refused"),
        "no reply.jsonl": (_talks({"messages": [{"role": "user", "content": "a"}]}), "refused"),
    }


def packed(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Write a zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data, method)
    return buffer.getvalue()


def _spoilt(data: bytes, place: int, change: bytes, *, last: bytes = b"") -> bytes:
    """Replace bytes, counted from the last of some bytes or from the beginning."""
    start = place + (data.rindex(last) if last else 0)
    return data[:start] + change + data[start + len(change) :]


def _special(kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("weights.safetensors")
    info.external_attr = (kind | 0o777) << 16
    return info


def _model_archives() -> Cases:
    good = safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4))
    name = "weights.safetensors"
    by_lzma = packed((name, good * 50), method=zipfile.ZIP_LZMA)
    behind = 30 + len(name)
    directory = b"PK\x01\x02"
    one = packed((name, good))
    locked = _spoilt(_spoilt(one, 6, b"\1"), 8, b"\1", last=directory)
    cases: dict[str, bytes] = {
        "no archive": b"hello",
        "nothing": b"",
        "no weights": packed(("readme.txt", b"a")),
        "a bomb": packed((name, bytes(2**29))),
        "a path that leads out": packed((f"../{name}", good)),
        "an absolute path": packed((f"/{name}", good)),
        "a path with a drive": packed((f"C:{name}", good)),
        "a drive inside of a path": packed((f"a/C:{name}", good)),
        "backslashes that lead out": packed((f"..\\..\\{name}", good)),
        "a link": packed((_special(stat.S_IFLNK), b"/etc/passwd")),
        "a pipe": packed((_special(stat.S_IFIFO), b"")),
        "a file that is a folder": packed((name, good), (f"{name}/config.json", b"{}")),
        "two that differ in case": packed((name, good), (name.upper(), good)),
        "ten thousand files": packed((name, good), *((f"{n}.json", b"") for n in range(10_001))),
        "a method that nobody knows": _spoilt(_spoilt(one, 8, b"\x63"), 10, b"\x63", last=directory),
        "a lock": locked,
        "a size that is not so": _spoilt(one, 24, struct.pack("<I", 3), last=directory),
        "a place beyond the end": _spoilt(one, 42, b"\xf0\xff\xff\xff", last=directory),
        "damaged by a byte": _spoilt(by_lzma, behind + 12, b"\xff\xff\xff\xff"),
        "unknown settings of LZMA": _spoilt(by_lzma, behind + 4, b"\xff"),
        "a dictionary of 4 GB": _spoilt(by_lzma, behind + 5, b"\xff\xff\xff\xff"),
    }
    return {f"{name}.zip": (data, "either" if "GB" in name else "refused") for name, data in cases.items()}


def _made(what: bytes | Write) -> Write:
    return content(what) if isinstance(what, bytes) else what


def files() -> Iterator[HostileFile]:
    """Yield all of them."""
    for name, (what, outcome) in _sounds().items():
        suffix = Path(name).suffix
        yield _file("sound folder", f"high/odd{suffix}", name, what, outcome)
    for name, (what, outcome) in _masks().items():
        yield _file("mask folder", "masks/5.png", name, what, outcome)
    for name, (what, outcome) in _boxes().items():
        yield _file("boxes", "boxes.json", name, what, outcome)
    for name, (what, outcome) in _rows().items():
        yield _file("rows", f"rows{Path(name).suffix}", name, what, outcome)
    for name, (what, outcome) in _model_archives().items():
        yield _file("model archive", "model.zip", name, what, outcome)


def _file(place: Place, path: str, name: str, what: bytes | Write, outcome: Outcome) -> HostileFile:
    return HostileFile(
        f"{place}: {name}", f"In the place of what the studio takes: {name}.", place, path, _made(what), outcome
    )


def surround(place: Place, source: Path) -> None:
    """Make the good things that belong around a hostile file."""
    import numpy as np
    from PIL import Image

    if place == "sound folder":
        for kind in ("high", "low"):
            (source / kind).mkdir()
            for number in range(4):
                tone = (np.sin(np.arange(800) * (number + 1) / 20) * 9000).astype("<i2").tobytes()
                (source / kind / f"{number}.wav").write_bytes(wav(data=tone))
    for number in range(6 if place in ("mask folder", "boxes") else 0):
        (source / "images").mkdir(exist_ok=True)
        noise: Any = np.random.default_rng(number).integers(0, 255, (8, 12, 3), np.uint8)
        Image.fromarray(noise).save(source / "images" / f"{number}.png")
        if place == "mask folder":
            (source / "masks").mkdir(exist_ok=True)
            Image.fromarray(noise[:, :, 0] % 2).save(source / "masks" / f"{number}.png")
    if place == "mask folder":
        (source / "classes.txt").write_text("ground\nroad\n", encoding="utf-8")
