"""BitFit, surgical fine-tuning and LP-FT: what moves, what is measured, and the head that is fitted first."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from tests.plugins.test_added_strategies import TEXTS, gpt2
from tests.plugins.test_strategies import GROUPS, FixedFeatures, conv_model, learning_groups
from tlstudio.api import FeatureShape, FineTuningStrategy, RunError, Sample, TargetInfo
from tlstudio.api.method_modules import MethodContext, MethodModule
from tlstudio.api.nn import HeadModule, TransferModel, set_train_mode
from tlstudio.testing import tiny_target
from tlstudio.testing.methods import method_context
from tlstudio.testing.networks import TextEncoder
from tlstudio.testing.samples import tiny_samples
from tlstudio_heads.generation_heads import TextGeneration
from tlstudio_heads.heads import Classification
from tlstudio_heads.segmentation_heads import Segmentation
from tlstudio_strategies.bitfit import BitFit
from tlstudio_strategies.common import ridge
from tlstudio_strategies.head_fitting import fit_head
from tlstudio_strategies.lp_ft import LPFT
from tlstudio_strategies.surgical import Surgical

BATCH = {"pixels": torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)) + 2}


def moved(strategy: FineTuningStrategy, options: Any, model: TransferModel) -> set[str]:
    """Names in the state dict that two steps of training change."""
    strategy.prepare(model, options)
    groups = strategy.param_groups(model, options, learning_rate=0.1, weight_decay=0.1)
    optimizer = torch.optim.AdamW([{"params": g.params, "weight_decay": g.weight_decay} for g in groups], lr=0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(2):
        set_train_mode(model)
        loss = model.head.loss(model(BATCH), torch.tensor([0, 1, 2, 0])).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    found = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert found == strategy.updates(model, options)
    return found


def all_of(model: TransferModel, *beginnings: str) -> set[str]:
    """Names in the state dict that begin in one of some ways."""
    return {name for name in model.state_dict() if name.startswith(beginnings)}


def test_bitfit_moves_the_biases_and_the_head_and_no_statistics() -> None:
    model = conv_model()
    biases = {name for name in all_of(model, "backbone.") if name.endswith(".bias")}
    assert len(biases) == 4
    assert moved(BitFit(), BitFit.Options(), model) == biases | all_of(model, "head.")


def test_bitfit_with_scales_moves_all_of_the_norms_and_no_convolution() -> None:
    model = conv_model()
    convolutions = {name for name, p in model.named_parameters() if p.ndim == 4}
    assert moved(BitFit(), BitFit.Options(norm_scales=True), model) == set(model.state_dict()) - convolutions


def test_bitfit_tells_a_backbone_without_biases() -> None:
    backbone = FixedFeatures(4)
    head = Classification().build(FeatureShape(4), tiny_target("classification"), Classification.Options())
    with pytest.raises(RunError, match="no biases") as caught:
        BitFit().prepare(TransferModel(backbone, head, backbone.layer_groups()), BitFit.Options())
    assert "norm_scales" in caught.value.remedy


@pytest.mark.parametrize(
    ("block", "share", "expected"),
    [
        ("first", 0.25, ["stem"]),
        ("middle", 0.25, ["stage1"]),
        ("last", 0.25, ["stage2"]),
        ("first", 0.7, ["stem", "stage1"]),
        ("last", 0.7, ["stage1", "stage2"]),
        ("middle", 1.0, ["stem", "stage1", "stage2"]),
    ],
)
def test_surgical_moves_one_block_with_its_statistics_and_the_head(
    block: Any, share: float, expected: list[str]
) -> None:
    model = conv_model()
    beginnings = [f"backbone.{name}." for name in expected]
    assert moved(Surgical(), Surgical.Options(block=block, share=share), model) == all_of(model, *beginnings, "head.")


@pytest.fixture
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Twelve labelled images."""
    return tiny_samples("image", "classification", tmp_path_factory.mktemp("images"), count=12)


def own_method(strategy: FineTuningStrategy, options: Any, context: MethodContext) -> MethodModule:
    """Build what a strategy brings along."""
    own = strategy.method(options)
    assert own is not None
    return own[0].build(context, own[1])


