"""Names that lead elsewhere or paint the terminal, links, pipes and devices."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tlstudio.selftest.hostile.files import HostileFile, Outcome, Site, content
from tlstudio.selftest.hostile.images import encoded

Write = Callable[[Path, Site], None]


def link(target: str) -> Write:
    """Make a link; the target may name folders of the site in braces."""

    def write(path: Path, site: Site) -> None:
        path.symlink_to(target.format(outside=site.outside, folder=site.folder, source=site.source))

    return write


def replaced(write: Write) -> Write:
    """Put something in the place of a file or folder that is there."""

    def replace(path: Path, site: Site) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        write(path, site)

    return replace


def pipe(path: Path, _site: Site) -> None:
    """Make a pipe: whoever opens it waits."""
    os.mkfifo(path)


def _device(path: Path, _site: Site) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # as /dev/zero; for root alone


def _socket(path: Path, _site: Site) -> None:
    """A socket; its address is limited to a hundred letters, so that it is bound from its folder."""
    here = Path.cwd()
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _picture(path: Path, site: Site) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content(encoded("PNG"))(path, site)


def special() -> Iterator[tuple[str, str, str, Write, Outcome]]:
    """What is no plain file: name, danger, path, writer, outcome."""
    leads = "It leads to a file outside of the folder."
    yield "link to /etc/passwd", leads, "cat/passwd.png", link("/etc/passwd"), "refused"
    yield "link to a file of others", leads, "cat/secret.png", link("{outside}"), "refused"
    yield "link to a file of others, relative", leads, "cat/secret.png", link("../../../outside/secret.txt"), "refused"
    yield "link to the folder above", "It leads in a circle.", "cat/above", link(".."), "refused"
    yield "link to itself", "It leads in a circle.", "cat/itself.png", link("itself.png"), "refused"
    yield "link to the root", "The whole disk would be read.", "cat/root", link("/"), "refused"
    yield "link to nowhere", "It leads nowhere.", "cat/nowhere.png", link("nothing-here.png"), "refused"
    yield "link to an endless device", "It never ends.", "cat/zero.png", link("/dev/zero"), "refused"
    yield (
        "link to a memory map",
        "It is the memory of the process.",
        "cat/memory.png",
        link("/proc/self/mem"),
        "refused",
    )
    yield "pipe", "Whoever opens it waits for ever.", "cat/pipe.png", pipe, "refused"
    yield "socket", "It is no file.", "cat/socket.png", _socket, "refused"
    yield "device", "It never ends.", "cat/device.png", _device, "refused"


def files() -> Iterator[HostileFile]:
    """Names and special files, in a folder of images, in a folder of texts, and where JSON and weights are expected."""
    for name, danger, path, write, outcome in special():
        yield HostileFile(f"images: {name}", danger, "image folder", path, write, outcome)
    for name, danger, path, write, outcome in special():
        if not name.startswith("link to"):
            text = path.replace(".png", ".txt")
            yield HostileFile(f"texts: {name}", danger, "text folder", text, write, outcome)
    strange = {
        "escape codes": "\x1b[2J\x1b]0;evil\x07.png",
        "a line break": "first\nsecond.png",
        "a return": "first\rsecond.png",
        "written from right to left": "photo\u202egnp.exe.png",
        "invisible letters": "photo\u200b\u2060\ufeff.png",
        "255 bytes": "x" * 251 + ".png",
        "255 bytes of many": "名" * 83 + ".png",
        "a name of Windows' devices": "CON.png",
        "a trailing dot": "photo.png.",
        "a backslash": "..\\..\\evil.png",
        "quotes": "'; rm -rf x; '\"`$(touch ran)`.png",
        "percent signs": "%s%n%x{0}{name}.png",
        "a leading dash": "--output=evil.png",
        "letters that are none": "caf\udce9.png",
        "a formula": "=cmd|' /C calc'!A0.png",
        "markup": "<img src=x onerror=alert(1)>.png",
    }
    for name, part in strange.items():
        danger = "A screen, a shell or a spreadsheet would take it for something else."
        file = part.replace("/", "_")
        yield HostileFile(f"file named with {name}", danger, "image folder", f"cat/{file}", _picture, "either")
        if not name.startswith(("255", "a trailing")):
            folder = part.removesuffix(".png").replace("/", "_")
            path = f"{folder}/picture.png"
            yield HostileFile(f"class named with {name}", danger, "image folder", path, _picture, "either")
    waits = "Whoever opens it waits for ever."
    for place, paths in (
        ("exported image model", ("config.json", "labels.json", "model.safetensors", "assets/preprocessing.json")),
        ("exported text model", ("assets/config.json", "assets/tokenizer.json")),
        ("run folder", ("run.json", "recipe.toml", "events.jsonl", "note.json", "target.json")),
        ("project folder", ("tlstudio.json",)),
        ("checkpoint", ("best/manifest.json", "best/state.json", "last/training.json")),
        ("recipe", ("recipe.toml",)),
        ("model folder", ("config.json", "tokenizer_config.json")),
        ("image weights", ("weights.pt",)),
        ("table", ("table.csv", "table.parquet")),
    ):
        for path in paths:
            soft = path in ("events.jsonl", "note.json", "best/manifest.json", "tokenizer_config.json")
            yield HostileFile(
                f"{place}: pipe as {path}",
                waits,
                place,  # type: ignore[arg-type]
                path,
                replaced(pipe),
                "either" if soft else "refused",
                {"checkpoint": "checkpoint", "project folder": "project"}.get(place, Path(path).stem),
            )
    for path in ("assets", "model.safetensors", "config.json"):
        yield HostileFile(
            f"exported image model: link as {path}",
            "It leads to somebody else's file.",
            "exported image model",
            path,
            _linked_away,
            "either" if path == "assets" else "refused",
            "source",
        )


def _linked_away(path: Path, site: Site) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
        path.symlink_to(site.outside.parent)
    else:
        path.unlink()
        path.symlink_to(site.outside)
