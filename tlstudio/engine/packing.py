"""Nested plain values with tensors in them, as JSON and a flat table of tensors: what safetensors can hold.

`torch.save` would do it with a pickle; a checkpoint of the studio holds none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

Tensors = dict[str, Tensor]


def pack(value: Any) -> tuple[Any, Tensors]:  # noqa: ANN401  as nested as the caller likes
    """Take a value apart.

    Args:
        value: Tensors, `None`, bool, int, float and str, in dicts, lists and tuples of any depth.

    Returns:
        JSON values in which tensors are named, and the tensors by name; they are not copied.

    Raises:
        TypeError: There is something else in it.
    """
    tensors: Tensors = {}
    return _pack(value, "", tensors), tensors


def unpack(plain: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401  as nested as it was
    """Put together what `pack` took apart.

    Raises:
        ValueError: It is not what `pack` has made.
    """
    if not isinstance(plain, dict):
        return plain
    match plain:
        case {"tensor": str(name)} if name in tensors:
            return tensors[name]
        case {"list": list(items)}:
            return [unpack(item, tensors) for item in items]
        case {"tuple": list(items)}:
            return tuple(unpack(item, tensors) for item in items)
        case {"dict": list(items)}:
            return {key: unpack(item, tensors) for key, item in items}
        case _:
            raise ValueError(f"not a packed value: {str(plain)[:80]}")


def _pack(value: Any, name: str, tensors: Tensors) -> Any:  # noqa: ANN401  see `pack`
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Tensor():
            name = f"{len(tensors)}{name}"  # keys 1 and "1" would look the same
            tensors[name] = value
            return {"tensor": name}
        case list() | tuple():
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [_pack(item, f"{name}/{number}", tensors) for number, item in enumerate(value)]}
        case Mapping():
            # Pairs, because keys may be numbers (an optimizer's are), which JSON would turn into text.
            return {"dict": [[key, _pack(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
        case _:
            raise TypeError(f"{name or 'the value'} cannot be stored in a checkpoint: {type(value).__name__}")
