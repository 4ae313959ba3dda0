"""A process that fetches one model from a hub: ``python -m tlstudio.engine.hub_process REPOSITORY REVISION FOLDER``.

The studio's own processes have no way to the network (`tlstudio.startup.stay_offline`); this one is started with it,
for one download (`tlstudio.engine.downloads`). It prints one JSON object a line: several times a second how far it is,
and at last what came of it. The files end in ``FOLDER/COMMIT/model``, each under its name only when all of it is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RevisionNotFoundError
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoSibling

from tlstudio.api import WeightsError
from tlstudio.api.archives import is_model_file
from tlstudio.api.weights import WEIGHT_SUFFIXES, sha256_of
from tlstudio.engine.own_models import FILES
from tlstudio.store.files import reason, remedy

_TELL_EVERY = 0.2  # seconds
_PATIENCE = 30.0  # seconds for the list of files
_WEIGHTS = ".safetensors"
_WHOLE, _INDEX, _PART = "model.safetensors", "model.safetensors.index.json", "model-"
_LOG_IN = "log in (hf auth login, or HF_TOKEN), then try again."


@dataclass
class Download:
    """What is fetched.

    Attributes:
        repository: Its name on the hub.
        revision: Branch, tag or commit; ``""``: the newest.
        folder: Where to.
        hub: Address of the hub.
        total: Bytes of all files, as soon as they are known.
    """

    repository: str
    revision: str
    folder: Path
    hub: str
    total: int = 0

    def done(self) -> int:
        """Bytes that are there."""
        size = 0
        for file in self.folder.rglob("*"):
            with contextlib.suppress(OSError):  # it gets its name at this moment
                size += file.stat().st_size if file.is_file() else 0
        return min(size, self.total)


def main(repository: str, revision: str, folder: str) -> int:
    """Fetch a model, and print how far it is and what came of it; returns the exit code."""
    api = HfApi()
    download = Download(repository, revision, Path(folder), re.sub(r"//[^/@]*@", "//", api.endpoint))
    over = threading.Event()
    pulse = threading.Thread(target=_tell, args=(download, over), daemon=True)
    pulse.start()
    try:
        told: Mapping[str, object] = _fetch(download, api)
    except Exception as error:  # noqa: BLE001  whatever a network and a stranger's server can bring becomes a sentence
        explained = error if isinstance(error, WeightsError) else _explained(error, download)
        told = {"error": explained.what, "remedy": explained.remedy}
    over.set()
    pulse.join()
    _say(told)
    return 1 if "error" in told else 0


def wanted_files(files: Mapping[str, RepoSibling]) -> list[RepoSibling]:
    """Choose what is fetched of a repository: weights as safetensors, and what describes them; never code or pickles.

    Args:
        files: All of its files by name; those in subfolders are other forms of the model, or not of it.

    Returns:
        The smallest first; none where there are no such weights.
    """
    plain = [name for name in files if not name.startswith(".") and not set(name) & set("/\\:")]
    weights = [name for name in plain if name.endswith(_WEIGHTS)]
    beside = [name for name in plain if is_model_file(name) and not name.lower().endswith(WEIGHT_SUFFIXES)]
    if _WHOLE in weights:
        weights = [_WHOLE]
    elif _INDEX in beside:
        weights = [name for name in weights if name.startswith(_PART)]
    return sorted((files[name] for name in weights + beside if weights), key=lambda file: file.size or 0)


def _fetch(download: Download, api: HfApi) -> dict[str, object]:
    info = api.model_info(
        download.repository, revision=download.revision or None, files_metadata=True, timeout=_PATIENCE
    )
    files = wanted_files({file.rfilename: file for file in info.siblings or ()})
    if not files:
        raise WeightsError(
            f"{download.repository} has no weights as safetensors; nothing was fetched.",
            "Other forms can contain code: choose a model, or a revision of it, with a model.safetensors.",
        )
    if not re.fullmatch(r"[0-9a-fA-F]{7,64}", info.sha or ""):
        raise ValueError(f"it names the commit {info.sha!r}")
    commit = str(info.sha)
    for older in download.folder.iterdir():
        if older.is_dir() and older.name != commit:
            shutil.rmtree(older)  # the rest of a download of what is no longer the newest
    place = download.folder / commit / FILES
    place.mkdir(parents=True, exist_ok=True)
    download.total = sum(file.size or 0 for file in files)
    missing, free = download.total - download.done(), shutil.disk_usage(place).free
    if missing > free:
        raise WeightsError(
            f"{download.repository} needs {missing / 1e9:.1f} GB more in {download.folder.parent}, where "
            f"{free / 1e9:.1f} GB are free.",
            "Free some space, then try again.",
        )
    found = {file.rfilename: _fetch_file(download, file, commit, place) for file in files}
    hashes = [(found[name], name) for name in sorted(found) if name.endswith(_WEIGHTS)]
    return {"commit": commit, "origin": f"{download.hub}/{download.repository}, commit {commit}", "hashes": hashes}


def _fetch_file(download: Download, file: RepoSibling, commit: str, place: Path) -> str:
    """Fetch a file, or what is missing of it; returns its hash."""
    target = place / file.rfilename
    if target.is_file():
        return sha256_of(target)
    part = target.with_name(target.name + ".part")
    if file.size is None or (part.is_file() and part.stat().st_size > file.size):
        part.unlink(missing_ok=True)
    # Packed by the server, the rest of a file would not be the rest of what is there.
    headers = {"Accept-Encoding": "identity"}
    if not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and (token := get_token()):
        headers["Authorization"] = f"Bearer {token}"
    with part.open("ab") as writing:
        url = hf_hub_url(download.repository, file.rfilename, revision=commit)
        http_get(url, writing, resume_size=writing.tell(), headers=headers, expected_size=file.size)
    found = sha256_of(part)
    if file.lfs is not None and file.lfs.sha256 != found:
        part.unlink()
        raise WeightsError(
            f"{file.rfilename} of {download.repository} has arrived damaged: its SHA-256 is {found[:12]}…, and the hub "
            f"names {file.lfs.sha256[:12]}….",
            "Download it again.",
        )
    part.replace(target)
    return found


def _explained(error: Exception, download: Download) -> WeightsError:
    """Say in a sentence why there is no model."""
    name, hub = download.repository, download.hub
    page = f"{hub}/{name}"
    if isinstance(error, GatedRepoError):
        return WeightsError(
            f"{name} is given only to those who have agreed to its terms.",
            f"Agree to them on its page ({page}) and {_LOG_IN}",
        )
    if isinstance(error, RevisionNotFoundError):
        return WeightsError(f"{name} has no revision {download.revision!r}.", f"Its revisions are told by {page}.")
    if isinstance(error, HfHubHTTPError):
        match error.response.status_code:
            case 404:
                return WeightsError(
                    f"There is no model {name} at {hub}.", "Write its name as ORG/NAME, as its page does."
                )
            case 401:
                what = f"There is no model {name} at {hub}, or it is private."
                return WeightsError(what, f"Look at its name; if it is private, {_LOG_IN}")
            case 403:
                return WeightsError(f"{hub} does not give you {name}.", f"If you have a right to it, {_LOG_IN}")
            case 429:
                return WeightsError(f"{hub} was asked too often from here.", "Wait some minutes, then try again.")
            case code:
                what = f"{hub} could not give {name}: it answered with the error {code}."
                return WeightsError(what, "Try again later; what has arrived is kept.")
    if isinstance(error, OSError) and error.errno:
        return WeightsError(f"{name} cannot be written to {download.folder}: {reason(error)}.", remedy(error))
    why = (str(error).strip().splitlines() or [""])[0].rstrip(".") or type(error).__name__
    return WeightsError(
        f"{hub} cannot be reached, or does not answer as a model hub: {why}.",
        "Look at its address and at the network (HTTPS_PROXY, if there is a proxy), then try again; what has arrived "
        "is kept.",
    )


def _tell(download: Download, over: threading.Event) -> None:
    while not over.wait(_TELL_EVERY):
        _say({"done": download.done(), "total": download.total})


def _say(told: Mapping[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    except OSError:
        os._exit(1)  # nobody listens any more: the studio has ended, and so does this, whatever it waits for


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
