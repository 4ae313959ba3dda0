"""Audio models with random weights, as transformers writes them: small, but of the real architectures and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

FAMILIES = ("wav2vec2", "wav2vec2_layer_norm", "wav2vec2_ctc", "hubert", "unispeech", "ast", "whisper")
_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_CONVOLUTIONS = {
    "conv_dim": (8, 8, 8),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 4, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}


def write_audio_model(folder: Path, family: str, **sizes: Any) -> Path:
    """Write a model of one of `FAMILIES` with its feature extractor, and return the folder.

    Args:
        folder: Made if it is not there.
        family: Which.
        sizes: Sizes of its configuration that are to be others.
    """
    import transformers as hf
    from transformers.utils import logging

    switches: Any = logging  # its functions have no types
    switches.disable_progress_bar()
    torch.manual_seed(0)
    raw: Any = {**_SMALL, **_CONVOLUTIONS, **sizes}
    if family.startswith("wav2vec2"):
        if family == "wav2vec2_layer_norm":
            raw = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, **raw}
        kind: Any = hf.Wav2Vec2ForCTC if family == "wav2vec2_ctc" else hf.Wav2Vec2Model
        model: Any = kind(hf.Wav2Vec2Config(vocab_size=9, **raw))
    elif family == "hubert":
        model = hf.HubertModel(hf.HubertConfig(**raw))
    elif family == "unispeech":
        model = hf.UniSpeechModel(hf.UniSpeechConfig(**raw))
    elif family == "ast":
        shape = {"patch_size": 4, "frequency_stride": 4, "time_stride": 4, "max_length": 64, "num_mel_bins": 16}
        model = hf.ASTForAudioClassification(hf.ASTConfig(**{**_SMALL, **shape, **sizes}))
    else:
        model = hf.WhisperForConditionalGeneration(_whisper(**sizes))
    extractors: dict[str, tuple[Any, dict[str, int]]] = {
        "ast": (hf.ASTFeatureExtractor, {"num_mel_bins": 16, "max_length": 64}),
        "whisper": (hf.WhisperFeatureExtractor, {"feature_size": 8, "chunk_length": 1}),
    }
    extractor, settings = extractors.get(family, (hf.Wav2Vec2FeatureExtractor, {}))
    model.save_pretrained(folder)
    extractor(**settings).save_pretrained(folder)
    return folder


def _whisper(**sizes: Any) -> Any:
    from transformers import WhisperConfig

    return WhisperConfig(
        **{
            "vocab_size": 60,
            "num_mel_bins": 8,
            "d_model": 16,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "max_source_positions": 50,
            "max_target_positions": 40,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 3,
            "begin_suppress_tokens": None,
            "suppress_tokens": None,
            **sizes,
        }
    )


WHISPER_MARKS = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>")


def write_speech_model(folder: Path, *, languages: bool = False, **sizes: Any) -> Path:
    """Write a Whisper with a tokenizer that knows bytes alone, and return the folder.

    Args:
        folder: Made if it is not there.
        languages: Whether it is one of those that know several languages.
        sizes: Sizes of its configuration that are to be others.
    """
    import json

    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in WHISPER_MARKS])
    end, start = (tokenizer.token_to_id(mark) for mark in WHISPER_MARKS[:2])
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    ids = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": start}
    write_audio_model(folder, "whisper", **{"vocab_size": size, **ids, **sizes})
    tokenizer.save(str(folder / "tokenizer.json"))
    marks = {"is_multilingual": languages, "suppress_tokens": [letters.index("!")], "begin_suppress_tokens": [end]}
    (folder / "generation_config.json").write_text(json.dumps(marks))
    return folder
