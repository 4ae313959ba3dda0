"""Reading an exported model back: all that using it needs, without the project or the strategy that made it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from tlstudio.api import Modality, Preprocessor, RunError
from tlstudio.api.files import check_plain_file, read_text
from tlstudio.api.nn import TransferModel
from tlstudio.engine.recipe import Choice
from tlstudio.engine.target import target_from
from tlstudio.engine.views import PreparedInViews
from tlstudio.plugins import Registry

EXPORT_FORMAT = 2
"""2: ``prepared_by`` names the strategy whose additions are part of the model; 1 where there are none."""


def read_export(folder: Path) -> dict[str, Any]:
    """Read what an exported model says of itself: ``config.json``.

    Raises:
        RunError: It is no exported model, is of a newer format, or is damaged.
    """
    with _telling(folder, "config.json") as path:
        config: dict[str, Any] = json.loads(read_text(path))
        if config["format"] > EXPORT_FORMAT:
            raise RunError(
                f"{folder} was exported by a newer TL Studio ({config['made_with']}).", "Update this one.", path=folder
            )
        config["backbone"], config["head"]
    return config


@contextlib.contextmanager
def _telling(folder: Path, name: str) -> Iterator[Path]:
    """Turn what is wrong with a file of an exported model into a sentence."""
    path = folder / name
    try:
        yield path
    except FileNotFoundError:
        if (folder / "adapter_config.json").is_file():
            what = f"{folder} is an adapter without its backbone, for PEFT and no model to predict with."
            raise RunError(what, "Export the whole model of the run: without --adapter.", path=folder) from None
        raise RunError(f"{folder} is no exported model: it has no {name}.", path=folder) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error).replace("\n", " ")
        raise RunError(
            f"{path} of the exported model is damaged: {why[:200]}.", "Export it again.", path=path
        ) from error


def load_export(folder: Path, registry: Registry) -> tuple[TransferModel, Preprocessor, Modality]:
    """Load what `export_run` wrote.

    Raises:
        RunError: It is no exported model, is of a newer format, is damaged, or a plugin is missing.
    """
    config = read_export(folder)
    with _telling(folder, "config.json"):
        chosen = {kind: Choice.model_validate(config[kind]) for kind in ("backbone", "head")}
        prepared_by = config.get("prepared_by")
        kept = None if prepared_by is None else Choice.model_validate(prepared_by)
    with _telling(folder, "labels.json") as path:
        target = target_from(json.loads(read_text(path)))
    # A merged model is plain: the strategy that trained it is needed only where it cannot fold in what it has added.
    strategy = None if kept is None else registry.strategy(kept.name)
    backbone, head = registry.backbone(chosen["backbone"].name), registry.head(chosen["head"].name)
    try:
        options = backbone.Options.model_validate(chosen["backbone"].options)
        head_options = head.Options.model_validate(chosen["head"].options)
        kept_options = strategy.Options.model_validate(kept.options) if strategy and kept else None
    except ValidationError as error:
        raise RunError(
            f"The options in {folder / 'config.json'} do not fit the plugins here: {error}", path=folder
        ) from error
    if head.task != target.task:
        raise RunError(f"The exported model in {folder} is damaged: its head is for another task.", path=folder)
    module = backbone.restore(options, folder / "assets")
    module.wanted = head.requires
    model = TransferModel(module, head.build(module.shape, target, head_options), module.layer_groups())
    try:
        check_plain_file(folder / "model.safetensors")
        tensors = load_file(folder / "model.safetensors")
        if strategy and kept_options is not None:
            shapes = {name: tensor.shape for name, tensor in tensors.items()}
            strategy.prepare(model, strategy.recorded(kept_options, shapes))
        model.load_state_dict(tensors, strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{folder / 'model.safetensors'} cannot be loaded: {reason}.", path=folder) from error
    preprocessor = backbone.preprocessor(options, assets=folder / "assets", wanted=head.requires)
    if head.views > 1:
        preprocessor = PreparedInViews(preprocessor, head.views)
    return model.eval(), preprocessor, backbone.modality
