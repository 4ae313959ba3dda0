"""Pickles that would run code, in every container in which torch and its kin keep weights."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tlstudio.selftest.hostile.files import HostileFile, Outcome, Place, Site

Make = Callable[[Path], Any]


class Call:
    """Calls a function when it is unpickled.

    Args:
        function: The function.
        arguments: Its arguments.
        state: Handed to ``__setstate__`` of the result, or to a function of its own, where it is not `None`.
    """

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:  # noqa: ANN401  what pickle takes
        self._parts = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self) -> Any:  # noqa: ANN401  see above
        """What pickle writes down."""
        return self._parts

    def __call__(self) -> None:
        """Nothing: pickle only wants to see that the result of one call could be called by another."""


def calls() -> dict[str, Make]:
    """Objects that would make a file when they are unpickled, by how they do it."""
    import collections
    import functools
    import importlib
    import operator
    import os
    import runpy
    import subprocess
    import types

    import numpy as np
    import torch

    def script(canary: Path) -> str:
        path = canary.parents[1] / "outside" / "payload.py"
        path.write_text(f"import os\nos.mkdir({str(canary)!r})\n", encoding="utf-8")
        return str(path)

    def inner(canary: Path) -> bytes:
        return pickle.dumps(Call(os.mkdir, str(canary)))

    return {
        "os.mkdir": lambda canary: Call(os.mkdir, str(canary)),
        "os.system": lambda canary: Call(os.system, f"mkdir '{canary}'"),
        "subprocess": lambda canary: Call(subprocess.check_call, ["mkdir", str(canary)]),
        "exec": lambda canary: Call(exec, f"import os; os.mkdir({str(canary)!r})"),
        "eval": lambda canary: Call(eval, f"__import__('os').mkdir({str(canary)!r})"),
        "open": lambda canary: Call(open, str(canary), "w"),
        "runpy": lambda canary: Call(runpy.run_path, script(canary)),
        "pickle in a pickle": lambda canary: Call(pickle.loads, inner(canary)),
        "torch.load in a pickle": lambda canary: Call(
            functools.partial(torch.load, weights_only=False), io.BytesIO(inner(canary))
        ),
        "numpy.load in a pickle": lambda canary: Call(
            functools.partial(np.load, allow_pickle=True), io.BytesIO(inner(canary))
        ),
        "partial": lambda canary: functools.partial(os.mkdir, str(canary)),
        "map": lambda canary: Call(list, Call(map, os.mkdir, [str(canary)])),
        "methodcaller": lambda canary: Call(operator.methodcaller("mkdir"), canary),
        "getattr": lambda canary: Call(Call(getattr, Call(importlib.import_module, "os"), "mkdir"), str(canary)),
        "state setter": lambda canary: Call(types.SimpleNamespace, state=(None, {"hook": Call(os.mkdir, str(canary))})),
        "defaultdict": lambda canary: Call(collections.defaultdict, Call(os.mkdir, str(canary))),
    }


def streams(canary: Path) -> dict[str, bytes]:
    """Pickles written by hand, opcode by opcode: what no pickler writes."""
    path = str(canary).encode()
    short = struct.pack("<I", len(path)) + path
    word = b"\x8c\x05posix\x8c\x05mkdir"
    return {
        "protocol 0": b"cposix\nmkdir\n(S'" + path + b"'\ntR.",
        "inst": b"(S'" + path + b"'\niposix\nmkdir\n.",
        "obj": b"(cposix\nmkdir\nX" + short + b"o.",
        "stack_global": b"\x80\x04" + word + b"\x93X" + short + b"\x85R.",
        "newobj": b"\x80\x02cposix\nmkdir\nX" + short + b"\x85\x81.",
        "newobj_ex": b"\x80\x04" + word + b"\x93X" + short + b"\x85}\x92.",
        "build": b"\x80\x02cbuiltins\nobject\n)\x81cposix\nmkdir\nX" + short + b"\x85Rb.",
        "hidden behind a stop": b"\x80\x02}.\x80\x02cposix\nmkdir\nX" + short + b"\x85R.",
        "extension registry": b"\x80\x02\x82\x01.",
        "persistent id": b"\x80\x02X" + short + b"Q.",
        "memo of four billion": b"\x80\x02X" + short + b"r\xff\xff\xff\xff.",
        "string of 2**62 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
        "integer of 2**31 bytes": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        "negative length": b"\x80\x02\x8b" + struct.pack("<i", -5) + b"x.",
        "frame of 2**60 bytes": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"x.",
        "a million marks": b"\x80\x02" + b"(" * 10**6 + b".",
        "a hundred thousand lists in lists": b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
        "doubling a list": b"\x80\x02]q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b".",
        "unknown opcode": b"\x80\x02\xff.",
    }


def save_zip(content: Any, path: Path) -> None:  # noqa: ANN401  whatever pickle takes
    """Save as torch does today."""
    import torch

    torch.save(content, path)


def save_legacy(content: Any, path: Path) -> None:  # noqa: ANN401  whatever pickle takes
    """Save as torch did before 1.6: pickles one after the other."""
    import torch

    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_bare(content: Any, path: Path) -> None:  # noqa: ANN401  whatever pickle takes
    """A pickle alone."""
    path.write_bytes(pickle.dumps(content, protocol=2))


def zipped(stream: bytes, path: Path, *, folder: str = "archive", method: int = zipfile.ZIP_STORED) -> None:
    """Put a pickle into an archive as torch lays it out."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(f"{folder}/data.pkl", stream)
        archive.writestr(f"{folder}/byteorder", "little")
        archive.writestr(f"{folder}/version", "3\n")


