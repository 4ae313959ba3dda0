"""Every backbone, head and strategy that fit together do what the contract says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.plugins.audio_models import write_audio_model, write_speech_model
from tests.plugins.writing_helpers import write_language_model
from tlstudio.api import Backbone, Modality, Options, RunError, Sample, Task
from tlstudio.api.nn import TransferModel
from tlstudio.plugins import PluginManager, Registry
from tlstudio.testing import (
    ContractError,
    check_backbone,
    check_format,
    check_strategy,
    tiny_backbones,
    tiny_samples,
    tiny_target,
    write_image_folder,
    write_text_table,
)
from tlstudio_strategies import register_strategies
from tlstudio_strategies.lora import LoRA
from tlstudio_strategies.partial import Partial
from tlstudio_strategies.probe import LinearProbe

POOLED: tuple[Task, ...] = ("classification", "multi_label", "regression", "anomaly_detection")
ON_TOKENS: tuple[Task, ...] = ("token_classification", "question_answering")
ON_MAPS: tuple[Task, ...] = ("segmentation", "detection")
STRATEGIES = ("linear_probe", "partial", "gradual_unfreezing", "full", "lora", "lora+dora", "lora+attention+dropout")
FIRST_OPTION = {"surgical": "block", "adapters": "placement", "vpt": "depth"}  # what stands behind the plus
SMALL_HEADS: dict[str, dict[str, object]] = {"detection": {"width": 16, "depth": 1}}
# The smallest networks of torchvision and timm: each kind of layer, in a second or less.
VISION = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "test_efficientnet", "test_resnet", "test_vit")
AUDIO = ("tiny_sound_encoder", "wav2vec2", "ast", "whisper")
LANGUAGE = ("gpt2", "llama", "t5")
BACKBONES = ("tiny_conv_net", "tiny_text_encoder", "bert", *VISION, *AUDIO, "speech_model", *LANGUAGE)
ON_SOUNDS: tuple[str, ...] = ("classification", "anomaly_detection", "ctc")
HEADS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("tiny_text_encoder", "bert"), (*POOLED, *ON_TOKENS)),
    "bert": (*POOLED, *ON_TOKENS, "masked_language_model"),
    **dict.fromkeys(("tiny_conv_net", *VISION), (*POOLED, *ON_MAPS)),
    **dict.fromkeys(AUDIO, ON_SOUNDS),
    "wav2vec2": (*POOLED, "ctc"),
    "speech_model": ("speech_writing",),
    **dict.fromkeys(LANGUAGE, ("classification", "generation")),
}
WITHOUT_ATTENTION = ("tiny_conv_net", *VISION[:4])

CHOSEN = [
    (backbone, head, strategy)
    for backbone in BACKBONES
    for head in HEADS[backbone]
    for strategy in STRATEGIES
    if "+attention" not in strategy or backbone not in WITHOUT_ATTENTION
    if strategy != "linear_probe"
    or head not in ("generation", "speech_writing", "masked_language_model")  # which have no layer of their own
] + [
    # Of the others, one backbone of each kind that matters to them.
    ("test_efficientnet", "classification", "bitfit"),
    ("bert", "token_classification", "bitfit"),
    ("gpt2", "generation", "bitfit"),
    ("tiny_conv_net", "classification", "surgical"),
    ("test_resnet", "classification", "surgical+middle"),
    ("whisper", "classification", "surgical+first"),
    ("t5", "generation", "surgical"),
    ("test_resnet", "segmentation", "lp_ft"),
    ("bert", "classification", "lp_ft"),
    ("test_resnet", "classification", "setfit"),
    ("bert", "classification", "setfit"),
    ("test_efficientnet", "classification", "nearest_mean"),
    ("wav2vec2", "classification", "nearest_mean"),
    ("bert", "classification", "qlora"),
    ("llama", "generation", "qlora"),
    ("bert", "token_classification", "ia3"),
    ("test_vit", "classification", "ia3"),
    ("t5", "generation", "ia3"),
    ("test_efficientnet", "classification", "oft"),
    ("bert", "classification", "oft"),
    ("test_vit", "segmentation", "lokr"),
    ("test_efficientnet", "classification", "lokr"),
    ("bert", "classification", "adapters"),
    ("gpt2", "generation", "adapters+pfeiffer"),
    ("whisper", "ctc", "adapters"),
    ("test_vit", "classification", "vpt"),
    ("test_vit", "segmentation", "vpt+shallow"),
    ("bert", "token_classification", "prompt_tuning"),
    ("t5", "generation", "prompt_tuning"),
    ("llama", "generation", "prefix_tuning"),
    ("gpt2", "classification", "prefix_tuning"),
    ("bert", "token_classification", "prefix_tuning"),
    ("t5", "generation", "prefix_tuning"),
]
EVERY = [
    (backbone, head, strategy)
    for backbone in BACKBONES
    for head in HEADS[backbone]
    for strategy in dict.fromkeys([*STRATEGIES, *(one.name for one in register_strategies())])
]
# Ten minutes more, for whoever changes the contract.
COMBINATIONS = EVERY if os.environ.get("TLSTUDIO_EVERY_COMBINATION") else CHOSEN


@dataclass(frozen=True)
class Built:
    """A backbone with options, and samples for it."""

    backbone: Backbone
    options: Options
    groups: int


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose by being shared between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def registry() -> Registry:
    """All that the installed plugins bring."""
    manager = PluginManager()
    manager.discover()
    return manager.registry


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights, as transformers writes it."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    words = [*"abcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    config = BertConfig(
        vocab_size=57,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    torch.manual_seed(0)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def build(registry: Registry, bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """Backbones that were built already; those of the libraries are slow to build."""
    built: dict[str, Built] = {}
    for backbone in tiny_backbones():
        built[backbone.name] = Built(backbone, backbone.Options(), 3)
    text = registry.backbone("auto_model")
    built["bert"] = Built(text, text.Options.model_validate({"weights": str(bert_folder)}), 3)
    for name in VISION:
        vision = registry.backbone(name)
        options = vision.Options.model_validate({"weights": "random", "image_size": 32})
        built[name] = Built(vision, options, 20)
    audio = registry.backbone("auto_audio")
    for family in AUDIO[1:]:
        folder = write_audio_model(tmp_path_factory.mktemp(family), family)
        built[family] = Built(audio, audio.Options.model_validate({"weights": str(folder)}), 8)
    speech, folder = registry.backbone("speech_model"), write_speech_model(tmp_path_factory.mktemp("speech"))
    built["speech_model"] = Built(speech, speech.Options.model_validate({"weights": str(folder)}), 14)
    language = registry.backbone("language_model")
    for kind in LANGUAGE:
        folder = write_language_model(tmp_path_factory.mktemp(kind), kind)
        built[kind] = Built(language, language.Options.model_validate({"weights": str(folder)}), 6)
    return built


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[Sample]]:
    """Two samples for each modality and task."""
    folder = tmp_path_factory.mktemp("samples")
    wanted: dict[Modality, tuple[Task, ...]] = {
        "image": (*POOLED, *ON_MAPS),
        "text": (*POOLED, *ON_TOKENS, "generation", "pretraining"),
        "audio": (*POOLED, "speech_recognition"),
    }
    return {
        (modality, task): tiny_samples(modality, task, folder, count=2)
        for modality, tasks in wanted.items()
        for task in tasks
    }


@pytest.mark.parametrize(("backbone", "head", "strategy"), COMBINATIONS)
def test_what_fits_together_trains_what_it_says_and_is_restored_exactly(
    backbone: str,
    head: str,
    strategy: str,
    registry: Registry,
    build: dict[str, Built],
    samples: dict[tuple[str, str], list[Sample]],
    tmp_path: Path,
) -> None:
    chosen, options = _strategy_options(strategy)
    used = build[backbone]
    task = registry.head(head).task
    tuning = registry.strategy(chosen)
    may_refuse = (backbone, head, strategy) not in CHOSEN
    if reason := tuning.why_not(used.backbone.info(), registry.head(head)):
        assert may_refuse, reason
        pytest.skip(reason)
    try:
        check_strategy(
            tuning,
            used.backbone,
            registry.head(head),
            samples[used.backbone.modality, task],
            tiny_target(task),
            tmp_path,
            options=tuning.Options.model_validate(options),
            backbone_options=used.options,
            head_options=registry.head(head).Options.model_validate(SMALL_HEADS.get(head, {})),
            epochs=used.groups + 1 if chosen == "gradual_unfreezing" else 2,
        )
    except RunError as error:  # what is loaded may show that they do not fit
        if not may_refuse or not _says_what_to_do_instead(error):
            raise
        pytest.skip(str(error))


def _says_what_to_do_instead(refusal: RunError) -> bool:
    at_strategy = refusal.field.partition(".")[0] == "strategy"
    return at_strategy and refusal.what.endswith(".") and refusal.remedy.startswith(("Choose ", "Set "))


def _strategy_options(strategy: str) -> tuple[str, dict[str, object]]:
    name, *extra = strategy.split("+")
    options: dict[str, object] = {}
    if "dora" in extra:
        options["use_dora"] = True
    if "attention" in extra:
        options["target"] = "attention"
    if "dropout" in extra:
        options["dropout"] = 0.2
    if name == "lora":
        options["rank"] = 2
    if name == "lp_ft":
        options["head_epochs"] = 1
    if name in FIRST_OPTION and extra:
        options[FIRST_OPTION[name]] = extra[0]
    if name in ("prompt_tuning", "prefix_tuning"):
        options["prompts"] = 2
    return name, options


def test_a_method_of_a_strategy_that_does_not_fit_is_told_as_before_a_run(
    registry: Registry, samples: dict[tuple[str, str], list[Sample]], tmp_path: Path
) -> None:
    head, small = registry.head("segmentation"), tiny_backbones("image")[0]
    with pytest.raises(RunError, match=r"no block can be chosen .* Set strategy.block"):
        check_strategy(
            registry.strategy("surgical"),
            small,
            head,
            samples["image", "segmentation"],
            tiny_target("segmentation"),
            tmp_path,
        )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_each_backbone_is_what_it_says(
    backbone: str, build: dict[str, Built], samples: dict[tuple[str, str], list[Sample]], tmp_path: Path
) -> None:
    used = build[backbone]
    check_backbone(used.backbone, samples[used.backbone.modality, "classification"], tmp_path, options=used.options)


def test_the_bundled_formats_keep_the_contract(registry: Registry, tmp_path: Path) -> None:
    images = write_image_folder(tmp_path / "images", each=2)
    texts = write_text_table(tmp_path / "texts.csv", each=3)
    for path, expected in ((images, 6), (texts, 9)):
        _, best = registry.detect_format(path)[0]
        assert len(check_format(best, path, "classification")) == expected


class Forgetful(Partial):
    """Says that only the head moves, although the last layers learn."""

    def updates(self, model: TransferModel, options: Options) -> set[str]:
        """Name the head alone."""
        return {name for name in model.state_dict() if name.startswith("head.")}


class Reviving(LinearProbe):
    """Names what moves but lets a frozen backbone learn in the second epoch."""

    def on_epoch_start(self, model: TransferModel, epoch: int, options: Options) -> None:
        """Unfreeze everything: the statistics of BatchNorm then move."""
        model.requires_grad_(epoch > 0)
        model.head.requires_grad_(True)


class Unmerged(LoRA):
    """Leaves its adapters in place."""

    def merge(self, model: TransferModel) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("strategy", "sentence"),
    [
        (Forgetful(), "which updates.. does not name"),
        (Reviving(), "These moved although updates.. does not name them: .*running_mean"),
        (Unmerged(), "After merge.. the backbone has other names"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_strategy_that_breaks_its_word_is_caught(
    strategy: Partial | LinearProbe | LoRA,
    sentence: str,
    registry: Registry,
    samples: dict[tuple[str, str], list[Sample]],
    tmp_path: Path,
) -> None:
    with pytest.raises(ContractError, match=sentence):
        check_strategy(
            strategy,
            tiny_backbones("image")[0],
            registry.head("classification"),
            samples["image", "classification"],
            tiny_target("classification"),
            tmp_path,
        )
