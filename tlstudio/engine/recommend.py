"""What somebody will like best: every item of a data set, and others, scored for a user by the model of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlstudio.api import DataError, Features, Rejected, RunError, Sample, TLStudioError
from tlstudio.api.nn import TransferModel
from tlstudio.data.planning import suggest_options
from tlstudio.data.revision import Revision
from tlstudio.engine.assemble import load_run_model, preprocessor_of
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.used_data import revision_of
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

_BATCH = 32
_AT_ONCE = 1 << 16  # scores


@dataclass(frozen=True, slots=True)
class Recommended:
    """An item for a user.

    Attributes:
        sample: The item.
        value: What the model says of it: a rating, or a probability.
        rated: Whether anybody has rated it in the data set.
    """

    sample: Sample
    value: float
    rated: bool


@dataclass(frozen=True, slots=True)
class RankingReport:
    """How well what users like in the test split is found among all items.

    Attributes:
        hit_rate: Share of users with at least one such item among their first k.
        ndcg: Mean NDCG of their first k.
        users: Users who like something in the test split.
        items: Items that are ranked.
        k: Items for each.
    """

    hit_rate: float
    ndcg: float
    users: int
    items: int
    k: int


class Recommender:
    """Scores items for users.

    Args:
        model: The model.
        revision: The data that it was trained on.
        items: The items: samples without user.
        features: Their pooled features, ``[I, D]``.
        rated: Names of those that somebody has rated.
        title: For people: which model it is.
    """

    def __init__(
        self,
        model: TransferModel,
        revision: Revision,
        items: Sequence[Sample],
        features: Tensor,
        rated: set[str],
        title: str,
    ) -> None:
        self.revision = revision
        self.title = title
        self.items = items
        self._head = model.head
        self._encoder = model.head.encoder()
        self._features = features
        self._rated = rated
        self._row = {item.item: row for row, item in enumerate(items)}

    @classmethod
    def of_run(
        cls,
        run: Run,
        project: Project,
        registry: Registry,
        more: Sequence[Sample] = (),
        *,
        device: str = "auto",
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Recommender:
        """Score the items of a run's data set, and more, with its model.

        Args:
            run: The run.
            project: Its project.
            registry: The components.
            more: Items that are not in the data set; those that are do not count twice.
            device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
            on_progress: Called with items done and their number.

        Raises:
            RunError: The run was not trained to recommend, or has no model.
            DataError: Its data set is gone, or an item cannot be read.
        """
        revision = revision_of(run, project)
        if revision.task != "recommendation":
            what = f"Run {run.id} was not trained to recommend: '{revision.dataset}' is for {revision.task}."
            raise RunError(what, "Choose a run on ratings.", path=run.folder)
        parts, model = load_run_model(run, registry)
        names = np.asarray(revision.table.column("item").to_pylist(), dtype=str)
        first = np.sort(np.unique(names, return_index=True)[1]).astype(np.int64)
        items = [_item(sample) for sample in revision.samples(first)]
        rated = {str(item.item) for item in items}
        items += [_item(sample) for sample in more if (sample.item or sample.id) not in rated]
        where = torch.device(resolve_device(device))
        preprocessor = preprocessor_of(parts, assets=run.assets)
        rows = []
        model.to(where).eval()
        source = iter(items)
        with torch.inference_mode():
            while chunk := list(islice(source, _BATCH)):
                inputs = preprocessor.collate([preprocessor(sample) for sample in chunk])
                found: Features = model.backbone({name: tensor.to(where) for name, tensor in inputs.items()})
                rows.append(found.require(parts.head.requires).float().cpu())
                on_progress(len(rows) * _BATCH, len(items))
        return cls(model.cpu(), revision, items, torch.cat(rows), rated, run.id)

    def knows(self, user: str) -> bool:
        """Whether the user has rated something that was learned from."""
        return user in self._head.target.users

    def best(self, user: str, k: int = 10) -> tuple[Recommended, ...]:
        """Return what a user will like best of what they have not rated, the best first.

        Args:
            user: The user; to one who is not known goes what most people like.
            k: How many; all there are if there are fewer.
        """
        output = self._output(user)
        values = [float(str(one.value)) for one in self._head.decode(output)]
        own = self._own(user, ("train", "validation", "test"))
        ranked = [row for row in output[:, 0].argsort(descending=True).tolist() if row not in own]
        return tuple(
            Recommended(self.items[row], values[row], self.items[row].item in self._rated) for row in ranked[:k]
        )

    def measure(self, k: int = 10) -> RankingReport:
        """Rank all items for each user of the test split, those aside that they have rated in the other splits.

        What a user likes is what he has chosen, or has rated above the mean of the ratings that were learned from.

        Raises:
            DataError: Nobody likes anything in the test split.
        """
        target = self._head.target
        above = 0.5 if target.binary else target.mean
        liked: dict[str, set[int]] = {}
        for sample in self.revision.samples(self.revision.indices("test")):
            if sample.user is not None and isinstance(sample.label, float) and sample.label > above:
                liked.setdefault(sample.user, set()).add(self._row[sample.item])
        if not liked:
            raise DataError(
                f"How well '{self.revision.dataset}' is recommended cannot be measured: the test split has nothing "
                "that somebody likes.",
                "Import it with a larger share for test.",
            )
        hits, gains = [], []
        discounts = 1.0 / np.log2(np.arange(2, k + 2))
        for user, wanted in liked.items():
            seen = self._own(user, ("train", "validation")) - wanted
            ranked = (row for row in self._output(user)[:, 0].argsort(descending=True).tolist() if row not in seen)
            found = np.array([row in wanted for row in islice(ranked, k)])
            hits.append(bool(found.any()))
            gains.append(float(discounts[: len(found)][found].sum() / discounts[: len(wanted)].sum()))
        return RankingReport(float(np.mean(hits)), float(np.mean(gains)), len(liked), len(self.items), k)

    def _output(self, user: str) -> Tensor:
        with torch.inference_mode():
            context = self._encoder.context([replace(self.items[0], user=user)])
            rows = []
            for part in self._features.split(_AT_ONCE):
                who = None if context is None else context.expand(len(part), *context.shape[1:])
                rows.append(self._head(Features(pooled=part, context=who)))
            return torch.cat(rows)

    def _own(self, user: str, splits: Sequence[str]) -> set[int]:
        """Rows of the items that a user has rated or chosen in some splits."""
        return {row for split, row in self._by_user.get(user, ()) if split in splits}

    @cached_property
    def _by_user(self) -> dict[str, list[tuple[str, int]]]:
        """Split and row of each item that a user has rated or chosen; what was drawn as not chosen may be liked."""
        columns = ("user", "item", "split", "value")
        cells = (self.revision.table.column(name).to_pylist() for name in columns)
        found: dict[str, list[tuple[str, int]]] = {}
        for user, item, split, value in zip(*cells, strict=True):
            if user is not None and not (self._head.target.binary and value == 0.0):
                found.setdefault(user, []).append((split, self._row[item]))
        return found


def items_of(source: Path, revision: Revision, registry: Registry) -> Iterator[Sample | Rejected]:
    """Read a table of items as the format of a data set of ratings reads it, whoever has rated them.

    Args:
        source: The table.
        revision: The data set.
        registry: The formats.

    Raises:
        DataError: It is none, or lacks a column.
    """
    chosen = registry.format(revision.format)
    known = dict(revision.format_options)
    kept = ("text_column", "image_column", "image_folder")
    columns: dict[str, Any] = {name: known[name] for name in kept if name in known}
    given: dict[str, Any] = {**(chosen.without_labels() or {}), **columns}
    given |= {"user_column": "", "time_column": "", "items_table": ""}
    given["item_column"] = known.get("item_name_column") or known.get("item_column", "")
    options, _ = suggest_options(chosen, source, given)
    yield from chosen.read(source, options, "recommendation")


def listed_items(revision: Revision, registry: Registry) -> list[Sample]:
    """Return the items of the table that a data set of ratings was imported with, if it is still there."""
    name = str(revision.format_options.get("items_table", ""))
    source = Path(revision.source).parent / name
    if not name or not source.is_file():
        return []
    try:
        return [item for item in items_of(source, revision, registry) if isinstance(item, Sample)]
    except TLStudioError:
        return []  # it has changed; the data set has all that is needed


def _item(sample: Sample) -> Sample:
    return replace(sample, id=sample.item or sample.id, item=sample.item or sample.id, user=None, label=None)
