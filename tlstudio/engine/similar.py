"""What in a data set is most like a sample: nearest neighbours among the features of a backbone.

Needs no training: the features of a pretrained backbone put alike things near each other. Those of a run put near what
is alike for its task. Near is what has the highest cosine similarity, as is usual for embeddings of images and
sentences (Reimers & Gurevych 2019, arXiv:1908.10084).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from tlstudio.api import (
    NAMED,
    Backbone,
    DataError,
    Label,
    Modality,
    Options,
    Preprocessor,
    Rejected,
    RunError,
    Sample,
    Split,
    WeightsInfo,
    label_names,
)
from tlstudio.api.nn import BackboneModule
from tlstudio.data.revision import Revision
from tlstudio.engine.assemble import load_merged_model
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.feature_cache import CACHE_FOLDER, cache_path, compute_features, load_features, mark_used
from tlstudio.engine.random_state import random_state_aside
from tlstudio.engine.used_data import revision_of
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An item that is like another.

    Attributes:
        index: Its row in the revision.
        id: Its id.
        label: Its label.
        split: Its split.
        similarity: Cosine of the angle between the features of the two, in -1..1.
    """

    index: int
    id: str
    label: Label
    split: Split
    similarity: float


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """How often what is near is alike.

    Attributes:
        hits: Share of the test items that share a class with at least one of their nearest training items, in 0..1.
        precision: Share of the nearest training items that share a class with the test item, in 0..1.
        items: Number of test items.
        k: How many neighbours were looked at.
    """

    hits: float
    precision: float
    items: int
    k: int


