"""``install-shortcut`` and ``uninstall-shortcut``."""

from __future__ import annotations

from tlstudio.cli.common import command
from tlstudio.cli.output import Output


@command("install-shortcut", example="tlstudio install-shortcut")
def install_shortcut(output: Output) -> None:
    """Put the studio into the start menu of the desktop."""
    from tlstudio.cli.shortcut import install

    written = install()
    output.say("TL Studio is in the start menu now.")
    for path in written:
        output.say(f"  {path}")
    output.result({"installed": written})


@command("uninstall-shortcut", example="tlstudio uninstall-shortcut")
def uninstall_shortcut(output: Output) -> None:
    """Take the studio out of the start menu again."""
    from tlstudio.cli.shortcut import uninstall

    removed = uninstall()
    output.say(
        "TL Studio is no longer in the start menu." if removed else "There is no shortcut that was installed from here."
    )
    output.result({"removed": removed})
