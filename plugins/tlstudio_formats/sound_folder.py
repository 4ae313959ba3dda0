"""Folders of recordings, one subfolder a class."""

from __future__ import annotations

from pathlib import Path

from tlstudio.api import Rejected, Sample
from tlstudio.api.sounds import SOUND_SUFFIXES
from tlstudio_formats.folders import ClassFolders

_UNREADABLE = frozenset(
    {".m4a", ".aac", ".wma", ".amr", ".3gp", ".mp4", ".mov", ".mkv", ".webm", ".avi", ".ra", ".mka"}
)


class SoundFolder(ClassFolders):
    """One subfolder a class, also below train, val and test folders."""

    name = "audio_folder"
    title = "Folder of recordings"
    description = "A folder with one subfolder of recordings for each class; train, val and test folders are kept."
    modality = "audio"
    things = "recordings"
    example = "cough/001.wav and speech/002.flac"

    def wanted(self, path: Path) -> bool:
        """Whether its suffix is that of a sound."""
        return path.suffix.lower() in SOUND_SUFFIXES

    def make(self, path: Path, source: str) -> Sample | Rejected:
        """Name the file; it is decoded when it is imported."""
        return Sample(id=source, audio=path, source=source)

    def unwanted(self, path: Path, source: str) -> Rejected | None:
        """Tell sounds in formats that cannot be read."""
        return why_unreadable(path, source)


def why_unreadable(path: Path, source: str) -> Rejected | None:
    """Tell a sound or film in a format that cannot be read; `None` for all else."""
    suffix = path.suffix.lower()
    if suffix in _UNREADABLE:
        return Rejected(source, f"{suffix[1:].upper()} files cannot be read.", "Save it as WAV, FLAC, OGG or MP3.")
    return None
