"""What strategies put into frozen backbones: where, how it begins, what moves, and adapters that PEFT reads alone."""

from __future__ import annotations

import copy
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from peft import PeftModel, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file
from scipy.stats import norm
from torch import Tensor, nn
from torchvision.models import VisionTransformer, resnet18
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
)
from transformers import ViTModel as HuggingFaceViT

from tests.plugins.test_strategies import conv_model
from tlstudio.api import BackboneInfo, FeatureShape, RunError
from tlstudio.api.features import Features
from tlstudio.api.nn import BackboneModule, Generation, TransferModel, count_parameters, learning_names, set_train_mode
from tlstudio.engine.activations import recompute_activations
from tlstudio.testing import tiny_target
from tlstudio.testing.networks import TextEncoder
from tlstudio_heads.heads import Classification
from tlstudio_strategies.adapter_files import save_adapter
from tlstudio_strategies.added import IA3, OFT, AddedStrategy, LoKr
from tlstudio_strategies.bitfit import BitFit
from tlstudio_strategies.bottleneck import BottleneckAdapters
from tlstudio_strategies.four_bits import NF4, FourBitLinear, out_of_four_bits
from tlstudio_strategies.lora import LoRA, QLoRA
from tlstudio_strategies.soft_prompts import PrefixTuning, PromptTuning
from tlstudio_strategies.vpt import VisualPrompts
from tlstudio_text.network import TextNetwork
from tlstudio_text.writing_network import LanguageNetwork
from tlstudio_vision.timm_network import TimmNetwork
from tlstudio_vision.torchvision_network import TorchvisionNetwork

TOKENS: dict[str, Any] = {"vocab_size": 57}
SMALL: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
IDS = torch.tensor([[5, 9, 13, 2, 7, 8], [11, 3, 4, 1, 1, 1]])
TEXTS = {"input_ids": IDS, "attention_mask": (torch.arange(6) < torch.tensor([[6], [3]])).long()}
PIXELS = {"pixels": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))}


class Images(BackboneModule):
    """A vision transformer of transformers."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        config = ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
        )
        self.model = HuggingFaceViT(config, add_pooling_layer=False)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Return its class token."""
        return Features(pooled=self.model(pixel_values=inputs["pixels"]).last_hidden_state[:, 0])

    def layer_groups(self) -> Any:
        """Return none."""
        return []


def bert() -> BackboneModule:
    """A small BERT."""
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=6,
        **TOKENS,
    )
    return reading(BertModel(config, add_pooling_layer=False))


def roberta() -> BackboneModule:
    """A small RoBERTa, which counts places from its padding on."""
    config = RobertaConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
        **TOKENS,
    )
    return reading(RobertaModel(config, add_pooling_layer=False))


def distilbert() -> BackboneModule:
    """A small DistilBERT."""
    return reading(DistilBertModel(DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, **TOKENS)))


def reading(model: Any) -> BackboneModule:
    """An encoder as a backbone."""
    arguments: dict[str, Any] = dict.fromkeys(list(inspect.signature(TextNetwork).parameters)[2:], None)
    return TextNetwork(model, "mean", **arguments)


def t5(layers: int = 2) -> BackboneModule:
    """A small T5, which writes."""
    sizes: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": layers, "num_heads": 2}
    tokens = {"decoder_start_token_id": 0, "eos_token_id": 1, **TOKENS}
    return writing(T5ForConditionalGeneration(T5Config(**sizes, **tokens)))


def bart(layers: int = 2) -> BackboneModule:
    """A small BART, which writes."""
    each = {"layers": layers, "attention_heads": 2, "ffn_dim": 32}
    sizes: dict[str, Any] = {f"{half}_{name}": value for name, value in each.items() for half in ("encoder", "decoder")}
    tokens = {"decoder_start_token_id": 0, "eos_token_id": 1, "forced_eos_token_id": None, **TOKENS}
    return writing(BartForConditionalGeneration(BartConfig(d_model=16, max_position_embeddings=16, **sizes, **tokens)))


def gpt2() -> BackboneModule:
    """A small GPT-2, which writes."""
    config = GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=16, bos_token_id=1, eos_token_id=1, **TOKENS)
    return writing(GPT2LMHeadModel(config))


