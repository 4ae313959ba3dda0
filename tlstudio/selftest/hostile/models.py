"""Model folders in Hugging Face's layout, of which some file is a trap."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tlstudio.selftest.hostile.files import HostileFile, Outcome, Site, content

Write = Callable[[Path, Site], None]


def changed(**values: Any) -> Write:  # noqa: ANN401  any JSON values
    """Change some values of a JSON file that is there; write it where it is missing."""

    def write(path: Path, _site: Site) -> None:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        path.write_text(json.dumps(known | values), encoding="utf-8")

    return write


def _with_code(path: Path, site: Site) -> None:
    """Bring a module that makes a file, and a configuration that asks for it."""
    code = f"import os\nos.mkdir({str(site.canary)!r})\nclass Evil: pass\n"
    for name in ("modeling_evil.py", "configuration_evil.py", "tokenization_evil.py", "sitecustomize.py", "torch.py"):
        path.with_name(name).write_text(code, encoding="utf-8")


def _code(**values: Any) -> Write:  # noqa: ANN401  any JSON values
    change = changed(**values)

    def write(path: Path, site: Site) -> None:
        _with_code(path, site)
        change(path, site)

    return write


def _tokenizer(**model: Any) -> Write:  # noqa: ANN401  any JSON values
    """A tokenizer.json with a word-level vocabulary and whatever else."""

    def write(path: Path, _site: Site) -> None:
        words = {"[PAD]": 0, "[UNK]": 1, "a": 2}
        good = {"version": "1.0", "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}}
        path.write_text(json.dumps(good | model), encoding="utf-8")

    return write


_REGEX = {
    "type": "Split",
    "pattern": {"Regex": "(a+)+$"},
    "behavior": "Isolated",
    "invert": False,
}
_EXPANDING = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10**6}


def files() -> Iterator[HostileFile]:
    """Folders with code of their own, of absurd sizes, of unknown kinds, or with damaged parts."""
    modules = {"AutoConfig": "configuration_evil.Evil", "AutoModel": "modeling_evil.Evil"}
    folder = "source"
    cases: list[tuple[str, str, str, Write, Outcome, str]] = [
        ("auto_map", "It asks for Python code beside it.", "config.json", _code(auto_map=modules), "refused", folder),
        (
            "auto_map of a hub",
            "It asks for Python code from a hub.",
            "config.json",
            changed(auto_map={"AutoModel": "evil/repository--modeling.Evil"}),
            "refused",
            folder,
        ),
        (
            "auto_map of the tokenizer",
            "It asks for Python code beside it.",
            "tokenizer_config.json",
            _code(auto_map={"AutoTokenizer": ["tokenization_evil.Evil", None]}),
            "refused",
            folder,
        ),
        (
            "trust_remote_code",
            "It says of itself to be trusted.",
            "config.json",
            _code(trust_remote_code=True),
            "used",
            "",
        ),
        ("custom_code", "It says that it has code.", "config.json", _code(custom_code=True), "used", ""),
        ("modules beside", "Modules named like real ones lie beside it.", "config.json", _code(), "used", ""),
        (
            "custom pipelines",
            "It names a pipeline with code.",
            "config.json",
            _code(custom_pipelines={"evil": {"impl": "modeling_evil.Evil", "pt": ["AutoModel"]}}),
            "used",
            "",
        ),
        (
            "kernel of a hub",
            "It fetches compiled code.",
            "config.json",
            changed(_attn_implementation="evil/kernel"),
            "refused",
            folder,
        ),
        (
            "experts of a hub",
            "It fetches compiled code.",
            "config.json",
            changed(_experts_implementation="evil/kernel"),
            "either",
            folder,
        ),
        (
            "quantization",
            "It asks for other packages.",
            "config.json",
            changed(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
            "either",
            folder,
        ),
        (
            "name of a path",
            "Its name leads elsewhere.",
            "config.json",
            changed(_name_or_path="../../outside"),
            "used",
            "",
        ),
        (
            "base model of a path",
            "It leads to another folder.",
            "adapter_config.json",
            changed(base_model_name_or_path="/etc", peft_type="LORA"),
            "either",
            "",
        ),
        (
            "unknown kind",
            "Its architecture is not known.",
            "config.json",
            changed(model_type="evil_model"),
            "refused",
            folder,
        ),
        (
            "kind of a path",
            "Its architecture is a path.",
            "config.json",
            changed(model_type="../../evil"),
            "refused",
            folder,
        ),
        ("kind of images", "It is no model of texts.", "config.json", changed(model_type="vit"), "refused", folder),
        (
            "kind of 1 MB",
            "The name of its architecture floods the screen.",
            "config.json",
            changed(model_type="x" * 10**6),
            "refused",
            folder,
        ),
        (
            "kind with control characters",
            "Its name paints the terminal.",
            "config.json",
            changed(model_type="\x1b[2Jbert"),
            "refused",
            folder,
        ),
        (
            "tensors named as code",
            "It names functions of torch.",
            "config.json",
            changed(hidden_act="os.system"),
            "refused",
            "model.safetensors",
        ),
        (
            "type of numbers",
            "It names a type that is none.",
            "config.json",
            changed(dtype="__import__('os')"),
            "either",
            folder,
        ),
        (
            "a number as text",
            "A size is no number.",
            "config.json",
            changed(num_hidden_layers="two"),
            "refused",
            folder,
        ),
        ("no heads", "It divides by 0.", "config.json", changed(num_attention_heads=0), "refused", "weights"),
        ("negative width", "Its size is negative.", "config.json", changed(hidden_size=-16), "refused", "weights"),
        (
            "infinite dropout",
            "A share is infinite.",
            "config.json",
            changed(hidden_dropout_prob=float("inf")),
            "either",
            "",
        ),
        ("a million classes", "It would build names for each.", "config.json", changed(num_labels=10**6), "either", ""),
        ("deep nesting", "A reader that recurses falls over.", "config.json", content('{"a":' * 10**5), "refused", ""),
        (
            "an integer of 10,000 digits",
            "Reading it takes for ever.",
            "config.json",
            content('{"model_type": "bert", "x": ' + "9" * 10_000 + "}"),
            "refused",
            "",
        ),
        ("not UTF-8", "It is no text.", "config.json", content(b"\xff\xfe\x00{"), "refused", ""),
        (
            "duplicate keys",
            "One reader takes the first, another the last.",
            "config.json",
            content('{"model_type": "bert", "model_type": "evil"}'),
            "refused",
            folder,
        ),
        (
            "tokenizer: deep nesting",
            "A reader that recurses falls over.",
            "tokenizer.json",
            content('{"a":' * 10**5),
            "refused",
            "tokenizer",
        ),
        (
            "tokenizer: regex that backtracks",
            "Each further letter doubles the time.",
            "tokenizer.json",
            _tokenizer(pre_tokenizer=_REGEX),
            "either",
            "",
        ),
        (
            "tokenizer: replacement that grows",
            "Each letter becomes a million.",
            "tokenizer.json",
            _tokenizer(normalizer=_EXPANDING),
            "either",
            "",
        ),
        (
            "tokenizer: no vocabulary",
            "It has no words.",
            "tokenizer.json",
            _tokenizer(model={"type": "BPE", "vocab": {}, "merges": []}),
            "refused",
            "tokenizer",
        ),
        (
            "tokenizer: number beyond the model",
            "A word has no row.",
            "tokenizer.json",
            _tokenizer(model={"type": "WordLevel", "vocab": {"[UNK]": 10**9}, "unk_token": "[UNK]"}),
            "refused",
            "tokenizer",
        ),
        (
            "tokenizer: class of another module",
            "It names a class to import.",
            "tokenizer_config.json",
            _code(tokenizer_class="os.system"),
            "either",
            "tokenizer",
        ),
        (
            "tokenizer: files elsewhere",
            "It names files outside of the folder.",
            "tokenizer_config.json",
            changed(tokenizer_file="../outside/secret.txt", vocab_file="/etc/passwd"),
            "either",
            "",
        ),
        (
            "tokenizer: template that runs",
            "It has a template with code.",
            "tokenizer_config.json",
            changed(chat_template="{{ ''.__class__.__mro__[1].__subclasses__() }}"),
            "used",
            "",
        ),
        (
            "tokenizer: a length of 10**30",
            "It would cut nowhere.",
            "tokenizer_config.json",
            changed(model_max_length=10**30),
            "used",
            "",
        ),
        (
            "tokenizer: tokens of 10 MB",
            "One token fills the screen.",
            "tokenizer_config.json",
            changed(unk_token="[" + "U" * 10**7 + "]"),
            "either",
            "tokenizer",
        ),
        (
            "index of parts elsewhere",
            "Its parts are outside of the folder.",
            "model.safetensors.index.json",
            _parts_elsewhere,
            "refused",
            folder,
        ),
    ]
    for name, danger, path, write, outcome, named in cases:
        yield HostileFile(f"model: {name}", danger, "model folder", path, write, outcome, named)
    for key in ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings", "intermediate_size"):
        danger = "Building it would take more memory or time than there is."
        yield HostileFile(f"model: {key} of 10**9", danger, "model folder", "config.json", changed(**{key: 10**9}))
        yield HostileFile(
            f"export: {key} of 10**9", danger, "exported text model", "assets/config.json", changed(**{key: 10**9})
        )
    yield HostileFile(
        "model: hidden_size of 100,000",
        "It is larger than its weights.",
        "model folder",
        "config.json",
        changed(hidden_size=100_000, intermediate_size=100_000),
        "refused",
        "model.safetensors",
    )


def _parts_elsewhere(path: Path, _site: Site) -> None:
    path.with_name("model.safetensors").unlink()
    names = {"a": "../../outside/secret.txt", "b": "/etc/passwd", "c": "../model.safetensors"}
    path.write_text(json.dumps({"weight_map": names}), encoding="utf-8")
