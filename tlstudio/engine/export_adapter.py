"""Export of what a run has put into the network of a library, without that network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from tlstudio import __version__
from tlstudio.api import RunError, TLStudioError
from tlstudio.api.nn import numbers_of
from tlstudio.engine.assemble import load_run_model, preprocessor_of
from tlstudio.engine.export import check_new_folder, whole_folder, write_json
from tlstudio.engine.parts import Parts
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

    Beside it lie the head (``head.safetensors``, ``labels.json``), which no other program knows, how samples are
    prepared (``preprocessing.json``), and a README.

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
        packed = any(numbers_of(parameter) != parameter.numel() for parameter in model.backbone.parameters())
        size = sum(file.stat().st_size for file in staging.rglob("*.safetensors"))
        # Behind it, everything is the plain backbone.
        parts.strategy.merge(model)
        head = {name: tensor.detach().cpu().contiguous() for name, tensor in model.head.state_dict().items()}
        save_file(head, staging / "head.safetensors", metadata={"format": "pt"})
        write_json(staging / "labels.json", target_values(read_target(run)))
        write_json(staging / "preprocessing.json", preprocessor_of(parts, assets=run.assets).describe())
        (staging / "README.md").write_text(adapter_readme(recipe, parts, packed=packed), encoding="utf-8")
    whole = sum(tensor.numel() * tensor.element_size() for tensor in model.backbone.state_dict().values())
    return AdapterReport(folder, size, whole)


def adapter_readme(recipe: Recipe, parts: Parts, *, packed: bool = False) -> str:
    """Say what an adapter is for, how it is put there, and how the head is applied.

    Args:
        recipe: Recipe of the run.
        parts: Its components.
        packed: Whether the run has kept weights of the network in fewer bits than the network itself has.
    """
    library = parts.backbone.library_code(parts.backbone_options)
    first, has_file = _first_weights(recipe, parts)
    code: list[str] = []
    told: list[str] = []
    if library is None:
        told.append(f"`network` is that of the backbone `{recipe.backbone.name}`, as its library builds it.")
    else:
        code = [library.build, *_loading(recipe, library.load if has_file else "")]
    code += ["", "from peft import PeftModel", "", 'model = PeftModel.from_pretrained(network, "THIS_FOLDER").eval()']
    if packed:
        told.append(
            "The run has kept weights of the network in fewer bits. Beside them in full, outputs differ a little."
        )
    head = parts.head.library_code(parts.head_options)
    if library is not None and parts.head.requires == "pooled" and parts.head.views == 1 and head:
        code += [library.features, "", "from safetensors.torch import load_file"]
        code += ['head = load_file("THIS_FOLDER/head.safetensors")', head]
        told.append("`output` is one row for each sample: of a classifier, the scores of the classes in `labels.json`.")
        if parts.backbone.modality == "image":
            told.append("`pixels` are images, `[B, 3, height, width]`, prepared as `preprocessing.json` says.")
    return "\n".join(
        [
            f"# {parts.strategy.title} for {parts.backbone.title}",
            "",
            f"Trained with TL Studio {__version__} on `{recipe.dataset.name}` ({recipe.dataset.revision}). The adapter",
            f"goes into the network of the backbone `{recipe.backbone.name}` with the first weights of the run:",
            first,
            "",
            "```python",
            *code,
            "```",
            "",
            *told,
            f"`head.safetensors` holds the head (`{recipe.head.name}`) on its features, `labels.json` what it tells.",
            "",
        ]
    )


def _first_weights(recipe: Recipe, parts: Parts) -> tuple[str, bool]:
    """Say what ``FIRST_WEIGHTS`` is, without naming places on this machine, and whether there is a file of it."""
    if source := recipe.backbone.start_from:
        what = f"those of `{source}`, from which it has started; they can be exported as a model, `FIRST_MODEL` below."
        return f"{what}\n`FIRST_WEIGHTS`, where it is named, may be any model of the same architecture.", False
    try:
        info = parts.backbone.find_weights(parts.backbone_options)
    except TLStudioError:  # they are no longer on this machine
        return "those that the recipe of the run names, as `FIRST_WEIGHTS` below.", True
    if info.path is None:
        return "random ones, which only that run has. Elsewhere, an export of the whole model is of more use.", False
    origin = "" if str(info.path.parent) in info.origin else f" ({info.origin})"
    what = f"`{info.path.name}`{origin}, as `FIRST_WEIGHTS` below:"
    return f"{what}\nthe file, or the folder with its configuration where the code says `from_pretrained`.", True


def _loading(recipe: Recipe, load: str) -> list[str]:
    """Lines that put the first weights into the network; those of an exported model have names of their own."""
    if not recipe.backbone.start_from:
        return [load] if load else []
    return [
        "from safetensors.torch import load_file",
        "",
        'first, prefix = load_file("FIRST_MODEL/model.safetensors"), "backbone.model."',
        "first = {name.removeprefix(prefix): value for name, value in first.items() if name.startswith(prefix)}",
        "assert not network.load_state_dict(first, strict=False).missing_keys",
    ]