def llama() -> BackboneModule:
    """A small Llama, with fewer keys than queries."""
    config = LlamaConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=32,
        **TOKENS,
    )
    return writing(LlamaForCausalLM(config))


def writing(model: Any) -> BackboneModule:
    """A language model as a backbone; its weights are large, so that what it writes differs."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    network = LanguageNetwork(model, "mean", [1], 16)
    network.wanted = "logits"
    return network


def timm_vit() -> BackboneModule:
    """The smallest vision transformer of timm."""
    return TimmNetwork(timm.create_model("test_vit", num_classes=0, img_size=32))


def fused_vit() -> BackboneModule:
    """A small vision transformer of torchvision, with fused attention."""
    return TorchvisionNetwork(VisionTransformer(32, 8, 2, 2, 16, 32))


def resnet() -> BackboneModule:
    """A residual network."""
    return TorchvisionNetwork(resnet18())


def outputs(network: BackboneModule) -> Tensor:
    """Features, or scores of the next token, in evaluation mode."""
    network.eval()
    texts = isinstance(network, (TextNetwork, LanguageNetwork))
    with torch.no_grad():
        features: Features = network(TEXTS if texts else PIXELS)
    return features.require("logits" if network.wanted == "logits" else "pooled")


def built(build: Callable[[], BackboneModule]) -> BackboneModule:
    """Build a network, always with the same weights."""
    torch.manual_seed(0)
    return build().requires_grad_(False)


def stirred(network: nn.Module) -> None:
    """Move all that learns a little."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


IDENTITIES: list[tuple[Callable[[], BackboneModule], AddedStrategy, dict[str, Any]]] = [
    (bert, IA3(), {}),
    (gpt2, IA3(), {}),
    (fused_vit, IA3(), {}),
    (bert, OFT(), {"block_size": 8}),
    (resnet, OFT(), {"block_size": 8}),
    (bert, LoKr(), {"rank": 2}),
    (resnet, LoKr(), {"rank": 2}),
    (bert, LoRA(), {"rank": 2, "use_dora": True}),
    (resnet, LoRA(), {"rank": 2}),
    (fused_vit, LoRA(), {"rank": 2}),
    (timm_vit, LoRA(), {"rank": 2}),
    (bert, BottleneckAdapters(), {"width": 4}),
    (gpt2, BottleneckAdapters(), {"width": 4}),
    (fused_vit, BottleneckAdapters(), {"width": 4}),
    (llama, BottleneckAdapters(), {"width": 4, "placement": "pfeiffer"}),
]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks transformers for it
@pytest.mark.parametrize(
    ("build", "strategy", "options"), IDENTITIES, ids=lambda v: getattr(v, "name", getattr(v, "__name__", ""))
)
def test_what_is_added_begins_as_nothing_and_does_something_once_it_has_learned(
    build: Callable[[], BackboneModule], strategy: AddedStrategy, options: dict[str, Any], tmp_path: Path
) -> None:
    plain = built(build)
    first, names = outputs(plain), set(plain.state_dict())
    adapted = copy.deepcopy(plain)
    strategy.add(adapted, strategy.Options.model_validate(options))
    torch.testing.assert_close(outputs(adapted), first)
    stirred(adapted)
    then = outputs(adapted)
    assert not torch.allclose(then, first, atol=1e-4)
    if not strategy.merges:
        assert names < set(adapted.state_dict())
        return
    assert save_adapter(adapted, tmp_path)
    inner = copy.deepcopy(plain)
    alone: Any = PeftModel.from_pretrained(inner.get_submodule("model"), str(tmp_path))
    inner.model = alone.base_model.model
    torch.testing.assert_close(outputs(inner), then, rtol=1e-5, atol=1e-5)


def minilm() -> BackboneModule:
    """As large as all-MiniLM-L6-v2."""
    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    return reading(BertModel(config, add_pooling_layer=False))


def lite() -> BackboneModule:
    """The default for images."""
    return TimmNetwork(timm.create_model("tf_efficientnet_lite0", num_classes=0))


def vit_tiny() -> BackboneModule:
    """A small vision transformer of a usual width."""
    return TimmNetwork(timm.create_model("vit_tiny_patch16_224", num_classes=0))


