"""What can be learned: three tasks on pooled features. Light: torch is imported when a head is built."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from tlstudio import api
from tlstudio.api import DataError, FeatureKind, FeatureShape, Options, TargetInfo, Task, TaskHead, option
from tlstudio_heads.common import as_options, dropout_option, must_be

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["Classification", "HeadOptions", "MultiLabel", "Regression", "check_classes"]


class HeadOptions(Options):
    """Options that all heads share."""

    dropout: float = dropout_option(0.0)
    hidden: int = option(
        0,
        title="Hidden layer",
        help="Width of a layer between features and output; 0 makes the head linear, which is best for few samples.",
        ge=0,
        le=16_384,
        advanced=True,
    )


class ClassificationOptions(HeadOptions):
    """Options of the classification head."""

    label_smoothing: float = option(
        0.0,
        title="Label smoothing",
        help="Share of each label that is spread over all classes, so that the model grows less overconfident.",
        ge=0,
        lt=1,
    )
    class_weights: Literal["none", "balanced"] = option(
        "none",
        title="Class weights",
        help="Balanced makes samples of rare classes count more, so that each class weighs the same.",
    )


class MultiLabelOptions(HeadOptions):
    """Options of the multi-label head."""

    threshold: float = option(
        0.5, title="Threshold", help="A label is given where its probability is above this.", gt=0, lt=1
    )


class RegressionOptions(HeadOptions):
    """Options of the regression head."""

    loss: Literal["mse", "huber"] = option(
        "mse",
        title="Loss",
        help="Squared error follows the mean; Huber is less disturbed by single wrong or extreme values.",
    )
    delta: float = option(
        1.0,
        title="Huber delta",
        help="Errors beyond this count linearly instead of squared; in standard deviations of the training values.",
        gt=0,
        le=1000,
        advanced=True,
    )


class PooledTaskHead(TaskHead):
    """A head that is linear unless a hidden layer is asked for."""

    requires: FeatureKind = "pooled"

    def is_linear(self, options: api.Options) -> bool:
        """Whether there is no hidden layer; see `TaskHead`."""
        return as_options(HeadOptions, options).hidden == 0

    def library_code(self, options: api.Options) -> str:
        """Shift the features, and pass them through one or two layers; see `TaskHead`."""
        lines = ['x = features - head["centre.mean"]']
        if not self.is_linear(options):
            lines.append('x = gelu(linear(x, head["hidden.weight"], head["hidden.bias"]))')
        lines.append('output = linear(x, head["output.weight"], head["output.bias"])')
        return "\n".join(["from torch.nn.functional import gelu, linear", *lines])


class Classification(PooledTaskHead):
    """One class out of several: softmax and cross-entropy."""

    name = "classification"
    title = "Classification"
    description = "Gives each sample one class out of several. Choose it when each sample belongs to exactly one class."
    source = "Bridle 1990, doi:10.1007/978-3-642-76153-9_28; Szegedy et al. 2016, arXiv:1512.00567"
    task: Task = "classification"
    Options = ClassificationOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.modules import ClassificationModule

        chosen = as_options(ClassificationOptions, options)
        must_be(self, target)
        check_classes(target)
        return ClassificationModule(
            features.num_features,
            target,
            dropout=chosen.dropout,
            hidden=chosen.hidden,
            label_smoothing=chosen.label_smoothing,
            balanced=chosen.class_weights == "balanced",
        )


def check_classes(target: TargetInfo) -> None:
    """Refuse a target with fewer than two classes.

    Raises:
        DataError: There is nothing to tell apart.
    """
    if len(target.classes) < 2:
        only = f" ({target.classes[0]!r})" if target.classes else ""
        raise DataError(
            f"Classification needs at least two classes, but the data has {len(target.classes)}{only}.",
            "Add samples of another class, or choose the label column that tells the classes apart.",
            field="dataset",
        )


class MultiLabel(PooledTaskHead):
    """Any number of labels a sample: a sigmoid for each and binary cross-entropy."""

    name = "multi_label"
    title = "Multi-label classification"
    description = "Gives each sample any number of labels, or none. Choose it when labels may occur together."
    source = "Nam et al. 2014, arXiv:1312.5419"
    task: Task = "multi_label"
    Options = MultiLabelOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.modules import MultiLabelModule

        chosen = as_options(MultiLabelOptions, options)
        must_be(self, target)
        if not target.classes:
            raise DataError(
                "There is no label in the data that could be learned.",
                "Choose the column that holds the labels and the separator between them.",
                field="dataset",
            )
        return MultiLabelModule(
            features.num_features, target, dropout=chosen.dropout, hidden=chosen.hidden, threshold=chosen.threshold
        )


class Regression(PooledTaskHead):
    """A number: squared or Huber error on values standardised by the training set."""

    name = "regression"
    title = "Regression"
    description = "Predicts a number, such as an age, a price or a rating."
    source = "Huber 1964, doi:10.1214/aoms/1177703732"
    task: Task = "regression"
    Options = RegressionOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.modules import RegressionModule

        chosen = as_options(RegressionOptions, options)
        must_be(self, target)
        if not (math.isfinite(target.mean) and math.isfinite(target.std) and target.std > 0):
            raise DataError(
                "The values to be learned are all the same or not finite, so there is nothing to predict.",
                "Choose a column whose numbers differ between samples.",
                field="dataset",
            )
        return RegressionModule(
            features.num_features,
            target,
            dropout=chosen.dropout,
            hidden=chosen.hidden,
            huber_delta=chosen.delta if chosen.loss == "huber" else None,
        )
