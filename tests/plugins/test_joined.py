"""Two joined backbones are one: they keep its contract, and heads learn from both or weigh them."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.plugins.writing_helpers import write_language_model
from tlstudio.api import DataError, FeatureShape, PluginError, Sample, TLStudioError, WeightsError, WeightsInfo
from tlstudio.api.features import Features
from tlstudio.api.options import describe
from tlstudio.engine.feature_cache import cache_path
from tlstudio.plugins import Registry
from tlstudio.plugins.joined import JoinedBackbone, JoinedPreprocessor, join
from tlstudio.plugins.joined_network import JoinedNetwork
from tlstudio.plugins.sources import import_file
from tlstudio.store.project import Project
from tlstudio.testing import (
    TinyConvNet,
    TinyTextEncoder,
    check_backbone,
    check_head,
    check_strategy,
    tiny_backbones,
    tiny_samples,
    tiny_target,
)
from tlstudio_heads.fusion_heads import GatedFusion
from tlstudio_heads.fusion_modules import GatedUnit
from tlstudio_heads.modules import ClassificationModule
from tlstudio_text.writing_backbones import LanguageModel

STRATEGIES = ("linear_probe", "partial", "gradual_unfreezing", "full", "lora")
HEADS = ("classification", "multi_label", "regression", "anomaly_detection", "gated_fusion")
BOTH = "resnet18+all-MiniLM-L6-v2"


class WordsAlone(TinyTextEncoder):
    """Gives a vector for each word and none for the text."""

    _provides = frozenset({"tokens"})


@pytest.fixture
def tiny() -> JoinedBackbone:
    """A tiny backbone for images and one for texts."""
    (backbone,) = tiny_backbones("image+text")
    assert isinstance(backbone, JoinedBackbone)
    return backbone


def test_a_joined_backbone_is_what_it_says(tiny: JoinedBackbone, tmp_path: Path) -> None:
    samples = tiny_samples("image+text", "classification", tmp_path)
    check_backbone(tiny, samples, tmp_path, options=tiny.Options.model_validate({"image_seed": 1, "text_seed": 2}))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_head_and_strategy_goes_with_it(
    head: str, strategy: str, tiny: JoinedBackbone, registry: Registry, tmp_path: Path
) -> None:
    chosen = registry.head(head)
    samples = tiny_samples("image+text", chosen.task, tmp_path)
    tuning = registry.strategy(strategy)
    check_strategy(tuning, tiny, chosen, samples, tiny_target(chosen.task), tmp_path, epochs=5)


@pytest.mark.parametrize("head", HEADS)
def test_each_head_keeps_the_contract_on_both(head: str, registry: Registry, tmp_path: Path) -> None:
    chosen = registry.head(head)
    check_head(chosen, tiny_target(chosen.task), tiny_samples("image+text", chosen.task, tmp_path))


def test_its_features_are_those_of_both_each_in_the_same_scale(tiny: JoinedBackbone, tmp_path: Path) -> None:
    samples = tiny_samples("image+text", "classification", tmp_path)
    options = tiny.Options()
    prepare, module = tiny.preprocessor(options), tiny.load(options).eval()
    inputs = prepare.collate([prepare(sample) for sample in samples])
    with torch.no_grad():
        pooled = module(inputs).require("pooled")
    image, text = tiny_backbones("image")[0], tiny_backbones("text")[0]
    for part, start in ((image, 0), (text, 16)):
        own, alone = part.preprocessor(part.Options()), part.load(part.Options()).eval()
        with torch.no_grad():
            expected = alone(own.collate([own(sample) for sample in samples])).require("pooled").numpy()
        expected = (expected - expected.mean(1, keepdims=True)) / np.sqrt(expected.var(1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(pooled[:, start : start + 16], expected, atol=1e-5)


def test_what_is_as_far_from_the_output_is_thawed_together(tiny: JoinedBackbone) -> None:
    names = [group.name for group in tiny.load(tiny.Options()).layer_groups()]
    assert names == ["image stem + text embedding", "image stage 1 + text layer 1", "image stage 2 + text layer 2"]


def test_its_name_and_options_are_those_of_both(registry: Registry) -> None:
    backbone = registry.backbone(BOTH)
    assert (backbone.name, backbone.modality) == (BOTH, "image+text")
    fields = {field.name: field for field in describe(backbone.Options)}
    size, length = fields["image_image_size"], fields["text_max_length"]
    assert (size.minimum, size.maximum, size.nullable, size.unit) == (16, 2048, True, "px")
    assert (length.default, length.title) == (256, "Text: Longest text")
    assert fields["text_pooling"].choices == ("mean", "cls", "max", "last")
    options = backbone.Options.model_validate({"image_weights": "random", "image_image_size": 64, "text_max_length": 9})
    assert backbone.Options.model_validate(options.model_dump()) == options
    assert backbone.info().shape == FeatureShape(896, parts=(512, 384))
    assert type(registry.backbone(BOTH)).Options is type(options), "they are the same each time"
    with pytest.raises(ValueError, match="image_image_size"):
        backbone.Options.model_validate({"image_image_size": 3})
    assert set(backbone.free_options) == {"image_drop_path", "text_max_length", "text_pooling"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere+all-MiniLM-L6-v2", "There is no backbone 'nowhere'"),
        ("all-MiniLM-L6-v2+resnet18", "takes texts, where a backbone for images must stand. Name first"),
        ("resnet18+resnet18", "takes images, where a backbone for texts must stand"),
        ("resnet18+", "There is no backbone ''"),
    ],
)
def test_names_that_cannot_be_joined_are_told(name: str, sentence: str, registry: Registry) -> None:
    with pytest.raises(PluginError, match=sentence):
        registry.backbone(name)


def test_a_wrong_option_of_one_of_the_two_is_told_by_its_own_name(registry: Registry, tmp_path: Path) -> None:
    backbone = registry.backbone("test_resnet+auto_model")
    options = backbone.Options.model_validate({"image_weights": "random", "text_weights": str(tmp_path / "gone")})
    with pytest.raises(WeightsError) as told:
        backbone.find_weights(options)
    assert told.value.field == "backbone.text_weights"


def test_a_single_backbone_for_data_of_both_is_refused_with_what_to_do(registry: Registry) -> None:
    sentences = registry.why_not(
        registry.backbone("test_resnet"),
        registry.head("classification"),
        None,
        modality="image+text",
        task="classification",
    )
    assert len(sentences) == 1
    assert "the data set has images with texts. Join one for images and one for texts" in sentences[0]


def test_of_a_language_model_the_part_that_reads_is_joined(tmp_path: Path) -> None:
    folder = write_language_model(tmp_path / "gpt2", "gpt2")
    joined = join(TinyConvNet(), LanguageModel())
    options = joined.Options.model_validate({"text_weights": str(folder), "text_max_length": 4})
    network = joined.load(options)
    assert isinstance(network, JoinedNetwork)
    assert not hasattr(network.text.get_submodule("model"), "lm_head")
    preprocessor = joined.preprocessor(options)
    assert preprocessor.limit == "4 tokens"
    words = [Sample("1", text="the film was great and very dull"), Sample("2", text="dull")]
    assert [preprocessor.is_cut(sample) for sample in words] == [True, False]


def test_features_are_kept_by_the_weights_of_both(tiny: JoinedBackbone, shapes_project: Project) -> None:
    revision, options = shapes_project.dataset("shapes"), tiny.Options()
    folder = shapes_project.folder
    (folder / "image.pt").write_bytes(b"1")
    (folder / "text.pt").write_bytes(b"2")
    image, text = (WeightsInfo(folder / f"{side}.pt", "a file") for side in ("image", "text"))
    found = WeightsInfo(image.path, "two files", parts=(image, text))

    def path() -> Path:
        return cache_path(folder, revision, tiny, options, found, tiny.preprocessor(options), seed=0)

    before = path()
    assert path() == before
    os.utime(folder / "text.pt", ns=(0, 0))
    assert path() != before


def test_a_loader_process_gets_the_preprocessors_of_the_users_own_plugins(tmp_path: Path) -> None:
    (tmp_path / "own_words.py").write_text(
        """