@pytest.mark.parametrize("build", [minilm, lite, vit_tiny], ids=lambda f: f.__name__)
def test_with_defaults_nothing_stores_more_than_two_hundredths_of_the_backbone(
    build: Callable[[], BackboneModule],
) -> None:
    dora, pfeiffer = {"use_dora": True}, {"placement": "pfeiffer"}
    choices: list[tuple[Any, dict[str, Any], str]] = [
        (LoRA(), {}, "minilm 8, lite 2, vit_tiny 7"),
        (LoRA(), dora, "minilm 8, lite 2, vit_tiny 7"),
        (QLoRA(), {}, "vit_tiny 2"),
        (BottleneckAdapters(), {}, "minilm 47, vit_tiny 10"),
        (BottleneckAdapters(), pfeiffer, "minilm 64, vit_tiny 23"),
        (IA3(), {}, "minilm, vit_tiny"),
        (LoKr(), {}, "minilm, lite, vit_tiny"),
        (PromptTuning(), {}, "minilm"),
        (PrefixTuning(), {}, "minilm"),
        (VisualPrompts(), {}, "vit_tiny"),
        (BitFit(), {}, "minilm, lite, vit_tiny"),
    ]
    plain = built(build)
    whole = sum(parameter.numel() for parameter in plain.parameters())
    for strategy, values, where in choices:
        fits = next((one for one in where.split(", ") if one.startswith(build.__name__)), None)
        if fits is None:
            continue
        model = prepared(lambda: copy.deepcopy(plain), strategy, **values)
        stored = sum(p.numel() for p in model.backbone.parameters() if p.requires_grad)
        print(f"{strategy.name} {values or ''}: {stored / whole:.2%} of {build.__name__}")
        assert stored <= 0.02 * whole, strategy.name
        options = strategy.Options.model_validate(values)
        if width := fits.partition(" ")[2]:
            name, most = strategy.chosen_width
            assert strategy.settled(model, options) == options.model_copy(update={name: int(width)})
            notes = strategy.notes(model, options, 1)
            assert len(notes) == (int(width) < most)
            assert all(f"The {name} of {strategy.title} is {width} in place of {most}" in note for note in notes)


def test_a_rank_that_is_set_is_obeyed_and_the_least_is_one() -> None:
    model = prepared(bert, LoRA(), rank=5)
    options = LoRA.Options.model_validate({"rank": 5})
    assert LoRA().settled(model, options) is options
    assert LoRA().notes(model, options, 1) == ()
    assert model.backbone.get_submodule("model.encoder.layer.0.attention.self.query.lora_A.default").out_features == 5
    tiny = prepared(bert, LoRA())
    assert LoRA().width(tiny.backbone) == 1


