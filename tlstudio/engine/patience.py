"""A full or vanished disk makes a run wait, not fail: what it needs is said, and it goes on when there is room."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from safetensors import SafetensorError

from tlstudio.api import ProjectError, RunError, TLStudioError
from tlstudio.engine.control import Interrupted, RunControl
from tlstudio.engine.events import Paused, Resumed, RunEvent
from tlstudio.store.files import reason, remedy

T = TypeVar("T")
_PASSING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE}
)
# What is no plain file stays so: it was not the disk that refused it.
_LASTING = frozenset({errno.EINVAL, errno.EISDIR, errno.ELOOP})
RETRY_AFTER = 1.0
"""Seconds between two tries."""


def until_written(write: Callable[[], T], control: RunControl, on_event: Callable[[RunEvent], None]) -> T:
    """Write something; while the disk refuses it, wait and try again.

    Args:
        write: Writes it, whole or not at all.
        control: Cancel ends the waiting.
        on_event: Hears `Paused` with the reason, and `Resumed`.

    Returns:
        What `write` gave.

    Raises:
        Interrupted: Cancel was asked for while the disk refused it.
        TLStudioError: It failed for another reason than the disk.
    """
    waiting = False
    while True:
        try:
            result = write()
        except (TLStudioError, OSError) as error:
            if not _is_of_the_disk(error):
                raise
            if control.request == "cancel":
                raise Interrupted from error
            if not waiting:
                on_event(Paused(_sentence(error)))
                waiting = True
            control.wait(RETRY_AFTER)
        else:
            if waiting:
                on_event(Resumed())
            return result


def _is_of_the_disk(error: TLStudioError | OSError) -> bool:
    """Whether an error is one that passes when there is room, or the disk is back."""
    if isinstance(error, OSError):
        return error.errno in _PASSING
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _LASTING:
        return False
    # What the studio says of files that it writes; what it says of data that cannot be read is a `DataError`.
    return isinstance(error, (RunError, ProjectError)) and isinstance(cause, (OSError, SafetensorError))


def _sentence(error: TLStudioError | OSError) -> str:
    if isinstance(error, TLStudioError):
        return str(error)
    return f"{error.filename or 'A file'} could not be written: {reason(error)}. {remedy(error)}".strip()
