"""Active learning: which unlabelled items a person should label next, by what a finished run makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from tlstudio.api import DataError, Label, Preprocessor, Rejected, RunError, Sample, label_text
from tlstudio.api.features import Features
from tlstudio.api.nn import HeadModule, TransferModel, with_context
from tlstudio.api.wording import did_you_mean
from tlstudio.data.fingerprint import file_hash
from tlstudio.data.names import plain_text
from tlstudio.data.prepare import content_hash
from tlstudio.data.revision import Revision
from tlstudio.data.unlabelled import samples_in
from tlstudio.engine.active_selection import badge, highest, k_center, uncertainty
from tlstudio.engine.assemble import load_run_model, preprocessor_of
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.recipe import learned_from, parse_recipe
from tlstudio.engine.used_data import revision_of
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

__all__ = ["CHOOSERS", "Candidate", "Chooser", "Pool", "Suggestion", "next_to_label", "open_pool"]

Chooser = Literal["badge", "margin", "confidence", "entropy", "k_center", "random"]
CHOOSERS: tuple[Chooser, ...] = get_args(Chooser)
"""How items can be chosen: unsure ones that differ (badge); those of which the model is least sure, by the lead of the
likeliest class, its probability or the entropy; those farthest from all that is labelled; any."""

OnProgress = Callable[[int, int], None]
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Pool:
    """Unlabelled items.

    Attributes:
        name: What finds them again: ``"photos@r1"`` or an absolute path.
        samples: The items; what cannot be read is `Rejected`.
    """

    name: str
    samples: tuple[Sample | Rejected, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that should be labelled.

    Attributes:
        sample: The item, without a label.
        pool: Name of the pool that it is in.
        predicted: What the run says of it.
        confidence: How sure it is, in 0..1; `None` where it does not say.
        score: By what it was chosen: more is more wanted, within one way to choose.
        why: The same in words.
    """

    sample: Sample
    pool: str
    predicted: Label
    confidence: float | None
    score: float
    why: str

    @property
    def id(self) -> str:
        """Id of the item in its pool."""
        return self.sample.id


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to label next.

    Attributes:
        candidates: The items, the most wanted first.
        searched: How many items were looked at.
        known: How many were left out, as the data of the run has them already.
        rejected: Items that could not be read.
    """

    candidates: tuple[Candidate, ...]
    searched: int
    known: int
    rejected: tuple[Rejected, ...]


def open_pool(project: Project, registry: Registry, pool: str, like: Revision) -> Pool:
    """Find unlabelled items.

    Args:
        project: The project.
        registry: The formats.
        pool: Name of a data set, with ``@r2`` behind it for a revision that is not the latest, or a path. Labels that
            the items may have are not looked at.
        like: Data of the same kind.

    Raises:
        DataError: There is nothing of this name, or nothing of the kind of data.
    """
    name, _, wanted = pool.partition("@")
    if name in project.datasets():
        revision = project.dataset(name, wanted)
        if revision.modality != like.modality:
            raise DataError(f"'{name}' holds other data than '{like.dataset}'.", "Choose another pool.", field="pool")
        rows = np.arange(len(revision))
        samples = (replace(sample, label=None) for sample in revision.samples(rows))
        return Pool(revision.reference, tuple(samples))
    path = Path(pool)
    if not path.exists():
        near = did_you_mean(name, project.datasets(), "Data sets")
        raise DataError(f"'{pool}' is neither a data set of this project nor a path.", near, field="pool")
    found = samples_in(path, registry.formats.values(), like.modality, task=like.task)
    return Pool(str(path.absolute()), tuple(found))


def next_to_label(
    run: Run,
    pool: Pool | str,
    project: Project,
    registry: Registry,
    *,
    by: Chooser = "badge",
    count: int = 20,
    seed: int = 0,
    device: str = "auto",
    on_progress: OnProgress = lambda _done, _total: None,
) -> Suggestion:
    """Choose items of a pool whose labels would teach the most.

    Args:
        run: A finished run, for classification, several labels or a number.
        pool: The unlabelled items; see `open_pool` for a name.
        project: Its project.
        registry: The components.
        by: How to choose; see `CHOOSERS`. Only ``"k_center"`` and ``"random"`` work for numbers.
        count: How many.
        seed: Of what is random in ``"badge"`` and ``"random"``.
        device: Where to compute.
        on_progress: Called with items done and their number; may end it by an exception.

    Raises:
        RunError: The run has no model, or does not say what `by` needs.
        DataError: There is nothing to label.
    """
    recipe = parse_recipe(run.read_recipe())
    revision = learned_from(recipe, revision_of(run, project))
    if isinstance(pool, str):
        pool = open_pool(project, registry, pool, revision)
    parts, model = load_run_model(run, registry)
    several = _check(run, model.head, by)
    known = {str(content) for content in revision.table.column("hash").to_pylist()}
    samples, rejected, left_out = _unknown(pool.samples, known)
    if not samples:
        reason = "all of its items are labelled already" if left_out else "nothing in it can be read"
        raise DataError(f"There is nothing to label in {pool.name}: {reason}.", "Choose another pool.", field="pool")
    look = _Look(model, preprocessor_of(parts, assets=run.assets), torch.device(resolve_device(device)))
    labelled = revision.indices("train") if by == "k_center" else np.empty(0, dtype=np.int64)
    total = len(samples) + len(labelled)
    seen = look.at(samples, lambda done: on_progress(done, total))
    rejected += seen.rejected
    if not seen.samples:
        raise DataError(f"Nothing in {pool.name} can be read: {rejected[0].reason}", rejected[0].remedy, field="pool")
    if by == "k_center":
        others = look.at(revision.samples(labelled), lambda done: on_progress(len(samples) + done, total))
        chosen, scores = k_center(seen.inputs, others.inputs, count)
    else:
        chosen, scores = _choose(seen, by, count, np.random.default_rng(seed), several=several)
    predictions = model.head.decode(torch.from_numpy(seen.outputs[chosen]))
    candidates = tuple(
        Candidate(
            seen.samples[position],
            pool.name,
            prediction.value,
            prediction.confidence,
            float(score),
            _why(by, prediction.scores, float(score)),
        )
        for position, score, prediction in zip(chosen.tolist(), scores.tolist(), predictions, strict=True)
    )
    return Suggestion(candidates, len(seen.samples), left_out, tuple(rejected))


@dataclass(frozen=True, slots=True)
class _Seen:
    """Items as the model sees them: outputs ``[N, K]`` and what the last layer takes, ``[N, D]``."""

    samples: list[Sample]
    outputs: np.ndarray
    inputs: np.ndarray
    rejected: list[Rejected]


class _Look:
    """Computes outputs, and what the last linear layer of the head takes."""

    def __init__(self, model: TransferModel, preprocessor: Preprocessor, device: torch.device) -> None:
        self._model = model.to(device).eval()
        self._preprocessor = preprocessor
        self._device = device
        self._encoder = model.head.encoder()

    def at(self, samples: Iterable[Sample], on_progress: Callable[[int], None]) -> _Seen:
        outputs: list[Tensor] = []
        inputs: list[Tensor] = []
        readable: list[Sample] = []
        rejected: list[Rejected] = []
        done = 0
        for chunk in _chunks(samples, _BATCH):
            prepared = []
            start = len(readable)
            for sample in chunk:
                try:
                    prepared.append(self._preprocessor(sample))
                    readable.append(sample)
                except DataError as error:
                    rejected.append(Rejected.because(sample.source or sample.id, error))
            if prepared:
                batch = with_context(self._preprocessor.collate(prepared), self._encoder, readable[start:])
                output, taken = self._computed({name: value.to(self._device) for name, value in batch.items()})
                outputs.append(output)
                inputs.append(taken)
            done += len(chunk)
            on_progress(done)
        if not readable:
            return _Seen([], np.empty((0, 0)), np.empty((0, 0)), rejected)
        return _Seen(readable, torch.cat(outputs).numpy(), torch.cat(inputs).numpy(), rejected)

    def _computed(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        taken: list[Tensor] = []
        layer = last_layer(self._model.head)

        def see(_module: nn.Module, given: tuple[object, ...]) -> None:
            first = given[0]
            found = first.pooled if isinstance(first, Features) else first
            if isinstance(found, Tensor):
                taken.append(found)

        hook = (layer if layer is not None else self._model.head).register_forward_pre_hook(see)
        try:
            with torch.inference_mode():
                output = self._model(batch)
        finally:
            hook.remove()
        if not taken or taken[-1].ndim != 2:
            raise RunError("The head of this run gives no features of an item as a whole.", "Choose another run.")
        return output.float().cpu(), taken[-1].float().cpu()


def last_layer(head: HeadModule) -> nn.Linear | None:
    """The linear layer that makes the outputs of a head, if it has one."""
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None


def _check(run: Run, head: HeadModule, by: Chooser) -> bool:
    """Make sure that a run says what is needed; returns whether each label is a yes or no of its own."""
    task = head.target.task
    if task not in ("classification", "multi_label", "regression"):
        what = f"Run {run.id} does not say of a whole item what it is."
        raise RunError(what, "Choose a run for classification, several labels or a number.")
    if task == "regression" and by not in ("k_center", "random"):
        remedy = "Choose by k_center or random."
        raise RunError(f"Run {run.id} predicts a number and does not say how sure it is.", remedy, field="by")
    layer = last_layer(head)
    if by == "badge" and (layer is None or layer.out_features != len(head.target.classes)):
        what = f"The outputs of run {run.id} do not come from a linear layer, whose gradient BADGE looks at."
        raise RunError(what, "Choose by margin.", field="by")
    return task == "multi_label"


def _unknown(items: Sequence[Sample | Rejected], known: set[str]) -> tuple[list[Sample], list[Rejected], int]:
    """Leave out what the data has already, and items of which there are several."""
    seen = set(known)
    samples: list[Sample] = []
    rejected: list[Rejected] = []
    left_out = 0
    for item in items:
        if isinstance(item, Rejected):
            rejected.append(item)
            continue
        try:
            path = item.image or item.audio
            plain = replace(item, text=plain_text(item.text)) if item.text is not None else item
            found = content_hash(plain, file_hash(path) if path is not None else "")
        except OSError as error:
            rejected.append(Rejected(item.source or item.id, f"The file cannot be read: {error.strerror}.", ""))
            continue
        if found in seen:
            left_out += 1
            continue
        seen.add(found)
        samples.append(item)
    return samples, rejected, left_out


def _choose(
    seen: _Seen, by: Chooser, count: int, rng: np.random.Generator, *, several: bool
) -> tuple[np.ndarray, np.ndarray]:
    if by == "random":
        chosen = rng.permutation(len(seen.samples))[:count]
        return chosen, np.zeros(len(chosen))
    outputs = torch.from_numpy(seen.outputs).double()
    probabilities = (outputs.sigmoid() if several else outputs.softmax(dim=1)).numpy()
    if by == "badge":
        return badge(probabilities, seen.inputs, count, rng, several=several)
    scores = uncertainty(probabilities, by, several=several)
    chosen = highest(scores, count)
    return chosen, scores[chosen]


def _why(by: Chooser, scores: Sequence[tuple[str, float]], score: float) -> str:
    """Say in words why an item was chosen."""
    likeliest = " or ".join(f"{label_text(name)} ({share:.0%})" for name, share in scores[:2])
    match by:
        case "badge":
            return f"Could be {likeliest}, and is unlike the others here."
        case "k_center":
            return f"Far from all that is labelled (distance {score:.3g})."
        case "random":
            return "Drawn at random."
        case "entropy":
            return f"Could be {likeliest}; entropy {score:.2f}."
    return f"Could be {likeliest}."


def _chunks(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    source = iter(samples)
    while chunk := list(itertools.islice(source, size)):
        yield chunk
