"""Finding again what was hidden, without labels. Light: torch is imported when a head is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlstudio import api
from tlstudio.api import FeatureKind, FeatureShape, Situation, TargetInfo, Task, TaskHead
from tlstudio_heads.common import must_be

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["MaskedLanguageModel", "MaskedValues"]


class MaskedLanguageModel(TaskHead):
    """Masked language modelling (Devlin et al. 2019, arXiv:1810.04805)."""

    name = "masked_language_model"
    title = "Masked language model"
    description = (
        "Learns a language or a subject from texts without labels: 15 % of the words are hidden, and are to be found. "
        "A run on labelled texts then starts from it (domain-adaptive pretraining, Gururangan et al. 2020)."
    )
    source = "Devlin et al. 2019, arXiv:1810.04805; Gururangan et al. 2020, arXiv:2004.10964"
    task: Task = "pretraining"
    requires: FeatureKind = "masked"

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend a rate for what is new beside what was pretrained; see `TaskHead`."""
        return {"learning_rate": 1e-4, "epochs": 10, "augmentation": "none"}

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.masked_modules import MaskedLanguageModule

        must_be(self, target)
        return MaskedLanguageModule(target)


class MaskedValues(TaskHead):
    """Restoring hidden columns of a row (Yoon et al. 2020, "VIME", NeurIPS; Somepalli et al. 2021, "SAINT")."""

    name = "masked_values"
    title = "Masked values of rows"
    description = (
        "Learns from rows without labels: 30 % of the columns of each are hidden, and are to be restored from the "
        "others. A run on labelled rows then starts from it, which helps where few rows have a label."
    )
    source = "Yoon et al. 2020, VIME, NeurIPS; Somepalli et al. 2021, arXiv:2106.01342"
    task: Task = "pretraining"
    requires: FeatureKind = "values"

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend many epochs, as what is hidden differs in each; see `TaskHead`."""
        return {"learning_rate": 1e-3, "epochs": 50, "batch_size": 64, "augmentation": "none"}

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.masked_modules import MaskedValuesModule

        must_be(self, target)
        return MaskedValuesModule(features.num_features, features.restored, target)
