"""A model that answers questions one after the other, whoever asks them from whatever thread."""

from __future__ import annotations

import contextlib
import json
import queue
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tlstudio import __version__
from tlstudio.api import DataError, Modality, Prediction, Rejected, RunError, Sample, TLStudioError
from tlstudio.api.files import read_text
from tlstudio.cli.prediction import predictions_json
from tlstudio.cli.web_requests import Question, RequestError
from tlstudio.engine.predict import Predictor
from tlstudio.store.run import Run

UPLOAD = "The upload"
"""Name of the file that an image or recording becomes: sentences about it begin with it."""
_WAKE_SECONDS = 0.2  # on Windows, a wait is not interrupted by Ctrl+C


class ServedModel:
    """A model and the questions that wait for it.

    They are answered in the one thread that calls `work`, so that the model is never used twice at a time and nothing
    but waiting for clients goes on in the others when the program ends.

    Args:
        predictor: The model.
        facts: What it is; see `model_facts`.
        folder: A folder of its own. Preprocessors open files by path, so the one that is looked at lies there, for
            as long as that takes.
    """

    def __init__(self, predictor: Predictor, facts: dict[str, Any], folder: Path) -> None:
        self.facts = facts
        self._predictor = predictor
        self._upload = folder / UPLOAD
        self._closed = False
        self._waiting: queue.Queue[tuple[Question, Future[dict[str, Any]]]] = queue.Queue()

    @property
    def modality(self) -> Modality:
        """What it takes."""
        return self._predictor.modality

    def ask(self, question: Question) -> dict[str, Any]:
        """Wait for the answer, in the form of ``tlstudio predict --json``.

        Raises:
            RequestError: What was sent cannot be read, or the program is ending.
        """
        if self._closed:
            raise _ending()
        answer: Future[dict[str, Any]] = Future()
        self._waiting.put((question, answer))
        return answer.result()

    def work(self) -> None:
        """Answer questions until this thread is interrupted."""
        while True:
            with contextlib.suppress(queue.Empty):
                self._answer(*self._waiting.get(timeout=_WAKE_SECONDS))

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()[1].set_exception(_ending())

    def _answer(self, question: Question, answer: Future[dict[str, Any]]) -> None:
        try:
            answer.set_result(self._predict(question))
        except TLStudioError as error:
            sentence = str(error).replace(str(self._upload), UPLOAD)
            answer.set_exception(RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, sentence))
        except Exception as error:  # noqa: BLE001  raised again where it was asked
            answer.set_exception(error)
        except BaseException:
            answer.set_exception(_ending())
            raise

    def _predict(self, question: Question) -> dict[str, Any]:
        if question.file is None:
            numbered = enumerate(question.texts, start=1)
            samples = [Sample(id=str(number), text=text, pair=pair) for number, (text, pair) in numbered]
        else:
            self._write(question.file)
            heard = self.modality == "audio"
            image, audio = (None, self._upload) if heard else (self._upload, None)
            samples = [Sample(id=self.modality, image=image, audio=audio, source=UPLOAD)]
        done: list[tuple[Sample, Prediction]] = []
        rejected: list[Rejected] = []
        try:
            for sample, prediction in self._predictor.predict(samples):
                if isinstance(prediction, Rejected):
                    rejected.append(prediction)
                else:
                    done.append((sample, prediction))
        finally:
            self._upload.unlink(missing_ok=True)
        if not done:
            first = rejected[0]
            of_file = question.file is not None and first.reason.startswith("It ")
            raise DataError(f"{UPLOAD}{first.reason[2:]}" if of_file else first.reason, first.remedy)
        return predictions_json(done, rejected, top=question.top)

    def _write(self, content: bytes) -> None:
        try:
            self._upload.write_bytes(content)
        except OSError as error:
            self._upload.unlink(missing_ok=True)
            raise RequestError(
                HTTPStatus.INSUFFICIENT_STORAGE,
                f"The machine has no room for the file while it is looked at: {error.strerror}.",
            ) from error


def _ending() -> RequestError:
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "The server is ending.")


def model_facts(predictor: Predictor, run: Run | None, folder: Path) -> dict[str, Any]:
    """Say what a model is, as its run or its export tells it.

    Args:
        predictor: The model.
        run: The run that it is of; `None` for an exported model.
        folder: The folder of the exported model.

    Raises:
        RunError: What should tell it is damaged.
    """
    try:
        said = json.loads(read_text(folder / "config.json")) if run is None else run.read_recipe()
        return {
            "task": predictor.task,
            "modality": predictor.modality,
            "classes": predictor.classes,
            "pairs": predictor.pairs,
            "run": said["run"] if run is None else run.id,
            "dataset": said["dataset"]["name"],
            **{kind: said[kind]["name"] for kind in ("backbone", "head", "strategy")},
            "metrics": said["metrics"] if run is None else run.metrics(),
            "version": __version__,
        }
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise RunError(f"What is written about the model in {folder} is damaged.", path=folder) from error
