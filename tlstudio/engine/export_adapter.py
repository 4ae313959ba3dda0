"""Export of what a run has put into the network of a library, without that network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from tlstudio import __version__
from tlstudio.api import RunError
from tlstudio.engine.assemble import Parts, load_run_model
from tlstudio.engine.export import check_new_folder, whole_folder
from tlstudio.engine.recipe import Recipe, parse_recipe
from tlstudio.engine.target import read_target, target_values
from tlstudio.plugins import Registry
from tlstudio.store.run import Run


@dataclass(frozen=True, slots=True)
class AdapterReport:
    """What was exported.

    Attributes:
        folder: The folder.
        size_bytes: Size of the adapter file.
        model_bytes: Size of the backbone that it is for.
    """

    folder: Path
    size_bytes: int
    model_bytes: int


def export_adapter(run: Run, folder: Path, registry: Registry) -> AdapterReport:
    """Write what a run's strategy has added, as other programs read it (PEFT for LoRA and its kin).

    Beside it lie the head (``head.safetensors``, ``labels.json``), which no other program knows, and a README.

    Args:
        run: The run.
        folder: Where to; must not exist or be empty.
        registry: The components.

    Raises:
        RunError: The run has no model, or its strategy adds nothing that other programs read; the folder is taken or
            cannot be written.
    """
    folder = folder.absolute()
    check_new_folder(folder)
    recipe = parse_recipe(run.read_recipe())
    parts, model = load_run_model(run, registry)
    with whole_folder(folder) as staging:
        if not parts.strategy.save_adapter(model, staging):
            raise RunError(
                f"Run {run.id} was trained by {parts.strategy.title}, which has no adapter that other programs read.",
                "Export the whole model, or train with LoRA.",
            )
        size = sum(file.stat().st_size for file in staging.rglob("*.safetensors"))
        # Behind it, everything is the plain backbone.
        parts.strategy.merge(model)
        head = {name: tensor.detach().cpu().contiguous() for name, tensor in model.head.state_dict().items()}
        save_file(head, staging / "head.safetensors", metadata={"format": "pt"})
        labels = json.dumps(target_values(read_target(run)), indent=2, ensure_ascii=False)
        (staging / "labels.json").write_text(labels + "\n", encoding="utf-8")
        (staging / "README.md").write_text(adapter_readme(recipe, parts), encoding="utf-8")
    whole = sum(tensor.numel() * tensor.element_size() for tensor in model.backbone.state_dict().values())
    return AdapterReport(folder, size, whole)


def adapter_readme(recipe: Recipe, parts: Parts) -> str:
    """Say what an adapter is for and how it is put there.

    Args:
        recipe: Recipe of the run.
        parts: Its components.
    """
    source = recipe.backbone.start_from
    return "\n".join(
        [
            f"# {parts.strategy.title} for {parts.backbone.title}",
            "",
            f"Trained with TL Studio {__version__} on `{recipe.dataset.name}` ({recipe.dataset.revision}). The adapter",
            f"goes into the network that the backbone `{recipe.backbone.name}` is, as its library builds it, with the",
            "same first weights:",
            *(
                (f"those of `{source}`, from which the run has started; they can be exported as a model.",)
                if source
                else ()
            ),
            "",
            "```python",
            "from peft import PeftModel",
            "",
            'model = PeftModel.from_pretrained(network, "THIS_FOLDER")',
            "```",
            "",
            f"`head.safetensors` holds the head (`{recipe.head.name}`) on its features, `labels.json` what it tells.",
            "",
        ]
    )
