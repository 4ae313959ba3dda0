"""Turning a GGUF file, as llama.cpp and its kin use them, into a model folder: ``python -m tlstudio_text.gguf``.

Quantised weights are unpacked into 32-bit numbers, so that the model can learn; its folder is several times larger.
Needs the package gguf (the extra ``gguf``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tlstudio.api import TLStudioError, WeightsError
from tlstudio.api.files import check_plain_file
from tlstudio.api.model_folders import FIELD, first_line, quiet, too_large
from tlstudio_text.architectures import WRITERS

__all__ = ["convert", "main"]


def convert(file: Path, folder: Path) -> None:
    """Write the model of a GGUF file into a folder in Hugging Face's layout.

    Args:
        file: The GGUF file.
        folder: Where to; must not exist or be empty.

    Raises:
        WeightsError: The file is none that can be read, the folder is taken, or the package gguf is missing.
    """
    if find_spec("gguf") is None:
        raise WeightsError("The package gguf is missing.", "Install it: pip install tlstudio[gguf].", field=FIELD)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WeightsError(f"{folder} is not empty.", "Choose a new folder.", path=folder, field=FIELD)
    try:
        check_plain_file(file)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with quiet(), tempfile.TemporaryDirectory(prefix=".gguf-", dir=folder.parent) as alone:
            # Beside the file, transformers would also find adapters, or a tokenizer with code of its own.
            made = Path(alone) / "model"
            _convert(_placed(file, Path(alone)), made)
            if folder.exists():
                folder.rmdir()
            made.rename(folder)  # as a whole, or not at all
    except TLStudioError:
        raise
    except Exception as error:  # transformers and gguf raise whatever they stumble over
        raise WeightsError(
            f"{file} cannot be read as a language model: {first_line(error)}",
            "Download it again, or take the model's own folder instead.",
            path=file,
            field=FIELD,
        ) from error


def _placed(file: Path, folder: Path) -> Path:
    """Put a file into a folder, without a copy where the disk is the same."""
    place = folder / "model.gguf"
    with contextlib.suppress(OSError):
        os.link(file.resolve(), place)
        return place
    shutil.copyfile(file, place)
    return place


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    config: Any = AutoConfig.from_pretrained(file.parent, **place)
    size = too_large(config.to_dict())
    if config.model_type not in WRITERS or size:
        raise WeightsError(
            f"The model in the file ({config.model_type}) cannot be used here{f': {size}' if size else ''}.",
            "Choose a language model such as Llama, Qwen or SmolLM.",
            path=file,
            field=FIELD,
        )
    model: Any = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **place)
    # It is no longer quantised; what says so would keep it from being saved, and from learning.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, **place).save_pretrained(folder)


def main(arguments: list[str]) -> int:
    """Convert the file that is named into the folder that is named."""
    if len(arguments) != 2:
        sys.stderr.write("Use: python -m tlstudio_text.gguf MODEL.gguf FOLDER\n")
        return 2
    file, folder = map(Path, arguments)
    try:
        convert(file, folder)
    except TLStudioError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{folder} can now be used: --backbone language_model -o backbone.weights={folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
