"""Strategies: what learns, how fast, the probe's objective, and adapters that fold in exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from sklearn.linear_model import LogisticRegression
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer

from tlstudio.api import FeatureShape, Options, RunError, Situation, TargetInfo, TLStudioError
from tlstudio.api.features import Features
from tlstudio.api.nn import BackboneModule, LayerGroup, TransferModel, learning_names, set_train_mode
from tlstudio.engine.recipe import TrainingOptions
from tlstudio.testing import tiny_target
from tlstudio.testing.networks import ConvNet, TextEncoder
from tlstudio_heads.heads import Classification, MultiLabel, Regression
from tlstudio_strategies import register_strategies
from tlstudio_strategies.adapters import add_lora, merge_adapters
from tlstudio_strategies.full import Full
from tlstudio_strategies.gradual import GradualUnfreezing
from tlstudio_strategies.lora import LoRA
from tlstudio_strategies.partial import Partial
from tlstudio_strategies.probe import LinearProbe

GROUPS = ["stem", "stage 1", "stage 2"]


class FixedFeatures(BackboneModule):
    """A frozen backbone that gives its input as it is, scaled by 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Return the input."""
        return Features(pooled=inputs["x"] * self.scale)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the one group."""
        return [LayerGroup("scale", (self,))]


def conv_model(target: TargetInfo | None = None) -> TransferModel:
    """The tiny convolutional network with a classification head."""
    torch.manual_seed(0)
    backbone = ConvNet()
    chosen = target or tiny_target("classification")
    head = Classification().build(FeatureShape(backbone.num_features), chosen, Classification.Options())
    return TransferModel(backbone, head, backbone.layer_groups())


def learning_groups(model: TransferModel) -> list[str]:
    """Names of the layer groups all of whose parameters learn; the others must be frozen whole."""
    learning = []
    for group in model.layer_groups():
        flags = {parameter.requires_grad for parameter in group.parameters()}
        assert len(flags) == 1
        if flags == {True}:
            learning.append(group.name)
    return learning


@pytest.mark.parametrize(("groups", "expected"), [(1, GROUPS[2:]), (2, GROUPS[1:]), (3, GROUPS), (99, GROUPS)])
def test_partial_lets_the_last_groups_and_the_head_learn(groups: int, expected: list[str]) -> None:
    model = conv_model()
    options = Partial.Options(groups=groups)
    Partial().prepare(model, options)
    assert learning_groups(model) == expected
    assert all(parameter.requires_grad for parameter in model.head.parameters())
    named = {group.name for group in Partial().param_groups(model, options, learning_rate=1e-3, weight_decay=0)}
    assert named == {*expected, "head"}


@pytest.mark.parametrize("strategy", [LinearProbe(), Partial(), LoRA()], ids=lambda s: s.name)
def test_statistics_of_frozen_layers_do_not_move(strategy: LinearProbe | Partial | LoRA) -> None:
    model = conv_model()
    strategy.prepare(model, strategy.Options())
    before = {name: value.clone() for name, value in model.state_dict().items() if "running_mean" in name}
    set_train_mode(model)
    model({"pixels": torch.randn(4, 3, 32, 32) + 2})
    moved = {name for name, value in before.items() if not torch.equal(value, model.state_dict()[name])}
    assert moved == ({"backbone.stage2.0.1.running_mean"} if isinstance(strategy, Partial) else set())


def test_a_frozen_attention_has_no_dropout_while_the_head_has() -> None:
    torch.manual_seed(0)
    backbone = TextEncoder(10)
    head = Classification().build(FeatureShape(16), tiny_target("classification"), Classification.Options(dropout=0.5))
    model = TransferModel(backbone, head, backbone.layer_groups())
    LinearProbe().prepare(model, LinearProbe.Options())
    set_train_mode(model)
    batch = {"ids": torch.tensor([[1, 2, 3], [4, 5, 6]]), "mask": torch.ones(2, 3, dtype=torch.bool)}
    assert torch.equal(backbone(batch).require("pooled"), backbone(batch).require("pooled"))
    assert not torch.equal(model(batch), model(batch))


