from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tlstudio.api import Features, FeatureShape, RunError, Sample, TargetInfo
from tlstudio.api.nn import BackboneModule, Generation, LayerGroup, TransferModel
from tlstudio.engine.datasets import Batch
from tlstudio.engine.loading import EvalLoader
from tlstudio.engine.measuring import SplitData, monitored, run_split
from tlstudio.engine.recipe import TrainingOptions
from tlstudio.plugins import Registry
from tlstudio_heads.generation_heads import TextGeneration

SAMPLES, PLACES, TOKENS = 4, 8, 64


class Repeater(BackboneModule):
    """A language model of half precision that sees one token alone, and writes what it was given."""

    num_features, vocabulary, wanted = 8, TOKENS, "logits"

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Embedding(TOKENS, TOKENS, dtype=torch.bfloat16)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        return Features(logits=self.scores(inputs["ids"]))

    def generate(self, inputs: dict[str, Tensor], how: Generation) -> Tensor:
        return inputs["ids"][:, : how.max_new_tokens]

    def layer_groups(self) -> list[LayerGroup]:
        return [LayerGroup("scores", (self.scores,))]


class Made(TorchDispatchMode):
    """Notes how many floating numbers the tensors hold that are made, by their precision."""

    def __init__(self) -> None:
        cast(Any, super()).__init__()  # it has no types
        self.sizes: dict[torch.dtype, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            self.sizes[result.dtype] = max(self.sizes.get(result.dtype, 0), result.numel())
        return result


def test_scores_of_a_whole_vocabulary_are_never_copied_whole() -> None:
    torch.manual_seed(0)
    backbone = Repeater()
    options = TextGeneration.Options.model_validate({})
    head = TextGeneration().build(FeatureShape(8, vocabulary=TOKENS), TargetInfo("generation"), options)
    head.texts = lambda tokens: [" ".join(map(str, row)) for row in tokens.tolist()]
    model = TransferModel(backbone, head, backbone.layer_groups())
    ids = torch.randint(0, TOKENS, (2 * SAMPLES, PLACES))
    targets = torch.full_like(ids, -100)
    targets[:, -2:] = torch.randint(0, TOKENS, (2 * SAMPLES, 2))
    batches = [Batch({"ids": ids[p]}, targets[p], p) for p in torch.arange(2 * SAMPLES).split(SAMPLES)]
    data = SplitData(
        cast(EvalLoader, batches),
        [str(n) for n in range(2 * SAMPLES)],
        ["1 2"] * 2 * SAMPLES,
        lambda positions: [Sample(str(int(p)), text="", label="1 2") for p in positions],
    )
    with Made() as made:
        outputs = run_split(model, model, data, torch.device("cpu"))
    assert made.sizes[torch.bfloat16] == SAMPLES * PLACES * TOKENS
    assert made.sizes[torch.float32] == SAMPLES * 2 * TOKENS  # of the answers alone

    likelihoods = backbone.scores.weight.detach().float().log_softmax(dim=1)[ids[:, -2:]]
    losses = -likelihoods.gather(2, targets[:, -2:, None]).mean(dim=(1, 2))
    assert outputs.losses.tolist() == pytest.approx(losses.tolist(), rel=1e-5)
    assert outputs.metrics["perplexity"] == pytest.approx(float(losses.mean().exp()), rel=1e-5)
    assert [value for value, _ in outputs.values(head)] == [" ".join(map(str, row)) for row in ids.tolist()]


@pytest.mark.parametrize(
    ("name", "chosen", "mode"),
    [
        ("segmentation", "mean_dice", "max"),
        ("detection", "map_50", "max"),
        ("token_classification", "precision_micro", "max"),
        ("ctc", "cer", "min"),
        ("forecasting", "rmse", "min"),
        ("forecasting", "mae", "min"),
    ],
)
def test_the_best_epoch_is_chosen_by_any_metric_of_the_labels(
    name: str, chosen: str, mode: str, registry: Registry
) -> None:
    component = registry.head(name)
    target = TargetInfo(component.task, ("a", "b"), (1, 1), size=3, characters="ab")
    shape = FeatureShape(8, map_channels=(8, 8, 8), map_strides=(8, 16, 32))
    head = component.build(shape, target, component.Options.model_validate({}))
    assert monitored(head, TrainingOptions(monitor=chosen)) == (chosen, mode)
    with pytest.raises(RunError, match=f"'nonsense' for this task.*{chosen}"):
        monitored(head, TrainingOptions(monitor="nonsense"))


def test_no_epoch_is_chosen_by_what_is_written_at_the_end_alone() -> None:
    options = TextGeneration.Options.model_validate({})
    head = TextGeneration().build(FeatureShape(8, vocabulary=TOKENS), TargetInfo("generation"), options)
    assert monitored(head, TrainingOptions(monitor="token_accuracy")) == ("token_accuracy", "max")
    with pytest.raises(RunError, match="no metric 'bleu'"):
        monitored(head, TrainingOptions(monitor="bleu"))
