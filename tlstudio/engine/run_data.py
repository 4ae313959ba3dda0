"""The samples of a run: read and prepared, or as features that were computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from tlstudio.api import Preprocessor, Split
from tlstudio.api.nn import HeadModule
from tlstudio.data.revision import Revision
from tlstudio.engine.assemble import sample_source, split_data
from tlstudio.engine.datasets import PreparedView
from tlstudio.engine.loading import EpochSampler, Patience, Stream, TrainLoader, steps_in_epoch
from tlstudio.engine.measuring import SplitData
from tlstudio.engine.recipe import TrainingOptions


@dataclass(frozen=True, slots=True)
class RunData:
    """What a run learns from and is measured on.

    Attributes:
        revision: The data.
        head: Encodes the labels.
        preprocessor: Prepares the samples.
        options: How the run trains.
        features: Cached features of the whole revision, ``[len(revision), D]``; then nothing is read.
        patience: Waits where the disk of the data is gone.
    """

    revision: Revision
    head: HeadModule
    preprocessor: Preprocessor
    options: TrainingOptions
    features: np.ndarray | None
    patience: Patience

    @property
    def indices(self) -> np.ndarray:
        """Rows of the samples to learn from."""
        return self.revision.indices("train")

    @property
    def steps(self) -> int:
        """Steps of the optimizer in all epochs."""
        return self.options.epochs * steps_in_epoch(len(self.indices), self.options)

    def split(self, name: Split) -> SplitData:
        """Make what a split is measured with."""
        return split_data(
            self.revision,
            name,
            self.head,
            self.preprocessor,
            batch_size=self.options.batch_size,
            num_workers=self.options.num_workers,
            features=self.features,
            patience=self.patience,
            # A batch of one class would tell statistics of layers nothing of the others.
            seed=self.options.seed if name == "train" else None,
        )

    def train(self, views: Mapping[str, PreparedView], streams: Mapping[str, Stream]) -> TrainLoader:
        """Make what brings the batches to learn from.

        Args:
            views: Other ways in which each sample is prepared as well, by name.
            streams: Other samples that come with each batch, by name.
        """
        source, lengths = sample_source(
            self.revision,
            self.indices,
            self.head,
            self.preprocessor,
            seed=self.options.seed,
            features=self.features,
            views=views,
        )
        return TrainLoader(
            source,
            EpochSampler(lengths, self.options.batch_size, self.options.seed),
            num_workers=self.options.num_workers,
            patience=self.patience,
            streams=streams,
        )

    def train_ids(self, positions: Tensor) -> list[str]:
        """Ids of samples at positions among those to learn from."""
        return self.revision.ids(self.indices[positions.numpy()])