def test_auto_takes_the_block_whose_gradient_is_largest_for_its_size(images: list[Sample]) -> None:
    options = Surgical.Options(share=0.34)
    context = method_context(
        Classification(), images, tiny_target("classification"), strategy=Surgical(), strategy_options=options
    )
    model = context.model
    module = own_method(Surgical(), options, context)
    module.on_epoch_start(0)
    assert learning_groups(model) == GROUPS, "as long as nothing is chosen, everything may learn"
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    module.begin()
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())
    module.on_epoch_start(0)

    double = model.double().eval().requires_grad_(True)
    ((inputs, targets),) = context.batches("")
    logits = double({name: x.double() for name, x in inputs.items()})
    loss = torch.nn.functional.cross_entropy(logits, targets)
    ratios = []
    for group in model.layer_groups():
        weights = torch.cat([p.detach().flatten() for p in group.parameters()])
        grads = torch.autograd.grad(loss, list(group.parameters()), retain_graph=True)
        ratios.append(float(torch.cat([g.flatten() for g in grads]).norm() / weights.norm()))
    np.testing.assert_allclose(module.get_buffer("norms").numpy(), ratios, rtol=1e-3)
    chosen = int(np.argmax(ratios))
    assert module.quantities()["first group that learns"] == 1 + chosen

    again = own_method(Surgical(), options, context)
    again.load_state_dict(module.state_dict())
    model.requires_grad_(True)
    again.on_epoch_start(5)
    assert learning_groups(model) == [GROUPS[chosen]], "a run that goes on keeps to the choice"


def test_where_a_model_writes_the_block_is_chosen_behind_the_layer_that_it_writes_by() -> None:
    torch.manual_seed(0)
    backbone = gpt2()
    head = TextGeneration().build(FeatureShape(16, vocabulary=57), TargetInfo("generation"), TextGeneration.Options())
    model = TransferModel(backbone, head, backbone.layer_groups())
    options = Surgical.Options(share=0.3)
    Surgical().prepare(model, options)
    ids, real = TEXTS["input_ids"], TEXTS["attention_mask"].bool()
    following = torch.where(real[:, 1:], ids[:, 1:], -100)
    targets = torch.cat([following, torch.full((2, 1), -100)], dim=1)
    module = own_method(Surgical(), options, writing_context(model, targets))
    assert module.passes() == {"": 3}, "there is no head to be fitted"
    module.begin()
    module.on_epoch_start(0)
    found = learning_groups(model)

    double: Any = model.double().requires_grad_(True).backbone
    logs = double(TEXTS).logits.log_softmax(dim=2)
    losses = [-logs[row, range(last), ids[row, 1 : last + 1]].mean() for row, last in ((0, 5), (1, 2))]
    ratios = []
    for group in model.layer_groups():
        weights = torch.cat([p.detach().flatten() for p in group.parameters()])
        grads = torch.autograd.grad(sum(losses) / 2, list(group.parameters()), retain_graph=True)
        ratios.append(float(torch.cat([g.flatten() for g in grads]).norm() / weights.norm()))
    np.testing.assert_allclose(module.get_buffer("norms").numpy(), ratios, rtol=1e-3)
    assert found == [model.layer_groups()[int(np.argmax(ratios))].name]


@pytest.mark.parametrize("count", [2, 4])
def test_the_fitted_head_is_scikit_learns_logistic_regression(count: int) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, count, 200)
    x = np.maximum(rng.normal(size=(200, 10)) + rng.normal(size=(count, 10))[y] + 3, 0)
    reference = LogisticRegression(C=0.3, tol=1e-10, max_iter=10_000).fit(x, y)
    target = TargetInfo("classification", tuple(map(str, range(count))), tuple(np.bincount(y).tolist()))
    torch.manual_seed(0)
    head = Classification().build(FeatureShape(10), target, Classification.Options(dropout=0.5))
    model = TransferModel(FixedFeatures(10), head, [])
    context = context_of(model, torch.from_numpy(x).float(), torch.from_numpy(y))
    reached = fit_head(context, 0.3)
    with torch.no_grad():
        probabilities = model({"x": torch.from_numpy(x).float()}).softmax(1).numpy()
    np.testing.assert_allclose(probabilities, reference.predict_proba(x), atol=2e-3)
    losses = -np.log(reference.predict_proba(x)[np.arange(200), y])
    penalty = 0.5 * (reference.coef_**2).sum() / (0.3 * 200)
    assert reached == pytest.approx(losses.mean() + penalty, abs=1e-4)
    assert ridge(head, 0.3, 200) is not None
    assert not any(p.grad is not None for p in model.parameters())


def context_of(model: TransferModel, x: Tensor, y: Tensor) -> MethodContext:
    """A run on given features, in batches of 64."""
    samples = tiny_samples("text", "classification", None, count=2)  # type: ignore[arg-type]  # texts need no folder
    base = method_context(Classification(), samples, tiny_target("classification"))

    def forward(inputs: dict[str, Tensor]) -> Any:
        features = model.backbone(inputs)
        return features, model.head(features)

    def batches(_name: str) -> Any:
        return (({"x": a}, b) for a, b in zip(x.split(64), y.split(64), strict=True))

    return replace(base, model=model, num_train=len(x), forward=forward, batches=batches)


