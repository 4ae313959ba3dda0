"""Adapters in the format of PEFT: what it puts into the network of a library, by the names of that library."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

from peft import PeftConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn

from tlstudio.api import RunError

__all__ = ["save_adapter"]

_INNER = "model."  # where backbones keep the network of a library
_PREFIX = "base_model.model."  # what PEFT puts before every name


def save_adapter(backbone: nn.Module, folder: Path) -> bool:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, which `peft.PeftModel.from_pretrained` reads.

    Args:
        backbone: A backbone with adapters that PEFT has put in.
        folder: Where to.

    Raises:
        RunError: The network is not that of a library alone.
    """
    configs: Any = backbone.peft_config
    config: PeftConfig = copy.copy(configs["default"])
    tensors = get_peft_model_state_dict(backbone, save_embedding_layers=False)
    if not all(name.startswith(_INNER) for name in tensors):
        raise RunError(
            "This backbone is not the network of one library as it is, which an adapter file could be for.",
            "Export the whole model instead.",
        )
    for field in ("target_modules", "feedforward_modules", "target_parameters"):
        names = getattr(config, field, None)
        if isinstance(names, str):
            inner = re.escape(_INNER)
            setattr(config, field, "|".join(name.removeprefix(inner) for name in names.split("|")))
        elif names:
            setattr(config, field, sorted(name.removeprefix(_INNER) for name in names))
    config.inference_mode = True
    config.base_model_name_or_path = None
    config.save_pretrained(str(folder))
    named = {f"{_PREFIX}{name.removeprefix(_INNER)}": tensor.cpu().contiguous() for name, tensor in tensors.items()}
    save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return True
