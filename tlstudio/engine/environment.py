"""What a run was made with."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib import metadata

import torch


def environment(plugins: Mapping[str, Mapping[str, str]], data: Mapping[str, str]) -> dict[str, object]:
    """Versions of everything that can change a result, as JSON values.

    Args:
        plugins: The plugins that the components come from, as `tlstudio.engine.used_plugins.used_plugins` gives them.
        data: Hashes of the data, as `tlstudio.engine.used_data.recorded_data` reads them.
    """
    names = ["tlstudio", "torch", "torchvision", "timm", "transformers", "peft", "lightning-fabric", "torchmetrics"]
    versions = {name: metadata.version(name) for name in [*names, "numpy", "pillow", "pyarrow", "safetensors"]}
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "packages": versions,
        "plugins": plugins,
        "data": data,
    }
