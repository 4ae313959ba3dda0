from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tlstudio.api import Features, FeatureShape, Sample, TargetInfo
from tlstudio.api.nn import BackboneModule, Generation, LayerGroup, TransferModel
from tlstudio.engine.loading import Batch, EvalLoader
from tlstudio.engine.measuring import SplitData, run_split
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
        super().__init__()
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
