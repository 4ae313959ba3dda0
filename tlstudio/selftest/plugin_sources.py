"""Plugins that do what a plugin must not, as text, and a good one to stand beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tlstudio.api import API_VERSION

_HEAD = f"""
from tlstudio.api import FineTuningStrategy, Options, hookimpl

TLSTUDIO_API = "{API_VERSION}"
"""
_STRATEGY = """

class Head(FineTuningStrategy):
    name, title, description = @NAME@, "Head", "Trains the head."

    def prepare(self, model, options):
        model.backbone.requires_grad_(False)
        @BUILD@

    def param_groups(self, model, options, *, learning_rate, weight_decay):
        from tlstudio.api.nn import ParamGroup

        return [ParamGroup("head", [one for one in model.parameters() if one.requires_grad], learning_rate)]

    def extra_loss(self, model, options, num_train):
        @STEP@


@hookimpl
def register_strategies():
    return [Head()]
"""


@dataclass(frozen=True, slots=True)
class BadPlugin:
    """A plugin that does what it must not.

    Attributes:
        name: Name of its file.
        text: The file.
        reason: A part of the sentence that must say why it is left out, or why its run has failed; empty if it is
            harmless and must come in.
        trains: Whether it is found out only while it trains.
        files: More files of a package; then `text` is its ``__init__.py``.
    """

    name: str
    text: str
    reason: str
    trains: bool = False
    files: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put it into a plugin folder."""
        if not self.files:
            (folder / f"{self.name}.py").write_text(self.text, encoding="utf-8")
            return
        for name, text in {"__init__.py": self.text, **self.files}.items():
            path = folder / self.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def strategy(name: str, *, first: str = "", build: str = "pass", step: str = "return None") -> str:
    """Write a plugin that brings a strategy, a good one unless more is said.

    Args:
        name: Name of the strategy.
        first: What the plugin does when it is imported.
        build: What the strategy does when the model is built.
        step: What it does at each step.
    """
    return _HEAD + first + _STRATEGY.replace("@NAME@", repr(name)).replace("@BUILD@", build).replace("@STEP@", step)


def _at_import(name: str, first: str, reason: str) -> BadPlugin:
    return BadPlugin(name, strategy(name, first=f"\n{first}\n"), reason)


def _registers(name: str, hook: str, body: str, reason: str) -> BadPlugin:
    return BadPlugin(name, f"{_HEAD}\n\n@hookimpl\ndef register_{hook}():\n    {body}\n", reason)


def _with(name: str, change: tuple[str, str], reason: str) -> BadPlugin:
    return BadPlugin(name, strategy(name).replace(*change), reason)


_BACKWARD = """import torch

        class Broken(torch.autograd.Function):
            @staticmethod
            def forward(context, value):
                return value.clone()

            @staticmethod
            def backward(context, gradient):
                raise RuntimeError("boom in backward")

        learning = next(one for one in model.parameters() if one.requires_grad)
        return Broken.apply(learning).sum()"""
_FORWARD = """def fail(*_):
            raise RuntimeError("boom in forward")

        model.head.register_forward_pre_hook(fail)"""
_SEGFAULT = "import ctypes; ctypes.string_at(0)"
_TITLE = 'name, title, description = {0!r}, "Head", "Trains the head."'

