"""Folders of text files, one subfolder a class."""

from __future__ import annotations

from pathlib import Path

from tlstudio.api import Rejected, Sample
from tlstudio_formats.encodings import decode
from tlstudio_formats.folders import ClassFolders

_MAX_BYTES = 64 * 2**20


class TextFolder(ClassFolders):
    """One subfolder of .txt files a class, also below train, val and test folders."""

    name = "text_folder"
    title = "Folder of texts"
    description = "A folder with one subfolder of .txt files for each class; train, val and test folders are kept."
    modality = "text"
    things = "text files (.txt)"
    example = "sport/001.txt and politics/002.txt"

    def wanted(self, path: Path) -> bool:
        """Whether its suffix is that of a text."""
        return path.suffix.lower() in {".txt", ".text", ".md"}

    def make(self, path: Path, source: str) -> Sample | Rejected:
        """Read the file, in whatever encoding it is."""
        try:
            if path.stat().st_size > _MAX_BYTES:
                return Rejected(source, f"It is larger than {_MAX_BYTES // 2**20} MiB.", "Cut it into pieces.")
            text = decode(path.read_bytes())[0].replace("\0", "").strip()
        except OSError as error:
            return Rejected(source, f"The file cannot be read: {error.strerror}.", "Check its access rights.")
        if not text:
            return Rejected(source, "It has no text.", "Write its text, or take it out.")
        return Sample(id=source, text=text, source=source)
