"""Weight files that are damaged or bombs: torch archives, legacy checkpoints and safetensors."""

from __future__ import annotations

import functools
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tlstudio.selftest.hostile.files import HostileFile, Place, Site, content
from tlstudio.selftest.hostile.pickles import save_zip, streams, zipped

Write = Callable[[Path, Site], None]
_EMPTY = b"\x80\x02}q\x00."


def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:  # noqa: ANN401  any JSON
    """Write a safetensors file with whatever header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length % 2**64) + text + data


def _tensor(start: int, end: int, shape: list[int], kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


@functools.cache
def headers() -> dict[str, bytes]:
    """Safetensors files whose header lies."""
    one = _tensor(0, 4, [1])
    return {
        "header of 2**63 bytes": safetensors({}, length=2**63),
        "header of 10 GB": safetensors({}, length=10**10),
        "negative header": safetensors({}, length=-1),
        "header of 0 bytes": safetensors({}, length=0),
        "header beyond the end": safetensors({"a": one}, bytes(4), length=5000),
        "no JSON": safetensors(b"{not json}"),
        "header is a list": safetensors([1, 2]),
        "deep nesting": safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        "overlapping offsets": safetensors({"a": _tensor(0, 8, [2]), "b": _tensor(4, 12, [2])}, bytes(12)),
        "a gap between tensors": safetensors({"a": one, "b": _tensor(8, 12, [1])}, bytes(12)),
        "offsets beyond the end": safetensors({"a": _tensor(0, 4 * 10**9, [10**9])}, bytes(8)),
        "offsets backwards": safetensors({"a": _tensor(8, 4, [1])}, bytes(8)),
        "negative offsets": safetensors({"a": _tensor(-4, 0, [1])}, bytes(8)),
        "shape of another size": safetensors({"a": _tensor(0, 4, [1000])}, bytes(4)),
        "shape that overflows": safetensors({"a": _tensor(0, 4, [2**32, 2**32, 2**32])}, bytes(4)),
        "negative shape": safetensors({"a": _tensor(0, 4, [-1])}, bytes(4)),
        "duplicate keys": safetensors(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
            bytes(8),
        ),
        "unknown kind of number": safetensors({"a": _tensor(0, 4, [1], "F31")}, bytes(4)),
        "metadata that is no text": safetensors({"__metadata__": {"format": [1]}, "a": one}, bytes(4)),
        "bytes behind the end": safetensors({"a": one}, bytes(400)),
        "a hundred thousand tensors": safetensors({f"t{n}": _tensor(0, 0, [0]) for n in range(100_000)}),
        "names that lead elsewhere": safetensors({"../../evil": one}, bytes(4)),
        "eight bytes": bytes(8),
        "nothing": b"",
    }


def _truncated(path: Path, _site: Site) -> None:
    import torch

    save_zip({"weight": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:1500])


def _deflated_bomb(path: Path, _site: Site) -> None:
    _bomb(path, "archive/data.pkl", 4 * 10**9)


def _storage_bomb(path: Path, _site: Site) -> None:
    import torch

    save_zip({"weight": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        stream = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    _bomb(path, "archive/data/0", 4 * 10**9, {"archive/data.pkl": stream, "archive/version": b"3\n"})


def _bomb(path: Path, name: str, size: int, others: dict[str, bytes] | None = None) -> None:
    """An archive of which one member, a few megabytes, unfolds to gigabytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for other, data in (others or {}).items():
            archive.writestr(other, data)
        zeros = bytes(2**24)
        with archive.open(name, "w", force_zip64=True) as member:
            for _ in range(size // len(zeros) // 8):
                member.write(zeros)


def _slip(path: Path, site: Site) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", _EMPTY)
        archive.writestr("../../outside/secret.txt", b"replaced")
        archive.writestr(str(site.canary), b"made")


def _twice(path: Path, site: Site) -> None:
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("archive/data.pkl", _EMPTY)
        archive.writestr("archive/data.pkl", streams(site.canary)["stack_global"])


def _torchscript(path: Path, site: Site) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/constants.pkl", streams(site.canary)["stack_global"])
        archive.writestr("archive/data.pkl", streams(site.canary)["stack_global"])
        archive.writestr("archive/code/__torch__.py", f"import os\nos.mkdir({str(site.canary)!r})\n")
        archive.writestr("archive/version", "3\n")


def _tar(path: Path, site: Site) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in (
            ("../../outside/secret.txt", b"replaced"),
            ("storages", streams(site.canary)["stack_global"]),
            ("pickle", streams(site.canary)["stack_global"]),
            ("sys_info", _EMPTY),
            ("tensors", _EMPTY),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def _rebuilt(size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Write:
    """A tensor over four numbers that claims to be larger than these."""

    class Claim:
        def __init__(self, storage: Any) -> None:  # noqa: ANN401  a storage
            self.storage = storage

        def __reduce__(self) -> Any:  # noqa: ANN401  what pickle takes
            import torch

            return torch._utils._rebuild_tensor_v2, (self.storage, offset, size, stride, False, {})

    def write(path: Path, _site: Site) -> None:
        import torch

        save_zip({"weight": Claim(torch.zeros(4).untyped_storage())}, path)

    return write


def files() -> Iterator[HostileFile]:
    """Damaged and lying weight files."""
    for number, (name, data) in enumerate(headers().items()):
        place: Place = "text weights" if number % 3 == 0 else "image weights"
        danger = "Its header says what is not so."
        yield HostileFile(f"safetensors: {name}", danger, place, "model.safetensors", content(data))
    for name in ("overlapping offsets", "header of 2**63 bytes", "offsets beyond the end"):
        yield HostileFile(
            f"export: safetensors, {name}",
            "Its header says what is not so.",
            "exported image model",
            "model.safetensors",
            content(headers()[name]),
        )
    archives: list[tuple[str, str, Write]] = [
        ("a cut archive", "Half of it is missing.", _truncated),
        ("an archive without anything", "It is empty.", lambda path, _site: zipfile.ZipFile(path, "w").close()),
        ("a compressed bomb as the pickle", "It unfolds to half a gigabyte of nothing.", _deflated_bomb),
        ("a compressed bomb as the numbers", "It unfolds to half a gigabyte of nothing.", _storage_bomb),
        ("members that lead elsewhere", "Unpacked, it would write beside its folder.", _slip),
        ("two pickles of one name", "One reader takes the harmless one, another the other.", _twice),
        ("a TorchScript archive", "It holds code that torch.jit would run.", _torchscript),
        ("a tar of old", "torch of old unpacks it, outside of its folder too.", _tar),
        ("deeper folders", "Its pickle is not where it belongs.", lambda p, s: zipped(_EMPTY, p, folder="a/b/../c")),
        ("a tensor beyond its numbers", "Reading it would read foreign memory.", _rebuilt((10**6,), (1,), 0)),
        ("a tensor of 2**62 numbers", "Its size overflows.", _rebuilt((2**31, 2**31), (2**31, 1), 0)),
        ("a tensor before its numbers", "Reading it would read foreign memory.", _rebuilt((4,), (1,), -100)),
        ("a tensor with negative steps", "Reading it would read foreign memory.", _rebuilt((4,), (-1,), 0)),
        ("a tensor that repeats", "Four numbers that claim to be 400 GB.", _rebuilt((10**11,), (0,), 0)),
    ]
    for number, (name, danger, write) in enumerate(archives):
        place = "text weights" if number % 2 else "image weights"
        path = "pytorch_model.bin" if number % 2 else "weights.pth"
        yield HostileFile(f"archive: {name}", danger, place, path, write)