BAD_PLUGINS: tuple[BadPlugin, ...] = (
    _at_import("raises_at_import", "raise ValueError('boom')", "ValueError: boom"),
    _at_import("loops_at_import", "while True: pass", "does not come to an end"),
    _at_import("sleeps_at_import", "import time; time.sleep(3600)", "does not come to an end"),
    _at_import("segfault_at_import", _SEGFAULT, "crashes the program"),
    _at_import("leaves_at_import", "import os; os._exit(0)", "ends the program"),
    _at_import("exits_at_import", "import sys; sys.exit(3)", "SystemExit: 3"),
    _at_import("kills_itself", "import os; os.kill(os.getpid(), 9)", "the program"),
    _at_import("ten_gigabytes", "data = b'x' * (10 * 2**30)", "more memory"),
    _at_import("recurses", "def f(): return f()\nf()", "RecursionError"),
    BadPlugin("syntax_error", "def broken(:\n", "SyntaxError"),
    BadPlugin("null_bytes", "x = 1\0\n", "null bytes"),
    _registers("raises_at_register", "strategies", "raise OSError('no disk')", "OSError: no disk"),
    _registers("no_list", "backbones", "return 3", "must return a list"),
    _registers("none", "strategies", "return [None]", "is no backbone"),
    _registers("no_component", "task_heads", "return [object()]", "is no backbone"),
    _registers("unknown_hook", "everything", "return []", "register_everything"),
    _with("class_itself", ("return [Head()]", "return [Head]"), "is a class"),
    _with("next_major", (f'TLSTUDIO_API = "{API_VERSION}"', 'TLSTUDIO_API = "2.0"'), "plugin interface 2.0"),
    _with("no_version", (f'TLSTUDIO_API = "{API_VERSION}"', ""), "which plugin interface"),
    _with("newer_minor", (f'TLSTUDIO_API = "{API_VERSION}"', 'TLSTUDIO_API = "1.99"'), "plugin interface 1.99"),
    _with("odd_version", (f'TLSTUDIO_API = "{API_VERSION}"', 'TLSTUDIO_API = "new"'), "is not of the form"),
    BadPlugin("taken_name", strategy("full"), "'full' is taken by the plugin 'strategies'"),
    BadPlugin("takes_the_good_ones_name", strategy("good"), "'good' is taken by the plugin 'a_good_one'"),
    BadPlugin("vision", strategy("other_vision"), "The plugin name 'vision' is taken"),
    _at_import("patches_torch", "import torch\ntorch.nn.Linear.forward = lambda *_: None", "replaces Linear.forward"),
    _at_import("replaces_open", "import builtins\nbuiltins.open = None", "replaces open"),
    _at_import("replaces_streams", "import io, sys\nsys.stdout = sys.stderr = io.StringIO()", "replaces sys.stdout"),
    _at_import("replaces_hook", "import sys\nsys.excepthook = lambda *_: None", "replaces sys.excepthook"),
    _at_import("changes_folder", "import os, tempfile\nos.chdir(tempfile.gettempdir())", "the working directory"),
    _at_import(
        "handles_signals", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)", "handles the signal SIGTERM"
    ),
    _at_import(
        "starts_a_thread",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()",
        "starts a thread",
    ),
    _at_import("prints", "import os\nprint('{\"spoiled\": true}')\nos.write(1, b'{\"spoiled\": true}\\n')", ""),
    _with(
        "no_options",
        ("    def prepare", "    Options = dict\n\n    def prepare"),
        "no subclass of tlstudio.api.Options",
    ),
    _with("no_text", ('"Head", "Trains', '7, "Trains'), "has no title"),
    _with("long_name", ("= 'long_name'", "= 'x' * 500_000"), "500,000 characters"),
    _with("long_text", ('"Trains the head."', "'\\U0001f98a' * 500_000"), "500,000 characters"),
    _with("turned_name", ('"Head"', "'\\u202edaeH'"), "has the character '\\u202e'"),
    _with("emoji", ('"Head"', "'\\U0001f98a \\u05e8\\u05d0\\u05e9'"), ""),
    BadPlugin(
        "missing_library",
        "from .inside import Head\n",
        "ModuleNotFoundError",
        files={"inside.py": "import a_library_that_nobody_has\n"},
    ),
    BadPlugin(
        "raises_at_build", strategy("raises_at_build", build="raise RuntimeError('boom in build')"), "boom", trains=True
    ),
    BadPlugin("raises_in_forward", strategy("raises_in_forward", build=_FORWARD), "boom in forward", trains=True),
    BadPlugin("raises_in_backward", strategy("raises_in_backward", step=_BACKWARD), "boom in backward", trains=True),
    BadPlugin("segfault_in_training", strategy("segfault_in_training", step=_SEGFAULT), "SIGSEGV", trains=True),
)
GOOD_NAME = "a_good_one"
"""File of the good plugin; first in the alphabet, so that its names are its own."""