from tlstudio.api import Preprocessor

class Own(Preprocessor):
    def __call__(self, sample, seed=None):
        return {"length": len(sample.text)}

    def collate(self, items):
        import torch
        return {"lengths": torch.tensor([item["length"] for item in items])}
""",
        encoding="utf-8",
    )
    own = import_file(tmp_path / "own_words.py").Own()
    image = tiny_backbones("image")[0]
    made = pickle.loads(pickle.dumps(JoinedPreprocessor(image.preprocessor(image.Options()), own)))
    (sample,) = tiny_samples("image+text", "classification", tmp_path, count=1)
    assert sample.text is not None
    assert made.collate([made(sample)])["text_lengths"].tolist() == [len(sample.text)]


def test_the_gates_of_two_parts_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    unit = GatedUnit((3, 5), 4)
    x = torch.randn(6, 8)
    with torch.no_grad():
        output = unit(x)
        image, text = (torch.tanh(layer(part)) for layer, part in zip(unit.values, x.split([3, 5], dim=1), strict=True))
        # softmax(a, b) is sigmoid(a - b) and its rest: z and 1 - z with z = sigmoid(W [x1, x2]).
        weight = unit.gates.weight[:4] - unit.gates.weight[4:]
        z = torch.sigmoid(x @ weight.T + unit.gates.bias[:4] - unit.gates.bias[4:])
    torch.testing.assert_close(output, z * image + (1 - z) * text)


def test_gates_learn_which_of_the_two_tells_the_class() -> None:
    rng = np.random.default_rng(0)
    count = 400
    y = rng.integers(0, 2, count)
    trusted = rng.integers(0, 2, count)  # 0: the first part tells the class, 1: the second
    parts = rng.integers(0, 2, (count, 2)) * 2.0 - 1
    parts[np.arange(count), trusted] = y * 2.0 - 1
    flag = trusted[:, None] * 2.0 - 1
    x = torch.tensor(np.concatenate([parts[:, :1], flag, parts[:, 1:]], axis=1), dtype=torch.float32)
    torch.manual_seed(0)
    shape = FeatureShape(3, parts=(2, 1))
    target = replace(tiny_target("classification"), classes=("a", "b"), class_counts=(200, 200))
    module = GatedFusion().build(shape, target, GatedFusion().Options.model_validate({"hidden": 16}))
    assert isinstance(module, ClassificationModule)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    targets = torch.from_numpy(y)
    for _ in range(150):
        optimizer.zero_grad()
        torch.autograd.backward(module.loss(module(Features(pooled=x)), targets).mean())
        optimizer.step()
    found = module.eval()(Features(pooled=x)).argmax(1)
    assert (found == targets).float().mean() > 0.99, "no sum of the two alone gets beyond 3 of 4"


def test_gated_fusion_needs_features_of_several_kinds(registry: Registry) -> None:
    with pytest.raises(DataError, match="gives one kind"):
        GatedFusion().build(FeatureShape(16), tiny_target("classification"), GatedFusion().Options())
    sentences = registry.why_not(
        registry.backbone("test_resnet"), GatedFusion(), None, modality="image", task="classification"
    )
    assert sentences == ["Gated fusion needs several kinds of features, test_resnet gives maps and pooled."]


def test_a_backbone_without_pooled_features_cannot_be_joined() -> None:
    with pytest.raises(TLStudioError, match="gives no pooled features") as told:
        join(TinyConvNet(), WordsAlone()).info()
    assert told.value.field == "backbone.name"