@pytest.mark.parametrize("each", [1, 2])
def test_gradual_unfreezing_depends_on_the_epoch_alone(each: int) -> None:
    options = GradualUnfreezing.Options(epochs_per_group=each)
    expected = [[], GROUPS[2:], GROUPS[1:], GROUPS, GROUPS]
    for order in (range(5 * each), reversed(range(5 * each))):
        model = conv_model()
        GradualUnfreezing().prepare(model, options)
        assert learning_groups(model) == []
        for epoch in order:
            GradualUnfreezing().on_epoch_start(model, epoch, options)
            assert learning_groups(model) == expected[epoch // each]
            assert all(parameter.requires_grad for parameter in model.head.parameters())


@pytest.mark.parametrize("each", [1, 2])
def test_gradual_unfreezing_tells_how_many_epochs_all_groups_need(each: int) -> None:
    model, options = conv_model(), GradualUnfreezing.Options(epochs_per_group=each)
    needed = len(GROUPS) * each + 1
    for epochs in range(1, needed + 2):
        GradualUnfreezing().on_epoch_start(model, epochs - 1, options)
        learning = learning_groups(model)
        told = GradualUnfreezing().notes(model, options, epochs)
        warned = [sentence for sentence in told if "come to learn" in sentence]
        assert bool(warned) == (learning != GROUPS) == (epochs < needed)
        for sentence in warned:
            assert sentence.startswith(f"Only {len(learning)} of the 3 layer groups")
            assert f"set training.epochs to {needed} or more" in sentence
            assert ("epochs_per_group" in sentence) == (each > 1)


def test_gradual_unfreezing_stores_all_that_will_ever_move_and_leaves_the_model_as_it_was() -> None:
    model = conv_model()
    options = GradualUnfreezing.Options()
    GradualUnfreezing().prepare(model, options)
    now = learning_names(model)
    assert GradualUnfreezing().updates(model, options) == set(model.state_dict())
    assert learning_names(model) == now


def test_discriminative_rates_fall_from_the_head_to_the_input() -> None:
    model = conv_model()
    options = GradualUnfreezing.Options(discriminative=2.0, head_lr_factor=3.0)
    groups = GradualUnfreezing().param_groups(model, options, learning_rate=0.8, weight_decay=0.1)
    assert {group.name: group.lr for group in groups} == pytest.approx(
        {"stem": 0.2, "stage 1": 0.4, "stage 2": 0.8, "head": 2.4}
    )


def test_full_gives_each_parameter_once_with_its_layers_rate_and_decays_matrices_alone() -> None:
    model = conv_model()
    options = Full.Options(layer_decay=0.5, head_lr_factor=10.0)
    Full().prepare(model, options)
    groups = Full().param_groups(model, options, learning_rate=0.04, weight_decay=0.1)
    given = [id(parameter) for group in groups for parameter in group.params]
    assert sorted(given) == sorted(id(parameter) for parameter in model.parameters())
    assert {group.name: group.lr for group in groups} == pytest.approx(
        {"stem": 0.01, "stage 1": 0.02, "stage 2": 0.04, "head": 0.4}
    )
    for group in groups:
        assert group.weight_decay == (0.1 if all(p.ndim > 1 for p in group.params) else 0.0)


@pytest.mark.parametrize(
    ("head", "target", "factor"),
    [
        (Classification(), TargetInfo("classification", tuple("abc"), (1, 1, 1)), 1.0),
        (Classification(), TargetInfo("classification", tuple("ab"), (1, 1)), 2.0),
        (MultiLabel(), TargetInfo("multi_label", tuple("abcd"), (1,) * 4), 0.25),
        (Regression(), TargetInfo("regression"), 1.0),
    ],
    ids=["classes", "two classes", "labels", "numbers"],
)
def test_the_probes_penalty_is_that_of_scikit_learn(
    head: Classification | MultiLabel | Regression, target: TargetInfo, factor: float
) -> None:
    model = TransferModel(FixedFeatures(6), head.build(FeatureShape(6), target, head.Options()), [])
    matrix = np.random.default_rng(0).normal(size=model.head.get_parameter("output.weight").shape)
    with torch.no_grad():
        model.head.get_parameter("output.weight").copy_(torch.from_numpy(matrix))
        model.head.get_parameter("output.bias").fill_(100.0)
    extra = LinearProbe().extra_loss(model, LinearProbe.Options(C=0.3), num_train=50)
    assert extra is not None
    assert extra.item() == pytest.approx(factor * 0.5 * (matrix**2).sum() / (0.3 * 50), rel=1e-6)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("strength", [0.05, 1.0])
def test_the_probes_minimum_is_scikit_learns_logistic_regression(count: int, strength: float) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, count, 200)
    # As after a ReLU: positive, with a mean that is large beside the spread.
    x = np.maximum(rng.normal(size=(200, 10)) + rng.normal(size=(count, 10))[y] + 3, 0)
    reference = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(x, y)
    target = TargetInfo("classification", tuple(map(str, range(count))), tuple(np.bincount(y).tolist()))
    torch.manual_seed(0)
    model = TransferModel(
        FixedFeatures(10), Classification().build(FeatureShape(10), target, Classification.Options()), []
    )
    probe, options = LinearProbe(), LinearProbe.Options(C=strength)
    probe.prepare(model, options)
    model.double()
    batch, labels = {"x": torch.from_numpy(x)}, torch.from_numpy(y)
    set_train_mode(model)
    groups = probe.param_groups(model, options, learning_rate=1.0, weight_decay=0.0)
    optimizer = torch.optim.LBFGS([p for g in groups for p in g.params], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        # The head measures in float32; the reference needs no more than that.
        loss = model.head.loss(model(batch), labels).mean()
        extra = probe.extra_loss(model, options, num_train=200)
        assert extra is not None
        total = loss + extra
        torch.autograd.backward(total)
        return total

    optimizer.step(closure)
    model.eval()
    with torch.no_grad():
        probabilities = model(batch).softmax(1).numpy()
    np.testing.assert_allclose(probabilities, reference.predict_proba(x), atol=2e-3)


SITUATIONS = [
    Situation(modality, "classification", num_train, 5_000_000, on_gpu)
    for modality in ("image", "text")
    for num_train in (1, 20, 800, 10_000, 2_000_000)
    for on_gpu in (False, True)
]


@pytest.mark.parametrize("strategy", register_strategies(), ids=lambda s: s.name)
def test_recommended_options_are_training_options_in_every_situation(
    strategy: LinearProbe | Partial | GradualUnfreezing | Full | LoRA,
) -> None:
    for situation in SITUATIONS:
        TrainingOptions.model_validate(strategy.recommended(situation))


def test_as_many_steps_are_recommended_for_a_handful_of_samples_as_it_takes_to_learn_them() -> None:
    for on_gpu in (False, True):
        for num_train in (1, 16, 100, 10_000):
            told = Full().recommended(Situation("text", "classification", num_train, 5_000_000, on_gpu))
            assert told["epochs"] * -(-num_train // told["batch_size"]) >= 60
            assert told["epochs"] <= 60


def test_the_probe_caches_features_unless_told_otherwise_and_others_never_do() -> None:
    assert LinearProbe().caches_features(LinearProbe.Options())
    assert not LinearProbe().caches_features(LinearProbe.Options(cache_features=False))
    others = [s for s in register_strategies() if s.name not in ("linear_probe", "nearest_mean")]
    assert not any(s.caches_features(s.Options()) for s in others)


def test_options_of_another_component_are_refused() -> None:
    with pytest.raises(TypeError, match="expected FullOptions, got Options"):
        Full().param_groups(conv_model(), Options(), learning_rate=1.0, weight_decay=0.0)


def swin() -> nn.Module:
    """A small Swin transformer of torchvision, whose attention takes weights instead of calling layers."""
    return SwinTransformer([2, 2], 8, [1, 1], [1, 1], [2, 2])


def fused() -> nn.Module:
    """A small vision transformer of torchvision, whose attention is fused."""
    network = VisionTransformer(16, 8, 1, 2, 8, 16)
    network.heads = nn.Sequential()
    return network


def same_padding() -> nn.Module:
    """Layers of timm whose strided convolution pads as it runs, as in all its tf_ networks."""
    return nn.Sequential(Conv2dSame(3, 8, 3, stride=2), nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("use_dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("build", [swin, fused, same_padding], ids=lambda f: f.__name__)
def test_adapters_start_without_effect_learn_and_fold_in_exactly(
    build: Callable[[], nn.Module], use_dora: bool
) -> None:
    torch.manual_seed(0)
    network = build().eval()
    names = set(network.state_dict())
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        first = network(x)
        add_lora(network, rank=2, alpha=4, dropout=0.0, target="all-linear", use_dora=use_dora)
        torch.testing.assert_close(network(x), first)
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert learning
    assert all("lora_" in name for name in learning)
    torch.autograd.backward(network(x).square().sum())
    assert [name for name, p in learning.items() if p.grad is None] == []
    with torch.no_grad():
        for parameter in learning.values():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        adapted = network(x)
        assert not torch.allclose(adapted, first, atol=1e-4)
        merge_adapters(network)
        torch.testing.assert_close(network(x), adapted, rtol=1e-3, atol=1e-4)
    assert set(network.state_dict()) == names
    assert not any(isinstance(module, BaseTunerLayer) for module in network.modules())


def test_the_rank_sets_the_number_of_learning_parameters() -> None:
    encoder = TextEncoder(10)
    add_lora(encoder, rank=3, alpha=6, dropout=0.0, target="attention", use_dora=False)
    learning = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert learning == 2 * (3 * (16 + 48) + 3 * (16 + 16))  # qkv and proj in each of two layers


def test_a_backbone_without_attention_is_told_what_to_choose_instead() -> None:
    with pytest.raises(RunError, match="no attention layers") as caught:
        LoRA().prepare(conv_model(), LoRA.Options(target="attention"))
    assert "all-linear" in caught.value.remedy
    assert caught.value.field == "strategy.target"


def test_fused_attention_with_dropout_is_refused_with_a_remedy_and_auto_takes_the_other_layers() -> None:
    with pytest.raises(TLStudioError, match="only without dropout"):
        add_lora(fused(), rank=2, alpha=4, dropout=0.1, target="attention", use_dora=False)
    network = fused()
    add_lora(network, rank=2, alpha=4, dropout=0.1, target="auto", use_dora=False)
    learning = [name for name, p in network.named_parameters() if p.requires_grad]
    assert any(".mlp." in name for name in learning)
    assert not any("self_attention" in name for name in learning)


def test_a_backbone_with_nothing_to_adapt_is_refused() -> None:
    with pytest.raises(RunError, match="no linear layers or convolutions"):
        add_lora(nn.Sequential(nn.BatchNorm2d(3)), rank=2, alpha=4, dropout=0.0, target="auto", use_dora=False)
