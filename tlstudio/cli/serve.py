"""``serve``: one model for the programs and the browser on this machine."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from tlstudio.cli.common import command
from tlstudio.cli.output import Output
from tlstudio.cli.prediction import load_model

if TYPE_CHECKING:
    from tlstudio.api import Modality
    from tlstudio.plugins import Registry

PORT = 8765


@command(
    "serve",
    example="tlstudio serve bird-model\n"
    "tlstudio serve birds latest --port 9000\n"
    "curl -H 'Content-Type: image/jpeg' --data-binary @new.jpg 'http://127.0.0.1:8765/predict?top=3'",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("run_id", metavar="[RUN]", default="")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Port; 0 takes one that is free."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
def serve(output: Output, *, model: Path, run_id: str, port: int, device: str) -> int:
    """Answer other programs and the browser on this machine with a model.

    MODEL is an exported folder or a project, RUN a run of the project: its id, latest or best (the default). Nobody
    can reach it from another machine. Ctrl+C ends it. With --json, the address is printed as soon as it listens.

    POST /predict takes an image or a recording as it is, or {"text": "..."} or {"texts": [...]}, and answers as
    predict --json does; ?top=K tells K classes. GET /model says what the model is, and / is a page to try it.
    """
    from tlstudio.cli.web_server import ModelServer

    with contextlib.closing(ModelServer(port)) as server:
        from tlstudio.cli.web_model import ServedModel, model_facts

        with load_model(output, model, run_id, device, _check_served, "as RUN") as (predictor, _registry, run):
            facts = model_facts(predictor, run, model)
        with until_stopped(), tempfile.TemporaryDirectory(prefix="tlstudio-serve-") as folder:
            served = ServedModel(predictor, facts, Path(folder))
            try:
                server.start(served)
                output.say(server.address, bold=True)
                output.hint("Open it in a browser, or send images, recordings or texts to /predict. Ctrl+C ends it.")
                output.result({"address": server.address, "port": server.port, **facts})
                served.work()
            finally:
                server.close()
                served.close()
    return 0


def _check_served(_registry: Registry, modality: Modality) -> None:
    """Refuse a model that takes what no request brings."""
    from tlstudio.api import MODALITIES, RunError

    brought = {"image+text": "one or the other", "table": "an image, a recording or texts"}.get(modality)
    if brought is not None:
        what = f"This model takes {MODALITIES[modality].items}, and a request brings {brought}."
        raise RunError(what, "Use it with: tlstudio predict.")


@contextlib.contextmanager
def until_stopped() -> Iterator[None]:
    """Leave the block at once on Ctrl+C or SIGTERM, as the way in which it is meant to end."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    ending = (signal.SIGINT, signal.SIGTERM)

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in ending:  # pressed twice, it would disturb the end
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in ending}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
