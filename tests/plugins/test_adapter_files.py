"""Adapter files of QLoRA in PEFT alone; why prompts and prefixes have none; what the strategies store by default."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from torch import Tensor

from tests.plugins.test_added_strategies import (
    IDS,
    TEXTS,
    bert,
    built,
    gpt2,
    lite,
    llama,
    minilm,
    outputs,
    prepared,
    stirred,
    vit_tiny,
)
from tlstudio.api import describe
from tlstudio.api.nn import BackboneModule
from tlstudio.engine.adapter_facts import has_adapter
from tlstudio.plugins import Registry
from tlstudio_strategies.adapter_files import save_adapter
from tlstudio_strategies.added import OFT
from tlstudio_strategies.four_bits import FourBitLinear
from tlstudio_strategies.lora import QLoRA
from tlstudio_strategies.soft_prompts import PrefixTuning, PromptTuning

ASKED = "ignore:.is_gradient_checkpointing:FutureWarning"  # PEFT asks transformers for it


@pytest.mark.filterwarnings(ASKED)
@pytest.mark.parametrize("build", [bert, llama])
def test_the_adapter_of_qlora_fits_the_full_weights_in_peft_alone_up_to_what_four_bits_lose(
    build: Callable[[], BackboneModule], tmp_path: Path
) -> None:
    plain = built(build)
    adapted = copy.deepcopy(plain)
    QLoRA().add(adapted, QLoRA.Options(rank=2))
    start = outputs(adapted)
    stirred(adapted)
    learned = outputs(adapted)
    assert save_adapter(adapted, tmp_path)
    rounded = copy.deepcopy(plain)
    quantised = [(name, layer) for name, layer in adapted.named_modules() if isinstance(layer, FourBitLinear)]
    for name, layer in quantised:
        with torch.no_grad():
            rounded.get_parameter(f"{name.removesuffix('.base_layer')}.weight").copy_(layer.weight)
    assert len(quantised) >= 12

    def in_peft(network: Any) -> Tensor:
        network.model = PeftModel.from_pretrained(network.model, str(tmp_path)).base_model.model
        return outputs(network)

    torch.testing.assert_close(in_peft(rounded), learned, rtol=1e-6, atol=1e-6)
    lost = (in_peft(copy.deepcopy(plain)) - learned).norm()
    assert 0 < float(lost) < 0.15 * float((learned - start).norm())


def positions(behind: int) -> Tensor:
    """Places of two texts of six tokens behind so many others, ``[2, T]``."""
    return torch.arange(behind, behind + 6).expand(2, -1)


@pytest.mark.filterwarnings(ASKED)
@pytest.mark.filterwarnings("ignore:Position ids are not supported")  # which is what is shown here
@pytest.mark.parametrize("build", [bert, gpt2])
def test_prompts_and_prefixes_have_no_adapter_file_as_peft_puts_the_text_to_other_places(
    build: Callable[[], BackboneModule], registry: Registry
) -> None:
    """Where PEFT ceases to do so, a file would be of use."""
    sizes: dict[str, Any] = {"num_virtual_tokens": 3, "num_layers": 2, "num_attention_heads": 2, "token_dim": 16}
    task = "CAUSAL_LM" if build is gpt2 else "FEATURE_EXTRACTION"
    ids, mask = IDS[:1, :3], TEXTS["attention_mask"][:1, :3]
    for strategy, config in ((PromptTuning(), PromptTuningConfig), (PrefixTuning(), PrefixTuningConfig)):
        assert not has_adapter(strategy.name, registry)
        options = {"prompts": 3} | ({"hidden": 0} if strategy.name == "prefix_tuning" else {})
        backbone: Any = prepared(build, strategy, **options).backbone.eval()
        (learned,) = (parameter for parameter in backbone.parameters() if parameter.requires_grad)
        with torch.no_grad():
            learned.normal_(generator=torch.Generator().manual_seed(5))
        peft: Any = get_peft_model(built(build).get_submodule("model"), config(task_type=task, **sizes)).eval()
        with torch.no_grad():
            peft.prompt_encoder["default"].embedding.weight.copy_(learned)
            own, theirs = (model(ids, attention_mask=mask)[0][:, -3:] for model in (backbone.model, peft))
            # Of a prefix, PEFT adds its length to places that it is given; of prompts, it leaves these out.
            moved = peft(ids, attention_mask=mask, position_ids=positions(-3)[:1, :3])[0][:, -3:]
        assert not torch.allclose(own, theirs, atol=1e-3), strategy.name
        assert torch.allclose(own, moved, atol=1e-5) == (strategy.name == "prefix_tuning")


@pytest.mark.parametrize(
    ("build", "strategy", "share"),
    [
        (minilm, QLoRA(), 0.018),
        (minilm, OFT(), 0.006),
        (vit_tiny, OFT(), 0.013),
        (lite, OFT(), 0.05),
    ],
    ids=lambda v: getattr(v, "name", getattr(v, "__name__", "")),
)
def test_what_oft_stores_by_default_is_what_its_help_says_and_qlora_stays_below_two_hundredths(
    build: Callable[[], BackboneModule], strategy: OFT | QLoRA, share: float
) -> None:
    with torch.device("meta"):  # sizes alone
        whole = sum(parameter.numel() for parameter in build().parameters())
        model = prepared(build, strategy)
    stored = sum(parameter.numel() for parameter in model.backbone.parameters() if parameter.requires_grad) / whole
    assert stored == pytest.approx(share, abs=0.0005)
    if isinstance(strategy, OFT):
        (told,) = (field.help for field in describe(OFT.Options) if field.name == "block_size")
        assert f"{round(100 * stored)} % of a " in told
    else:
        assert stored <= 0.02
