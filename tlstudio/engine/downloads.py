"""Downloading a model from a hub: only when the user asks for it, and in a process of its own.

Everything else stays offline as before, also while a model is fetched: the libraries in this process keep being told
that there is no network. What has arrived of a download that was broken off is kept, and the next one goes on there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from tlstudio.api import WeightsError
from tlstudio.engine.model_entry import ModelEntry, Progress, hash_of
from tlstudio.engine.own_models import keep_model, models_folder, new_folder, plain_name
from tlstudio.privacy import without_secrets
from tlstudio.store.files import reason, remedy

if TYPE_CHECKING:
    from tlstudio.plugins import Registry

_LOCK = ".lock"


def download_model(
    repository: str,
    registry: Registry,
    *,
    revision: str = "",
    hub: str = "",
    name: str = "",
    on_progress: Progress = lambda _done, _total: None,
) -> ModelEntry:
    """Fetch a model from a hub into the user's folder of models: safetensors and what describes them, never code.

    Args:
        repository: Its name, such as ``"google/vit-base-patch16-224"``, or the address of its page.
        registry: The components; they say which backbone it is of.
        revision: Branch, tag or commit; the newest one if empty.
        hub: Address of a hub; that of ``HF_ENDPOINT``, or Hugging Face's, if empty.
        name: What to call it; as on the hub if empty.
        on_progress: Called with bytes done and their number (0: not known yet) several times a second, also while
            nothing arrives; may end it all by an exception.

    Raises:
        WeightsError: It cannot be had; the sentence says why.
    """
    environment = {key: value for key, value in os.environ.items() if key != "TRANSFORMERS_OFFLINE"}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    usual = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    hub = hub.strip().rstrip("/")
    if hub:
        if not hub.startswith(("http://", "https://")):
            raise WeightsError(f"{hub} is no address of a model hub.", "Write it as https://HOST.", field="hub")
        environment["HF_ENDPOINT"] = hub
    if hub not in ("", usual):
        environment |= {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}  # the user's login is one at the usual hub
    repository = repository.strip().removeprefix(f"{hub or usual}/").strip("/")
    _check_name(repository)
    target = new_folder(name or repository)
    folder = models_folder() / f".download-{plain_name(f'{repository}-{revision}')}"
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        told = _fetched([repository, revision.strip(), str(folder)], environment, on_progress)
        hashes = [(str(value), str(file)) for value, file in told["hashes"]]
        staging = folder / str(told["commit"])
        return keep_model(staging, target, registry, origin=str(told["origin"]), sha256=hash_of(hashes))
    except Timeout as error:
        raise WeightsError(f"{repository} is being downloaded already.", "Wait until that is done.") from error
    except OSError as error:
        what = f"{repository} cannot be kept in {models_folder()}: {reason(error)}."
        raise WeightsError(what, remedy(error), path=models_folder()) from error
    finally:
        if lock.is_locked:
            lock.release()
            if not any(file.is_file() and file.name != _LOCK for file in folder.rglob("*")):
                shutil.rmtree(folder, ignore_errors=True)


def _check_name(repository: str) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HFValidationError

    try:
        hf_hub_url(repository, "config.json")  # looks at the name
    except HFValidationError as error:
        what = f"{repository!r} is no name of a model on a hub."
        raise WeightsError(what, "Write it as ORG/NAME, as its page does.", field="repository") from error


def _fetched(arguments: list[str], environment: Mapping[str, str], on_progress: Progress) -> dict[str, Any]:
    """Run the process that has the network; returns what it tells of the model."""
    command = [sys.executable, "-m", "tlstudio.engine.hub_process", *arguments]
    said = "it told nothing"
    with subprocess.Popen(  # noqa: S603  this very interpreter with a module of ours
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None  # noqa: S101  for mypy: it is a pipe
        try:
            for line in process.stdout:
                told = _read(line)
                match told:
                    case {"done": int(done), "total": int(total)}:
                        on_progress(done, total)
                    case {"error": str(what), "remedy": str(remedy)}:
                        raise WeightsError(what, remedy)
                    case {"commit": _, "origin": _, "hashes": _}:
                        return told
                    case _:
                        said = line.strip() or said  # a warning of a library, or why it could not even begin
        finally:
            process.kill()
    raise WeightsError(f"The process of the download has ended: {without_secrets(said).rstrip('.')}.", "Try again.")


def _read(line: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
