"""Folders of images, one subfolder a class."""

from __future__ import annotations

from pathlib import Path

from tlstudio.api import Rejected, Sample
from tlstudio.api.images import IMAGE_SUFFIXES
from tlstudio_formats.folders import ClassFolders

_UNREADABLE = frozenset(
    {".heic", ".heif", ".avif", ".svg", ".psd", ".jp2", ".jxl", ".dng", ".cr2", ".nef", ".arw", ".dcm", ".ico", ".tga"}
)
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")


class ImageFolder(ClassFolders):
    """One subfolder a class, also below train, val and test folders."""

    name = "image_folder"
    title = "Folder of images"
    description = "A folder with one subfolder of images for each class; train, val and test folders above are kept."
    modality = "image"
    things = "images"
    example = "cat/001.jpg and dog/002.jpg"

    def wanted(self, path: Path) -> bool:
        """Whether its suffix is that of an image, or it has none and begins like one."""
        suffix = path.suffix.lower()
        if suffix:
            return suffix in IMAGE_SUFFIXES
        try:
            with path.open("rb") as file:
                head = file.read(12)
        except OSError:
            return False
        return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")

    def make(self, path: Path, source: str) -> Sample | Rejected:
        """Name the file; it is decoded when it is imported."""
        return Sample(id=source, image=path, source=source)

    def unwanted(self, path: Path, source: str) -> Rejected | None:
        """Tell images in formats that cannot be read."""
        suffix = path.suffix.lower()
        if suffix in _UNREADABLE:
            return Rejected(source, f"{suffix[1:].upper()} images cannot be read.", "Save it as PNG or JPEG.")
        return None