def writing_context(model: TransferModel, targets: Tensor) -> MethodContext:
    """A run on two texts, a batch each."""
    rows = [({name: x[row : row + 1] for name, x in TEXTS.items()}, targets[row : row + 1]) for row in range(2)]
    base = context_of(model, torch.zeros(2, 1), targets)
    return replace(base, head=TextGeneration(), batches=lambda _name: iter(rows))


def test_lp_ft_fits_the_head_and_leaves_the_backbone_then_trains_all_at_one_rate(images: list[Sample]) -> None:
    options = LPFT.Options(layer_decay=0.5, keep_statistics=False)
    context = method_context(
        Classification(), images, tiny_target("classification"), strategy=LPFT(), strategy_options=options
    )
    model = context.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    module = own_method(LPFT(), options, context)
    module.begin()
    module.on_epoch_start(0)
    after = model.state_dict()
    assert {name for name in before if not torch.equal(after[name], before[name])} == set(all_of(model, "head."))
    ((inputs, targets),) = context.batches("")
    penalty = ridge(model.head, 1.0, len(images))
    assert penalty is not None
    model.train()  # a head that measures the mean of features in the first batch has done so
    reached = model.head.loss(model.head(model.backbone.eval()(inputs)), targets).mean() + penalty
    assert module.quantities() == {"loss of the probe": pytest.approx(reached.item(), abs=1e-5)}
    assert learning_groups(model) == GROUPS
    groups = LPFT().param_groups(model, options, learning_rate=0.04, weight_decay=0.0)
    assert {group.name: group.lr for group in groups} == pytest.approx(
        {"stem": 0.01, "stage 1": 0.02, "stage 2": 0.04, "head": 0.04}
    )


def test_lp_ft_keeps_the_features_that_the_head_was_fitted_on_in_the_first_step() -> None:
    model = conv_model()
    norms = {name for name in all_of(model, "backbone.") if re.search(r"\.1\.\w+$", name)}
    assert moved(LPFT(), LPFT.Options(), model) == set(model.state_dict()) - norms
    assert len(norms) == 4 * 5
    again = conv_model()
    LPFT().prepare(again, LPFT.Options())
    before = again.backbone.eval()(BATCH).require("pooled")
    set_train_mode(again)
    again.backbone.get_submodule("stage2.1").eval()  # dropout is no matter of statistics
    assert torch.equal(again.backbone(BATCH).require("pooled"), before)


def test_under_lp_ft_a_head_on_maps_learns_alone_in_the_first_epochs(tmp_path_factory: pytest.TempPathFactory) -> None:
    samples = tiny_samples("image", "segmentation", tmp_path_factory.mktemp("masks"), count=2)
    options = LPFT.Options(head_epochs=2, head_lr_factor=5.0, keep_statistics=False)
    context = method_context(
        Segmentation(), samples, tiny_target("segmentation"), strategy=LPFT(), strategy_options=options
    )
    module = own_method(LPFT(), options, context)
    module.begin()
    for epoch, learning in ((0, []), (1, []), (2, GROUPS), (7, GROUPS), (1, [])):
        module.on_epoch_start(epoch)
        assert learning_groups(context.model) == learning
        assert module.quantities() == {"unfrozen groups": len(learning)}
        assert all(parameter.requires_grad for parameter in context.model.head.parameters())
    groups = LPFT().param_groups(context.model, options, learning_rate=0.1, weight_decay=0.0)
    assert {group.lr for group in groups if group.name == "head"} == {0.5}


def test_a_head_without_a_layer_of_its_own_cannot_come_first(registry: Any) -> None:
    head = registry.head("generation")
    info = registry.backbone("test_resnet").info()
    assert "no layer of its own" in (LPFT().why_not(info, head) or "")


def test_biases_of_fused_attention_are_biases_too() -> None:
    encoder = TextEncoder(10)
    encoder.layers.append(torch.nn.MultiheadAttention(16, 2))
    head: HeadModule = Classification().build(FeatureShape(16), tiny_target("classification"), Classification.Options())
    model = TransferModel(encoder, head, [])
    BitFit().prepare(model, BitFit.Options())
    learning = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert {"layers.2.in_proj_bias", "layers.2.out_proj.bias", "layers.0.norm1.bias"} <= learning
    assert not any(name.endswith("weight") for name in learning)