@pytest.mark.parametrize(
    ("build", "strategy", "former"),
    [
        (bert, LoRA(), {"rank": 8}),
        (resnet, LoRA(), {"rank": 8}),
        (fused_vit, LoRA(), {"rank": 8}),
        (llama, QLoRA(), {"rank": 16}),
        (bert, BottleneckAdapters(), {"width": 64}),
        (bert, PrefixTuning(), {"hidden": 512}),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_what_a_run_has_stored_tells_the_width_that_its_recipe_leaves_out(
    build: Callable[[], BackboneModule], strategy: AddedStrategy, former: dict[str, int]
) -> None:
    state = prepared(build, strategy, **former).state_dict()
    shapes = {name: tensor.shape for name, tensor in state.items()}
    told = strategy.recorded(strategy.Options(), shapes)
    assert told == strategy.Options.model_validate(former)
    prepared(build, strategy, **told.model_dump()).load_state_dict(state)
    (name,) = former
    named = strategy.Options.model_validate({name: 3})
    assert strategy.recorded(named, shapes) is named
    assert strategy.recorded(strategy.Options(), {}) == strategy.Options()


def test_the_file_of_an_adapter_for_a_text_encoder_is_below_two_hundredths_of_it(tmp_path: Path) -> None:
    network = minilm().requires_grad_(False)
    whole = sum(p.numel() * p.element_size() for p in network.parameters())
    LoRA().add(network, LoRA.Options())
    assert save_adapter(network, tmp_path)
    assert (tmp_path / "adapter_model.safetensors").stat().st_size <= 0.02 * whole


def test_the_adapter_file_names_layers_as_the_library_does_and_no_place_on_this_machine(tmp_path: Path) -> None:
    network = built(bert)
    LoRA().add(network, LoRA.Options())
    assert save_adapter(network, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["base_model_name_or_path"] is None
    named = set(load_file(tmp_path / "adapter_model.safetensors"))
    assert "base_model.model.encoder.layer.0.attention.self.query.lora_A.weight" in named


def test_an_adapter_in_a_network_of_no_library_has_no_file(tmp_path: Path) -> None:
    network = TextEncoder(10).requires_grad_(False)
    LoRA().add(network, LoRA.Options())
    with pytest.raises(RunError, match="not the network of one library"):
        save_adapter(network, tmp_path)


def prepared(build: Callable[[], BackboneModule], strategy: AddedStrategy, **options: Any) -> TransferModel:
    """A model with a head, prepared by a strategy."""
    backbone = built(build)
    head = Classification().build(
        FeatureShape(backbone.num_features), tiny_target("classification"), Classification.Options()
    )
    model = TransferModel(backbone, head, [])
    strategy.prepare(model, strategy.Options.model_validate(options))
    return model


def added_names(model: TransferModel) -> set[str]:
    """Names in the backbone that may change."""
    return {name.removeprefix("backbone.model.") for name in learning_names(model) if name.startswith("backbone.")}


def test_ia3_scales_keys_values_and_inner_activations_and_nothing_else() -> None:
    names = added_names(prepared(bert, IA3()))
    scaled = ("attention.self.key", "attention.self.value", "output.dense")
    assert names == {f"encoder.layer.{layer}.{name}.ia3_l.default" for layer in (0, 1) for name in scaled}


def test_adapters_lie_behind_both_parts_of_a_block_or_behind_one() -> None:
    both, one = (
        added_names(prepared(bert, BottleneckAdapters(), placement=where)) for where in ("houlsby", "pfeiffer")
    )
    layers = [f"encoder.layer.{number}." for number in (0, 1)]
    parts = [f"adapter.{half}.{what}" for half in ("down", "up") for what in ("weight", "bias")]
    behind = {f"{layer}output.dense.{part}" for layer in layers for part in parts}
    assert one == behind
    attention = {f"{layer}attention.output.dense.{part}" for layer in layers for part in parts}
    norms = {name for name in built(bert).get_submodule("model").state_dict() if "LayerNorm" in name}
    assert both == behind | attention | norms


def test_an_adapter_is_what_the_paper_says() -> None:
    model = prepared(bert, BottleneckAdapters(), width=3)
    layer: Any = model.backbone.get_submodule("model.encoder.layer.1.output.dense")
    stirred(layer.adapter)
    x = torch.randn(2, 5, 32)
    with torch.no_grad():
        h = (x.double() @ layer.weight.double().T + layer.bias.double()).numpy()
        expected = (
            torch.tensor(h)
            + torch.nn.functional.gelu(
                torch.tensor(h) @ layer.adapter.down.weight.double().T + layer.adapter.down.bias.double()
            )
            @ layer.adapter.up.weight.double().T
            + layer.adapter.up.bias.double()
        )
        torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strategy", [IA3(), BottleneckAdapters(), QLoRA()], ids=lambda s: s.name)
def test_a_backbone_without_blocks_is_told_before_and_while_it_is_prepared(
    strategy: IA3 | BottleneckAdapters | QLoRA, registry: Any
) -> None:
    info = registry.backbone("test_resnet").info()
    assert "transformer" in (strategy.why_not(info, Classification()) or "")
    assert strategy.why_not(registry.backbone("test_vit").info(), Classification()) is None
    with pytest.raises(RunError, match=r"no blocks (of attention|with linear layers)"):
        strategy.prepare(conv_model(), strategy.Options())


class ByHand(nn.Module):
    """Visual prompts written out: the blocks one after the other, with prompts behind the class token."""

    def __init__(self, network: Any, prompts: list[Tensor]) -> None:
        super().__init__()
        self.network = network
        self.prompts = prompts

    def forward(self, x: Tensor) -> Tensor:
        """Compute the class token of images for a timm or transformers ViT."""
        m = self.network
        if isinstance(m, HuggingFaceViT):
            x = m.embeddings(x)
            lists = [child for child in m.modules() if isinstance(child, nn.ModuleList)]
            normed: Tensor = m.layernorm(self._through(lists[0], x))
            return normed[:, 0]
        x = m.norm_pre(m.patch_drop(m._pos_embed(m.patch_embed(x))))
        pooled: Tensor = m.forward_head(m.norm(self._through(m.blocks, x)))
        return pooled

    def _through(self, blocks: Any, x: Tensor) -> Tensor:
        count = len(self.prompts[0])
        for number, block in enumerate(blocks):
            if number < len(self.prompts):
                own = self.prompts[number].expand(len(x), -1, -1)
                x = torch.cat([x[:, :1], own, x[:, 1 if number == 0 else 1 + count :]], dim=1)
            given = block(x)
            x = given[0] if isinstance(given, tuple) else given
        return torch.cat([x[:, :1], x[:, 1 + count :]], dim=1)


@pytest.mark.parametrize("depth", ["deep", "shallow"])
@pytest.mark.parametrize("build", [timm_vit, Images], ids=["timm", "transformers"])
def test_visual_prompts_are_tokens_among_the_patches(build: Callable[[], BackboneModule], depth: str) -> None:
    model = prepared(build, VisualPrompts(), prompts=3, depth=depth)
    stirred(model.backbone)
    plain = built(build).eval()
    learned = [p.detach() for name, p in model.backbone.named_parameters() if "visual_prompts" in name]
    inside = [re.fullmatch(r"[a-z.]+\.(\d)\.visual_prompts\.tokens", name) for name in sorted(added_names(model))]
    blocks = {"timm_vit": 6, "Images": 2}[build.__name__] if depth == "deep" else 1
    assert [found and int(found[1]) for found in inside] == list(range(blocks))
    by_hand = ByHand(plain.get_submodule("model"), learned)
    with torch.no_grad():
        expected = by_hand(PIXELS["pixels"])
    backbone: Any = model.backbone
    torch.testing.assert_close(outputs(backbone), expected, rtol=1e-5, atol=1e-5)


def test_visual_prompts_keep_patches_and_maps_where_they_are() -> None:
    model = prepared(timm_vit, VisualPrompts(), prompts=3, depth="shallow")
    backbone: Any = model.backbone
    before, after = built(timm_vit).eval()(PIXELS), backbone.eval()(PIXELS)
    assert before.tokens is not None
    assert after.tokens is not None
    assert before.tokens.shape == after.tokens.shape
    backbone.wanted = "maps"
    plain = built(timm_vit).eval()
    plain.wanted = "maps"
    assert [m.shape for m in backbone(PIXELS).maps] == [m.shape for m in plain(PIXELS).maps]


def test_visual_prompts_are_for_plain_vision_transformers(registry: Any) -> None:
    strategy = VisualPrompts()
    assert "vision transformer" in (strategy.why_not(registry.backbone("test_resnet").info(), Classification()) or "")
    with pytest.raises(RunError, match="no plain vision transformer"):
        strategy.prepare(conv_model(), strategy.Options())


def test_prompts_are_read_before_the_text_and_left_out_of_its_features() -> None:
    model = prepared(bert, PromptTuning(), prompts=4)
    backbone: Any = model.backbone
    assert added_names(model) == {"soft_prompt.tokens"}
    stirred(backbone)
    plain: Any = built(bert).eval().get_submodule("model")
    embedded = plain.embeddings.word_embeddings(IDS)
    prompt = backbone.model.soft_prompt.tokens.detach().expand(2, -1, -1)
    mask = torch.cat([torch.ones(2, 4), TEXTS["attention_mask"]], dim=1)
    with torch.no_grad():
        # The text is as long as the model takes: it keeps its positions, and the prompts share the first.
        tokens = plain(
            inputs_embeds=torch.cat([prompt, embedded], dim=1),
            attention_mask=mask,
            position_ids=torch.tensor([[0, 0, 0, 0, 0, 1, 2, 3, 4, 5]]),
        ).last_hidden_state[:, 4:]
    real = TEXTS["attention_mask"].unsqueeze(2)
    torch.testing.assert_close(outputs(backbone), (tokens * real).sum(1) / real.sum(1), rtol=1e-5, atol=1e-5)
    backbone.wanted = "tokens"
    features = backbone(TEXTS)
    assert features.tokens.shape == (2, 6, 16)
    assert features.mask.shape == (2, 6)


def test_a_prefix_is_keys_and_values_that_every_layer_sees() -> None:
    model = prepared(gpt2, PrefixTuning(), prompts=3, hidden=0)
    backbone: Any = model.backbone
    assert added_names(model) == {"transformer.soft_prompt.rows"}
    stirred(backbone)
    rows = backbone.model.transformer.soft_prompt.rows.detach().double()
    plain: Any = built(gpt2).eval().get_submodule("model").double()
    m = plain.transformer
    with torch.no_grad():  # the first text, which has no padding, by the definition of attention
        x = m.wte(IDS[:1]) + m.wpe(torch.arange(6))
        for number, block in enumerate(m.h):
            query, key, value = block.attn.c_attn(block.ln_1(x)).split(16, dim=2)
            own = rows[:, 32 * number : 32 * (number + 1)]
            keys, values = torch.cat([own[None, :, :16], key], 1), torch.cat([own[None, :, 16:], value], 1)
            seen = torch.ones(6, 9).tril(3).bool()
            mixed = []
            for head in (slice(0, 8), slice(8, 16)):
                scores = query[..., head] @ keys[..., head].transpose(1, 2) / 8**0.5
                mixed.append(scores.masked_fill(~seen, -torch.inf).softmax(-1) @ values[..., head])
            x = x + block.attn.c_proj(torch.cat(mixed, dim=2))
            x = x + block.mlp(block.ln_2(x))
        expected = plain.lm_head(m.ln_f(x))
    torch.testing.assert_close(outputs(backbone)[:1].double(), expected, rtol=1e-4, atol=1e-4)


def prefix_rows(backbone: Any) -> Tensor:
    """Draw a prefix in a backbone, and return it."""
    rows: Tensor
    (rows,) = (parameter for parameter in backbone.parameters() if parameter.requires_grad)
    with torch.no_grad():
        return rows.normal_(generator=torch.Generator().manual_seed(5))


def in_peft(build: Callable[[], BackboneModule], rows: Tensor, task: str) -> Any:
    """The same network as PEFT alone puts the same prefix into it."""
    sizes: dict[str, Any] = {"num_layers": rows.shape[1] // 32, "num_attention_heads": 2, "token_dim": 16}
    config = PrefixTuningConfig(task_type=task, num_virtual_tokens=len(rows), **sizes)
    alone: Any = get_peft_model(built(build).get_submodule("model"), config).eval()
    with torch.no_grad():
        alone.prompt_encoder["default"].embedding.weight.copy_(rows)
    return alone


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks transformers for it
@pytest.mark.parametrize("build", [bert, roberta])
def test_the_prefix_of_an_encoder_is_that_of_peft_and_the_text_keeps_its_places(
    build: Callable[[], BackboneModule],
) -> None:
    backbone: Any = prepared(build, PrefixTuning(), prompts=3, hidden=0).backbone
    rows = prefix_rows(backbone)
    backbone.wanted = "tokens"
    found = backbone.eval()(TEXTS).tokens
    real = TEXTS["attention_mask"]
    places = torch.arange(6).expand(2, -1)
    if build is roberta:
        counted = (IDS != 1).long()
        places = counted.cumsum(1) * counted + 1
    # PEFT moves the text behind the prefix, which is undone here: both models have room for the text alone.
    told = in_peft(build, rows, "FEATURE_EXTRACTION")(IDS, attention_mask=real, position_ids=places - 3)
    torch.testing.assert_close(found, told.last_hidden_state)
    short = backbone({"input_ids": IDS[1:, :3], "attention_mask": real[1:, :3]}).tokens
    torch.testing.assert_close(short, found[1:, :3])
    assert not torch.allclose(built(build).eval()(TEXTS).tokens, found, atol=1e-2)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # as above
@pytest.mark.parametrize("build", [t5, bart])
def test_where_an_encoder_has_a_decoder_that_sees_the_prefix_while_it_writes(
    build: Callable[[int], BackboneModule],
) -> None:
    asked = {**TEXTS, "decoder_input_ids": torch.tensor([[0, 9, 4, 3], [0, 8, 8, 2]])}
    # Of one layer alone: PEFT gives the self-attention of every second layer the prefix of another.
    one: Any = prepared(lambda: build(1), PrefixTuning(), prompts=3, hidden=0).backbone
    told = in_peft(lambda: build(1), prefix_rows(one), "SEQ_2_SEQ_LM")(**asked)
    torch.testing.assert_close(one.eval()(asked).logits, told.logits)
    backbone: Any = prepared(lambda: build(2), PrefixTuning(), prompts=3, hidden=0).backbone
    rows = prefix_rows(backbone)
    torch.autograd.backward(backbone.eval()(asked).logits.square().sum())
    assert rows.grad is not None
    assert bool(rows.grad.ne(0).all())
    written = torch.zeros(2, 1, dtype=torch.long)
    for _ in range(4):  # one token after the other, all of it each time
        with torch.no_grad():
            scores = backbone({**TEXTS, "decoder_input_ids": written}).logits[:, -1]
        scores[:, 1] = -torch.inf  # no end
        written = torch.cat([written, scores.argmax(1, keepdim=True)], dim=1)
    backbone.model.generation_config.suppress_tokens = [1]
    assert torch.equal(backbone.generate(TEXTS, Generation(max_new_tokens=4)), written[:, 1:])


@pytest.mark.parametrize("strategy", [PromptTuning(), PrefixTuning()], ids=lambda s: s.name)
@pytest.mark.parametrize("build", [gpt2, llama])
def test_what_stands_before_a_text_is_there_while_it_is_written(
    build: Callable[[], BackboneModule], strategy: PromptTuning | PrefixTuning
) -> None:
    backbone: Any = prepared(build, strategy, prompts=3).backbone
    stirred(backbone)
    backbone.eval()
    batch = {**TEXTS, "prompt_length": torch.tensor([6, 3])}
    together = backbone.generate(batch, Generation(max_new_tokens=5)).tolist()
    for number, length in enumerate((6, 3)):
        tokens = IDS[number : number + 1, :length]
        written: list[int] = []
        for _ in range(5):  # one token after the other, the whole text each time
            given = torch.cat([tokens, torch.tensor([written], dtype=torch.long)], dim=1)
            with torch.no_grad():
                scores = backbone({"input_ids": given, "attention_mask": torch.ones_like(given)}).logits
            written.append(int(scores[0, -1].argmax()))
            if written[-1] == 1:
                break
        assert together[number][: len(written)] == written


def test_prompts_need_texts_and_a_prefix_layers_that_take_keys_and_values(registry: Any) -> None:
    info: BackboneInfo = registry.backbone("test_vit").info()
    for strategy in (PromptTuning(), PrefixTuning()):
        assert "transformer of texts" in (strategy.why_not(info, Classification()) or "")
        assert strategy.why_not(registry.backbone("auto_model").info(), Classification()) is None
        assert strategy.why_not(registry.backbone("all-MiniLM-L6-v2").info(), Classification()) is None
        with pytest.raises(RunError, match="no transformer that could read"):
            prepared(lambda: TextEncoder(10), strategy)

    def encoder_of(pair: Callable[[], BackboneModule]) -> BackboneModule:
        backbone = pair()
        backbone.wanted = "pooled"
        return backbone

    for build in (distilbert, lambda: encoder_of(t5), lambda: encoder_of(bart)):
        prepared(build, PromptTuning())
        with pytest.raises(RunError, match="take no keys and values from outside") as caught:
            prepared(build, PrefixTuning())
        assert caught.value.remedy.startswith("Choose prompt tuning or LoRA")


@pytest.mark.parametrize(
    ("build", "strategy"),
    [
        (bert, PromptTuning()),
        (bert, PrefixTuning()),
        (gpt2, PrefixTuning()),
        (timm_vit, VisualPrompts()),
        (bert, BottleneckAdapters()),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_every_number_that_was_added_gets_a_gradient_and_nothing_else_moves(
    build: Callable[[], BackboneModule], strategy: AddedStrategy
) -> None:
    model = prepared(build, strategy)
    backbone: Any = model.backbone
    stirred(backbone)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    set_train_mode(model)
    texts = isinstance(backbone, (TextNetwork, LanguageNetwork))
    features = backbone(TEXTS if texts else PIXELS)
    torch.autograd.backward((features.logits if backbone.wanted == "logits" else features.pooled).square().sum())
    learning = {name for name, p in model.named_parameters() if p.requires_grad and name.startswith("backbone.")}
    assert learning == {name for name, p in model.named_parameters() if p.grad is not None}
    torch.optim.SGD([p for p in model.parameters() if p.grad is not None], lr=0.1).step()
    assert learning == {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("build", [bert, gpt2, t5, bart])
def test_a_prefix_learns_the_same_where_activations_are_computed_again(build: Callable[[], BackboneModule]) -> None:
    model = prepared(build, PrefixTuning(), prompts=3)
    backbone: Any = model.backbone.eval()
    writes = backbone.wanted == "logits"
    pair = {"decoder_input_ids": IDS, "decoder_attention_mask": TEXTS["attention_mask"]} if build in (t5, bart) else {}

    def gradients() -> list[Tensor]:
        model.zero_grad()
        features = backbone({**TEXTS, **pair})
        torch.autograd.backward((features.logits if writes else features.pooled).square().sum())
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    expected = gradients()
    recompute_activations(backbone.layer_groups())
    torch.testing.assert_close(gradients(), expected)


def test_four_bits_are_the_nearest_quantiles_of_a_normal_distribution() -> None:
    # Appendix E of the paper, by SciPy: quantiles of equal shares on both sides, and zero.
    offset = 0.9677083
    above = norm.ppf(np.linspace(offset, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(offset, 0.5, 8)[:-1])
    table = np.sort([*above, 0.0, *below]) / above.max()
    np.testing.assert_allclose(NF4, table, atol=1e-6)

    torch.manual_seed(0)
    plain = nn.Linear(50, 7)  # 350 weights: the last block is not full
    weight = plain.weight.detach().double().numpy().ravel()
    expected = np.empty_like(weight)
    for start in range(0, weight.size, 64):
        block = weight[start : start + 64]
        largest = np.abs(block).max()
        expected[start : start + 64] = table[np.abs(block[:, None] / largest - table).argmin(axis=1)] * largest
    layer = FourBitLinear(plain)
    np.testing.assert_allclose(layer.weight.numpy().ravel(), expected, atol=1e-6)
    assert sum(p.numel() * p.element_size() for p in (layer.packed, layer.scales)) == 192 + 6 * 4
    x = torch.randn(3, 4, 50, requires_grad=True)
    output = layer(x)
    torch.testing.assert_close(output, nn.functional.linear(x, layer.weight, plain.bias))
    torch.autograd.backward(output.square().sum())
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * output.detach() @ layer.weight)


def test_qlora_freezes_four_bits_and_an_export_has_plain_layers_that_give_the_same() -> None:
    model = prepared(llama, QLoRA(), rank=2, dropout=0.0)
    backbone: Any = model.backbone
    assert all("lora_" in name for name in added_names(model))
    quantised = [name for name, module in backbone.named_modules() if isinstance(module, FourBitLinear)]
    assert len(quantised) == 2 * 7
    learning, every = count_parameters(model)
    assert every == learning + count_parameters(built(llama))[1], "those in four bits count as those they stand for"
    start = outputs(backbone)
    plain = copy.deepcopy(backbone)
    for parameter in plain.parameters():
        if parameter.requires_grad:
            nn.init.zeros_(parameter)
    out_of_four_bits(plain)
    torch.testing.assert_close(outputs(plain), start)
    stirred(backbone)
    then = outputs(backbone)
    assert not torch.allclose(then, start, atol=1e-4)
    QLoRA().merge(model)
    torch.testing.assert_close(outputs(backbone), then, rtol=1e-4, atol=1e-4)
    assert set(backbone.state_dict()) == set(built(llama).state_dict())
