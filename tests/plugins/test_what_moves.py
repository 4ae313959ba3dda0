"""What each strategy moves, by name: these parameters and buffers, bit for bit nothing else, and all that is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plugins.test_added_strategies import (
    PIXELS,
    TEXTS,
    bert,
    fused_vit,
    prepared,
    timm_vit,
)
from tests.plugins.watching import (
    ADAPTED,
    BACKBONE,
    HEAD,
    LAYER,
    LORA,
    STAGE_1,
    STAGE_2,
    STEM,
    Bench,
    copied,
    moved,
    opened,
    plain_names,
)
from tlstudio.api.nn import BackboneModule, set_train_mode
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.events import StepLogged
from tlstudio.plugins import Registry
from tlstudio.testing.components import TinyConvNet
from tlstudio.testing.methods import method_context
from tlstudio.testing.samples import tiny_samples, tiny_target
from tlstudio.testing.training import Setup, train
from tlstudio_heads.segmentation_heads import Segmentation
from tlstudio_strategies.added import IA3, OFT, AddedStrategy, LoKr
from tlstudio_strategies.bottleneck import BottleneckAdapters
from tlstudio_strategies.lora import LoRA, QLoRA
from tlstudio_strategies.lp_ft import LPFT
from tlstudio_strategies.nearest_mean import NearestMean
from tlstudio_strategies.soft_prompts import PrefixTuning, PromptTuning
from tlstudio_strategies.vpt import VisualPrompts


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Bench]:
    """Where runs are watched."""
    with opened(tmp_path_factory.mktemp("bench"), registry) as bench:
        yield bench


NORMS = {name for name in BACKBONE if re.search(r"\.1\.\w+$", name)}
BIASES = {name for name in BACKBONE if name.endswith(".bias")}
MAGNITUDES = {f"backbone.{layer}.lora_magnitude_vector.default.weight" for layer in ADAPTED}
LOKR = {f"backbone.{layer}.lokr_{factor}.default" for layer in ADAPTED for factor in ("w1", "w2")}

RUNS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("linear_probe", {}, HEAD),
    ("linear_probe", {"cache_features": False}, HEAD),
    ("partial", {"groups": 1}, STAGE_2 | HEAD),
    ("partial", {"groups": 2}, STAGE_1 | STAGE_2 | HEAD),
    ("full", {}, BACKBONE | HEAD),
    ("bitfit", {}, BIASES | HEAD),
    ("bitfit", {"norm_scales": True}, NORMS | HEAD),
    ("surgical", {"block": "first", "share": 0.3}, STEM | HEAD),
    ("surgical", {"block": "middle", "share": 0.3}, STAGE_1 | HEAD),
    ("surgical", {"block": "last", "share": 0.6}, STAGE_1 | STAGE_2 | HEAD),
    ("setfit", {}, BACKBONE | HEAD - {"head.centre.mean"}),
    ("lora", {}, LORA | HEAD),
    ("lora", {"use_dora": True}, LORA | MAGNITUDES | HEAD),
    ("lokr", {}, LOKR | HEAD),
    ("oft", {}, {"backbone.stage1.1.0.oft_R.default.weight"} | HEAD),
]


@pytest.mark.parametrize(("strategy", "options", "expected"), RUNS, ids=[f"{name} {o}" for name, o, _ in RUNS])
def test_a_run_moves_what_its_strategy_is_to_teach_with_its_statistics_and_nothing_else(
    strategy: str, options: dict[str, Any], expected: set[str], bench: Bench
) -> None:
    assert len(BACKBONE) == 24, "nothing is named twice"
    run, seen, _ = bench.run({"name": strategy, "options": options})
    assert moved(seen.start, seen.ended[-1]) == expected
    assert moved(seen.ended[0], seen.begun[1]) == set(), "to validate moves nothing"
    loaded = {f"backbone.{name}": x for name, x in TinyConvNet().load(TinyConvNet.Options()).state_dict().items()}
    assert loaded.keys() == BACKBONE
    found = plain_names(seen.ended[-1])
    assert moved(loaded, {name: found[name] for name in loaded}) == expected & BACKBONE
    _, kept = load_run_model(run, bench.registry)
    assert moved(seen.ended[-1], kept.state_dict()) == set()


def test_gradual_unfreezing_moves_in_each_epoch_the_groups_that_have_joined_and_nothing_else(bench: Bench) -> None:
    _, seen, _ = bench.run("gradual_unfreezing", training={"epochs": 4})
    epochs = [moved(*states) for states in zip(seen.begun, seen.ended, strict=True)]
    assert epochs == [HEAD, STAGE_2 | LAYER, STAGE_1 | STAGE_2 | LAYER, BACKBONE | LAYER]
    assert moved(seen.start, seen.begun[0]) == set()


def test_a_chosen_block_moves_with_its_statistics_and_the_other_blocks_do_not(bench: Bench) -> None:
    _, seen, heard = bench.run({"name": "surgical", "options": {"share": 0.3}})
    (first,) = {event.quantities["chosen_block/first group that learns"] for event in heard.of(StepLogged)}
    assert moved(seen.start, seen.begun[0]) == HEAD, "to choose, the head is fitted and the backbone is looked at"
    assert moved(seen.begun[0], seen.ended[-1]) == [STEM, STAGE_1, STAGE_2][int(first) - 1] | LAYER


def test_lp_ft_moves_the_head_alone_and_then_all_but_what_its_features_would_change_by_at_once(bench: Bench) -> None:
    _, seen, _ = bench.run("lp_ft")
    assert moved(seen.start, seen.begun[0]) == HEAD
    assert moved(seen.begun[0], seen.ended[-1]) == BACKBONE - NORMS | LAYER
    _, seen, _ = bench.run({"name": "lp_ft", "options": {"keep_statistics": False}})
    assert moved(seen.start, seen.begun[0]) == HEAD
    assert moved(seen.begun[0], seen.ended[-1]) == BACKBONE | LAYER


@pytest.mark.parametrize(("epochs", "learns"), [(2, False), (3, True)])
def test_under_lp_ft_the_backbone_below_a_head_on_maps_moves_only_behind_the_epochs_of_the_head(
    epochs: int, learns: bool, tmp_path: Path
) -> None:
    samples, backbone = tiny_samples("image", "segmentation", tmp_path, count=4), TinyConvNet()
    options = LPFT.Options(head_epochs=2, keep_statistics=False)
    setup = Setup(
        LPFT(),
        backbone,
        Segmentation(),
        tiny_target("segmentation"),
        options,
        backbone.Options(),
        Segmentation.Options(),
    )
    model = setup.new_model()
    groups = LPFT().param_groups(model, options, learning_rate=1e-2, weight_decay=0.0)
    before = copied(model.state_dict())
    train(setup, model, groups, *setup.batch(samples, model.head), epochs)
    own = {name for name in before if name.startswith("head.")}
    assert moved(before, model.state_dict()) == (own | BACKBONE if learns else own)


def test_nearest_mean_moves_the_layer_of_the_head_and_nothing_else(registry: Registry, tmp_path: Path) -> None:
    samples, strategy = tiny_samples("image", "classification", tmp_path), NearestMean()
    head, options = registry.head("classification"), strategy.Options()
    context = method_context(head, samples, tiny_target("classification"), strategy=strategy)
    before = copied(context.model.state_dict())
    method, chosen = strategy.method(options)
    method.build(context, chosen).begin()
    assert moved(before, context.model.state_dict()) == LAYER | {"head.centre.known"}
    assert strategy.param_groups(context.model, options, learning_rate=0.1, weight_decay=0.1) == []


def each(places: str, parts: str) -> set[str]:
    """Join places of the backbone with the names of what was added there; both stand with spaces between them."""
    return {f"backbone.model.{place}.{part}" for place in places.split() for part in parts.split()}


ATTENTION = " ".join(
    f"encoder.layer.{layer}.attention.{one}"
    for layer in (0, 1)
    for one in ("self.query", "self.key", "self.value", "output.dense")
)
INNER = "encoder.layer.0.intermediate.dense encoder.layer.1.intermediate.dense"
BEHIND = "encoder.layer.0.output.dense encoder.layer.1.output.dense"
BEHIND_ATTENTION = "encoder.layer.0.attention.output.dense encoder.layer.1.attention.output.dense"
HALVES = "lora_A.default.weight lora_B.default.weight"
BOTTLENECK = "adapter.down.weight adapter.down.bias adapter.up.weight adapter.up.bias"
NORMS_OF_BERT = "embeddings.LayerNorm " + " ".join(
    f"encoder.layer.{layer}.{part}.LayerNorm" for layer in (0, 1) for part in ("attention.output", "output")
)
SCALED = " ".join(f"encoder.layer.{layer}.attention.self.{one}" for layer in (0, 1) for one in ("key", "value"))
NETWORK = "soft_prompt.network.0 soft_prompt.network.2"

ADDED: list[tuple[Callable[[], BackboneModule], AddedStrategy, dict[str, Any], set[str]]] = [
    (bert, LoRA(), {}, each(ATTENTION, HALVES)),
    (bert, LoRA(), {"use_dora": True}, each(ATTENTION, f"{HALVES} lora_magnitude_vector.default.weight")),
    (bert, LoRA(), {"target": "all-linear"}, each(f"{ATTENTION} {INNER} {BEHIND}", HALVES)),
    (bert, QLoRA(), {}, each(f"{ATTENTION} {INNER} {BEHIND}", HALVES)),
    (bert, LoKr(), {}, each(ATTENTION, "lokr_w1.default lokr_w2.default")),
    (bert, OFT(), {"block_size": 8}, each(ATTENTION, "oft_R.default.weight")),
    (bert, IA3(), {}, each(f"{SCALED} {BEHIND}", "ia3_l.default")),
    (
        bert,
        BottleneckAdapters(),
        {},
        each(f"{BEHIND_ATTENTION} {BEHIND}", BOTTLENECK) | each(NORMS_OF_BERT, "weight bias"),
    ),
    (bert, BottleneckAdapters(), {"placement": "pfeiffer"}, each(BEHIND, BOTTLENECK)),
    (bert, PromptTuning(), {}, each("soft_prompt", "tokens")),
    (bert, PrefixTuning(), {}, each("soft_prompt", "rows") | each(NETWORK, "weight bias")),
    (bert, PrefixTuning(), {"hidden": 0}, each("soft_prompt", "rows")),
    (timm_vit, VisualPrompts(), {}, each(" ".join(f"blocks.{n}" for n in range(6)), "visual_prompts.tokens")),
    (timm_vit, VisualPrompts(), {"depth": "shallow"}, each("blocks.0", "visual_prompts.tokens")),
    (
        fused_vit,
        VisualPrompts(),
        {},
        each(" ".join(f"encoder.layers.encoder_layer_{n}" for n in (0, 1)), "visual_prompts.tokens"),
    ),
    (timm_vit, LoRA(), {}, each(" ".join(f"blocks.{n}.attn.{m}" for n in range(6) for m in ("qkv", "proj")), HALVES)),
]


@pytest.mark.parametrize(
    ("build", "strategy", "options", "expected"),
    ADDED,
    ids=[f"{strategy.name} {options} {build.__name__}" for build, strategy, options, _ in ADDED],
)
def test_steps_move_what_was_added_and_the_head_and_nothing_that_was_there(
    build: Callable[[], BackboneModule], strategy: AddedStrategy, options: dict[str, Any], expected: set[str]
) -> None:
    model, chosen = prepared(build, strategy, **options), strategy.Options.model_validate(options)
    groups = strategy.param_groups(model, chosen, learning_rate=0.01, weight_decay=0.1)
    optimizer = torch.optim.AdamW([{"params": group.params} for group in groups], lr=0.01)
    before = copied(model.state_dict())
    for _ in range(2):  # in the first, what is multiplied with zeros gets no gradient
        set_train_mode(model)
        loss = model.head.loss(model(PIXELS if "vit" in build.__name__ else TEXTS), torch.tensor([0, 1])).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert moved(before, model.state_dict()) == expected | HEAD


def test_every_strategy_is_looked_at(registry: Registry) -> None:
    by_themselves = {"gradual_unfreezing", "lp_ft", "nearest_mean"}
    assert {name for name, _, _ in RUNS} | {one.name for _, one, _, _ in ADDED} | by_themselves == set(
        registry.strategies
    )
