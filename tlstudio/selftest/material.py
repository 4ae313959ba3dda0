"""Small real material for the checks: drawn images, a table of texts, a text encoder, a project with all of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.events import RunEvent
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project

_SHAPES = ("circle", "square", "ring")
_PHRASES = {"good": ("a wonderful film", "moving and funny", "great acting"), "bad": ("a dull film", "poor acting")}
_SIZE = 32  # pixels


def installed_registry() -> Registry:
    """Load the plugins that are installed, without those in the user's folder, and return what they bring."""
    manager = PluginManager()
    manager.discover()
    return manager.registry


def unheard(_event: RunEvent) -> None:
    """Listen to a run whose folder hears it all."""


def make_project(folder: Path, registry: Registry) -> None:
    """Make a project with the data sets ``images`` and ``texts``.

    Args:
        folder: Where to; also gets a folder ``encoder`` with a text encoder as transformers writes one.
        registry: The formats.
    """
    draw_images(folder / "images")
    write_texts(folder / "texts.csv")
    write_encoder(folder / "encoder")
    with Project.create(folder / "project", "Self-test") as project:
        for name, source in (("images", folder / "images"), ("texts", folder / "texts.csv")):
            request, _ = plan_import(registry.formats.values(), source, name=name, task="classification")
            import_dataset(request, project.datasets_folder)


def draw_images(folder: Path, per_class: int = 12) -> None:
    """Draw a folder of shapes, one subfolder a class."""
    rng = np.random.default_rng(0)
    for shape in _SHAPES:
        (folder / shape).mkdir(parents=True)
        for number in range(per_class):
            image = Image.new("RGB", (_SIZE, _SIZE), tuple(int(value) for value in rng.integers(160, 256, 3)))
            radius = int(rng.integers(5, 11))
            x, y = (int(value) for value in rng.integers(radius, _SIZE - radius, 2))
            box, draw = (x - radius, y - radius, x + radius, y + radius), ImageDraw.Draw(image)
            colour = tuple(int(value) for value in rng.integers(0, 110, 3))
            if shape == "square":
                draw.rectangle(box, fill=colour)
            else:
                draw.ellipse(box, fill=colour if shape == "circle" else None, outline=colour, width=3)
            image.save(folder / shape / f"{number:02}.png")


def write_texts(path: Path, count: int = 48) -> None:
    """Write a table of short reviews with a sentiment."""
    rng = np.random.default_rng(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(count):
            label = "good" if number % 2 else "bad"
            writer.writerow([f"No. {number}: {rng.choice(_PHRASES[label])}, really.", label])


def write_encoder(folder: Path) -> None:
    """Write a text encoder of two narrow layers with random weights and dropout, as transformers does."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}), encoding="utf-8")
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(config, add_pooling_layer=False)
    config.architectures = ["BertModel"]
    config.save_pretrained(folder)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