class SimilarItems:
    """Searches the items of a revision.

    Args:
        revision: The items, N of them.
        features: Their pooled features, ``[N, D]``.
        backbone: Computes those of other samples.
        preprocessor: Prepares other samples.
        modality: What the backbone takes.
        title: For people: whose features these are.
    """

    def __init__(
        self,
        revision: Revision,
        features: np.ndarray,
        backbone: BackboneModule,
        preprocessor: Preprocessor,
        *,
        modality: Modality,
        title: str,
    ) -> None:
        self.revision = revision
        self.modality = modality
        self.title = title
        self._features = features
        self._backbone = backbone.eval()
        self._preprocessor = preprocessor
        self._nearest = NearestNeighbors(metric="cosine", algorithm="brute").fit(features)

    @classmethod
    def of_run(
        cls,
        run: Run,
        project: Project,
        registry: Registry,
        *,
        device: str = "auto",
        on_progress: OnProgress = lambda _done, _total: None,
    ) -> SimilarItems:
        """Search the data of a run with its trained backbone.

        Args:
            run: The run.
            project: Its project; features are kept in its cache if it is open for writing.
            registry: The components.
            device: Where features are computed: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
            on_progress: Called with samples done and their number; may end it by an exception.

        Raises:
            RunError: The run has no model, or a plugin is gone.
            DataError: Its data set is gone or damaged.
        """
        revision = revision_of(run, project)
        parts, model = load_merged_model(run, registry)
        backbone = model.backbone
        if not isinstance(backbone, BackboneModule):
            raise RunError(f"The backbone of run {run.id} cannot be taken out of its model.", "Choose another run.")
        preprocessor = parts.backbone.preprocessor(parts.backbone_options, assets=run.assets)
        weights = WeightsInfo(run.folder / "checkpoints" / "best" / "model.safetensors", f"run {run.id}")
        place = (parts.backbone, parts.backbone_options, weights)
        return cls._made(project, revision, backbone, preprocessor, place, run.id, device, on_progress)

    @classmethod
    def of_backbone(
        cls,
        backbone: Backbone,
        options: Options,
        revision: Revision,
        project: Project,
        *,
        device: str = "auto",
        on_progress: OnProgress = lambda _done, _total: None,
    ) -> SimilarItems:
        """Search a data set with a pretrained backbone as it is; see `of_run`.

        Raises:
            DataError: The backbone does not take what the data set holds.
            WeightsError: Its weights are missing or damaged.
        """
        if backbone.modality != revision.modality:
            raise DataError(
                f"{backbone.title} does not take what '{revision.dataset}' holds.",
                "Choose another backbone.",
                field="backbone.name",
            )
        backbone = backbone.fit(options, revision.samples(revision.indices("train")))
        place = (backbone, options, backbone.find_weights(options))
        with random_state_aside():
            torch.manual_seed(0)  # where weights are random, they are the same as those of kept features
            module = backbone.load(options)
        preprocessor = backbone.preprocessor(options)
        return cls._made(project, revision, module, preprocessor, place, backbone.name, device, on_progress)

    @classmethod
    def _made(
        cls,
        project: Project,
        revision: Revision,
        module: BackboneModule,
        preprocessor: Preprocessor,
        place: tuple[Backbone, Options, WeightsInfo],
        title: str,
        device: str,
        on_progress: OnProgress,
    ) -> SimilarItems:
        module.wanted = "pooled"
        with contextlib.ExitStack() as stack:
            path = cache_path(project.folder / CACHE_FOLDER, revision, *place, preprocessor, 0)
            features = load_features(path, len(revision), module.num_features)
            if features is None:
                if not project.writable:
                    path = (
                        Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tlstudio-features-"))) / path.name
                    )
                where = torch.device(resolve_device(device))
                features = compute_features(
                    path,
                    revision,
                    module,
                    preprocessor,
                    device=where,
                    batch_size=16 if where.type == "cpu" else 128,  # small ones suit a CPU
                    num_workers=0,
                    on_progress=on_progress,
                )
            elif project.writable:
                mark_used(path)
            # Read whole: a cache may be cleared, or its disk pulled, at any time.
            values = np.array(features)
            del features  # or Windows keeps the folder
        modality = place[0].modality
        return cls(revision, values, module.cpu(), preprocessor, modality=modality, title=title)

    def nearest(
        self, samples: Iterable[Sample], k: int = 10
    ) -> Iterator[tuple[Sample, tuple[Neighbour, ...] | Rejected]]:
        """Find what is most like each sample, the most alike first; one that cannot be read gives a `Rejected`.

        Args:
            samples: The samples.
            k: How many neighbours; all there are if there are fewer.
        """
        for sample in samples:
            try:
                inputs = self._preprocessor.collate([self._preprocessor(sample)])
            except DataError as error:
                yield sample, Rejected.because(sample.source or sample.id, error)
                continue
            with torch.inference_mode():
                features = self._backbone(inputs).require("pooled").float().numpy()
            yield sample, self._near(features, k)

    def like(self, index: int, k: int = 10) -> tuple[Neighbour, ...]:
        """Find what is most like an item of the revision, which is left out itself."""
        found = self._near(self._features[index : index + 1], k + 1)
        return tuple(each for each in found if each.index != index)[:k]

    def measure(self, k: int = 10) -> RetrievalReport:
        """Look for each test item among the training items.

        Raises:
            DataError: The labels name no classes, or there is nothing in one of the two splits.
        """
        train, test = self.revision.indices("train"), self.revision.indices("test")
        if self.revision.label_kind not in NAMED or not len(train) or not len(test):
            raise DataError(
                f"How well the items of '{self.revision.dataset}' are found cannot be measured.",
                "It takes classes, and items in train and test.",
            )
        k = min(k, len(train))
        searched = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(self._features[train])
        found = searched.kneighbors(self._features[test], return_distance=False)
        names = [set(label_names(label)) for label in self.revision.labels(train)]
        wanted = [set(label_names(label)) for label in self.revision.labels(test)]
        alike = np.array([[bool(names[n] & own) for n in row] for row, own in zip(found, wanted, strict=True)])
        return RetrievalReport(float(alike.any(axis=1).mean()), float(alike.mean()), len(test), k)

    def _near(self, features: np.ndarray, k: int) -> tuple[Neighbour, ...]:
        distances, rows = self._nearest.kneighbors(features, n_neighbors=min(k, len(self.revision)))
        indices = rows[0].astype(np.int64)
        found = self.revision.samples(indices)
        return tuple(
            Neighbour(int(index), sample.id, sample.label, sample.split or "train", 1.0 - float(distance))
            for index, distance, sample in zip(indices, distances[0], found, strict=True)
        )
