"""What a plugin must leave as it is while it is imported: undone where that can be, and named."""

from __future__ import annotations

import builtins
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from tlstudio.api import PluginError

_ABSENT = object()


@contextlib.contextmanager
def nothing_else_changed(plugin: str) -> Iterator[None]:
    """Undo what a plugin changes in the program around it; what it prints goes to standard error.

    Looked at are the working directory, the streams, the hooks for uncaught errors, the built-in functions, the
    handlers of signals, threads that would keep the program from ending and, where torch is loaded, torch's functions
    and the methods of its layers.

    Args:
        plugin: Its name.

    Raises:
        PluginError: It has changed something.
    """
    with _printing_to_stderr():
        places = list(_places())
        folder = _working_directory()
        handlers = {number: signal.getsignal(number) for number in signal.Signals if number in signal.valid_signals()}
        threads = set(threading.enumerate())
        changed: list[str] = []
        try:
            yield
        finally:
            for owner, attribute, value, what in places:
                if vars(owner).get(attribute, _ABSENT) is not value:
                    _put_back(owner, attribute, value)
                    changed.append(f"replaces {what}")
            if folder and _working_directory() != folder:
                os.chdir(folder)
                changed.append("changes the working directory")
            for number, handler in handlers.items():
                if signal.getsignal(number) is not handler:
                    with contextlib.suppress(ValueError, TypeError, OSError):  # only the main thread may; some are C's
                        signal.signal(number, handler)
                    changed.append(f"handles the signal {number.name}")
            if any(not thread.daemon for thread in set(threading.enumerate()) - threads):
                changed.append("starts a thread that keeps the program from ending")
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise PluginError(
            f"The plugin '{plugin}' {', '.join(changed[:3])}{more} when it is imported.",
            "A plugin must leave the program around it as it is.",
            plugin=plugin,
        )


def _places() -> Iterator[tuple[Any, str, Any, str]]:
    """Owner, attribute, value, and what it is called."""
    for name, value in list(vars(builtins).items()):
        if callable(value):
            yield builtins, name, value, name
    for name in ("stdin", "stdout", "stderr", "excepthook", "exit"):
        yield sys, name, getattr(sys, name), f"sys.{name}"
    yield threading, "excepthook", threading.excepthook, "threading.excepthook"
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "nn"):
        return
    classes = [torch.Tensor, *(value for value in vars(torch.nn).values() if isinstance(value, type))]
    for owner in (torch, torch.nn.functional, *classes):
        values = dict(vars(owner))
        if isinstance(owner, type):
            values = {"forward": _ABSENT, "__call__": _ABSENT, **values}
        for name, value in values.items():
            public = not name.startswith("_") or name in ("__init__", "__call__", "_call_impl")
            if public and (value is _ABSENT or callable(value)):
                yield owner, name, value, f"{owner.__name__}.{name}"


def _put_back(owner: Any, attribute: str, value: Any) -> None:  # noqa: ANN401  a module or a class, and what it holds
    if value is _ABSENT:
        delattr(owner, attribute)
    else:
        setattr(owner, attribute, value)


@contextlib.contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Lead what is printed to standard error, also what is written past Python, so that a command's output is whole."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a window may have no streams
            sys.stdout.flush()
            kept = os.dup(1)
            stack.callback(os.close, kept)
            os.dup2(2, 1)
            stack.callback(os.dup2, kept, 1)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def _working_directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  as it stands
    except OSError:  # it has been removed
        return ""
