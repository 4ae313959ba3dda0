"""``tlstudio`` opens the window, ``tlstudio PROJECT`` opens it on a project, ``tlstudio COMMAND`` needs no window."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tlstudio.startup import enter_safe_mode, keep_freed_memory, share_the_cores, stay_offline, trust_no_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say.

    Args:
        arguments: As after the program's name; those of this process if `None`.

    Returns:
        0 done, 1 failed, 2 wrong use or bad input, 130 cancelled.
    """
    try:
        return _main(arguments)
    except KeyboardInterrupt:  # while something is being loaded; a command handles its own
        print("Cancelled.", file=sys.stderr)  # noqa: T201  there is nothing else to say it with
        return 130


def _main(arguments: Sequence[str] | None) -> int:
    stay_offline(os.environ)
    trust_no_folder(os.environ)
    share_the_cores(os.environ)  # read when torch is loaded, which is later
    keep_freed_memory()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--safe-mode"]:
        enter_safe_mode(os.environ)
        del arguments[0]
    if not arguments:
        return open_window(None)
    # Imported here: the window alone needs nothing of it.
    from tlstudio.cli.main import COMMANDS, run

    first = arguments[0]
    # A command's name goes first; a project folder of that name is opened as ./demo.
    if len(arguments) == 1 and first not in COMMANDS and not first.startswith("-") and Path(first).exists():
        return open_window(Path(first))
    outcome = run(arguments)
    if outcome.code == 0 and outcome.open_project is not None:
        return open_window(outcome.open_project)
    return outcome.code


def open_window(project: Path | None) -> int:
    """Open the window, or say in a sentence why that cannot be done here.

    Args:
        project: The project to open in it; the last one if `None`.
    """
    from tlstudio.startup import why_no_window

    if sentence := why_no_window(os.environ):
        print(sentence, file=sys.stderr)  # noqa: T201  there is nothing else to say it with
        return 2
    from tlstudio.gui.app import main as window

    return window(project)


if __name__ == "__main__":
    sys.exit(main())
