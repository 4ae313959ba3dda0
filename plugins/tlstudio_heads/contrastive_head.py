"""Learning from two views of each item, without labels. Light: torch is imported when a head is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlstudio import api
from tlstudio.api import FeatureKind, FeatureShape, Options, Situation, TargetInfo, Task, TaskHead, option
from tlstudio_heads.common import as_options, must_be

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["Contrastive", "ContrastiveOptions"]


class ContrastiveOptions(Options):
    """Options of the contrastive head."""

    temperature: float = option(
        0.1,
        title="Temperature",
        help="What similarities are divided by: the smaller, the more the most similar of the other items count.",
        gt=0,
        le=10,
    )
    dimensions: int = option(
        128, title="Dimensions", help="Numbers in which views are compared.", ge=2, le=4096, advanced=True
    )
    hidden: int = option(
        0,
        title="Hidden layer",
        help="Width of the layer between features and what is compared; 0: that of the features.",
        ge=0,
        le=16_384,
        advanced=True,
    )


class Contrastive(TaskHead):
    """SimCLR (Chen, Kornblith, Norouzi and Hinton 2020, arXiv:2002.05709)."""

    name = "contrastive"
    title = "Contrast of two views (SimCLR)"
    description = (
        "Learns features without labels: two views of one item, cut out and coloured differently, are to be more alike "
        "than views of others. A run on labelled items then starts from it. The larger the batch and the more epochs, "
        "the better. Views of rows, which are not varied, differ by dropout alone (as in SimCSE)."
    )
    source = "Chen et al. 2020, arXiv:2002.05709; Gao et al. 2021, arXiv:2104.08821"
    task: Task = "pretraining"
    requires: FeatureKind = "pooled"
    views = 2
    Options = ContrastiveOptions

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend many epochs of large batches, strongly varied; see `TaskHead`."""
        rate = {} if situation.modality == "text" else {"learning_rate": 1e-3}
        kinds = {"text": "strong", "table": "none"}  # what there is for them
        size = max(8, min(256 if situation.on_gpu else 64, situation.num_train // 2))
        varied = kinds.get(situation.modality, "contrastive")
        return {"augmentation": varied, "batch_size": size, "epochs": 100, "keep": "last", **rate}

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.contrastive_module import ContrastiveModule

        chosen = as_options(ContrastiveOptions, options)
        must_be(self, target)
        return ContrastiveModule(
            features.num_features,
            target,
            hidden=chosen.hidden or features.num_features,
            dimensions=chosen.dimensions,
            temperature=chosen.temperature,
        )