def _weights(make: Make, save: Callable[[Any, Path], None]) -> Callable[[Path, Site], None]:
    def write(path: Path, site: Site) -> None:
        import torch

        content = make(site.canary)
        save({"weight": torch.zeros(2, 2), "hook": content} if save is not save_bare else content, path)

    return write


def _stream(name: str, *, archived: bool) -> Callable[[Path, Site], None]:
    def write(path: Path, site: Site) -> None:
        data = streams(site.canary)[name]
        if archived:
            zipped(data, path)
        else:
            path.write_bytes(data)

    return write


def files() -> Iterator[HostileFile]:
    """Pickles where weights are chosen, and where a run, an export and the cache keep theirs."""
    where: list[tuple[Place, str]] = [("image weights", "weights.pt"), ("text weights", "pytorch_model.bin")]
    savers = {"zip": save_zip, "legacy": save_legacy, "bare": save_bare}
    for number, (name, make) in enumerate(calls().items()):
        for kind, save in savers.items():
            place, path = where[(number + len(kind)) % 2]
            danger = f"It would run code through {name} when it is unpickled ({kind})."
            yield HostileFile(f"pickle: {name}, {kind}", danger, place, path, _weights(make, save))
    for number, name in enumerate(streams(Path("canary"))):
        for archived in (False, True):
            place, path = where[(number + archived) % 2]
            kind = "in an archive" if archived else "bare"
            danger = f"A pickle written by hand ({name}), {kind}, of which every opcode is a trap."
            yield HostileFile(f"opcodes: {name}, {kind}", danger, place, path, _stream(name, archived=archived))
    yield from _disguised()


def _disguised() -> Iterator[HostileFile]:
    def code(path: Path, site: Site) -> None:
        save_bare(calls()["os.mkdir"](site.canary), path)

    def archive(path: Path, site: Site) -> None:
        save_zip({"hook": calls()["os.system"](site.canary)}, path)

    def joblib(path: Path, site: Site) -> None:
        path.write_bytes(zlib.compress(pickle.dumps(calls()["exec"](site.canary))))

    def objects(path: Path, site: Site) -> None:
        import numpy as np

        with path.open("wb") as file:
            np.save(file, np.array([calls()["os.mkdir"](site.canary)], dtype=object), allow_pickle=True)

    def npz(path: Path, site: Site) -> None:
        import numpy as np

        with path.open("wb") as file:
            np.savez(file, features=np.array([calls()["os.mkdir"](site.canary)], dtype=object))

    danger = "A pickle with code under the name of something harmless."
    for suffix in ("ckpt", "pth", "joblib", "pkl", "h5", "onnx", "gguf"):
        yield HostileFile(f"pickle as .{suffix}", danger, "image weights", f"weights.{suffix}", code)
    yield HostileFile("pickle as safetensors", danger, "image weights", "model.safetensors", code)
    yield HostileFile("archive as safetensors", danger, "text weights", "model.safetensors", archive)
    yield HostileFile("compressed joblib", danger, "image weights", "weights.bin", joblib)
    yield HostileFile("object array as weights", danger, "image weights", "weights.npy", objects)
    yield HostileFile("object archive as weights", danger, "image weights", "weights.npz", npz)
    cached: list[tuple[str, Callable[[Path, Site], None]]] = [
        ("object array", objects),
        ("object archive", npz),
        ("pickle", code),
        ("archive", archive),
    ]
    for name, write in cached:
        yield HostileFile(f"feature cache: {name}", danger, "feature cache", "features.npy", write, "either")
    kept: list[tuple[Place, str]] = [
        ("checkpoint", "best/model.safetensors"),
        ("checkpoint", "best/state.json"),
        ("checkpoint", "best/manifest.json"),
        ("checkpoint", "base.safetensors"),
        ("checkpoint", "last/training.safetensors"),
        ("checkpoint", "last/training.json"),
        ("exported image model", "model.safetensors"),
        ("exported text model", "model.safetensors"),
        ("exported text model", "assets/tokenizer.json"),
        ("exported image model", "config.json"),
        ("run folder", "run.json"),
        ("run folder", "target.json"),
        ("run folder", "recipe.toml"),
        ("project folder", "tlstudio.json"),
    ]
    for place, path in kept:
        for kind, write in (("pickle", code), ("archive", archive)):
            outcome: Outcome = "either" if path == "base.safetensors" else "refused"
            named = {"checkpoint": "checkpoint", "run folder": Path(path).stem.split("_")[0]}.get(
                place, Path(path).stem
            )
            yield HostileFile(
                f"{place}: {kind} as {path}",
                danger,
                place,
                path,
                write,
                outcome,
                named,
            )
