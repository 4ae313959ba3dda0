"""The checks. Each raises `ContractError` with a sentence; torch is imported when one is called."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tlstudio.api import (
    GEOMETRY,
    IMAGE_SIZE,
    TASKS,
    Backbone,
    BackboneInfo,
    DataError,
    DatasetFormat,
    FineTuningStrategy,
    Options,
    Rejected,
    Sample,
    TargetInfo,
    Task,
    TaskHead,
)

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.nn import BackboneModule

__all__ = ["ContractError", "check_backbone", "check_format", "check_head", "check_strategy"]


class ContractError(AssertionError):
    """A component broke a promise of `tlstudio.api`."""


def require(condition: object, sentence: str) -> None:
    """Raise `ContractError` with a sentence unless a condition holds."""
    if not condition:
        raise ContractError(sentence)


def check_format(format_: DatasetFormat, path: Path, task: Task, options: Options | None = None) -> list[Sample]:
    """Check that a format reads a source in a stable order with unique ids.

    Args:
        format_: The format.
        path: A source that it can read, with at least one usable item.
        task: The task to read it for.
        options: Its options; by default those that its preview suggests.

    Returns:
        The samples.

    Raises:
        ContractError: A promise is broken.
    """
    score = format_.detect(path)
    require(0.0 <= score <= 1.0, f"detect() gave {score}, which is not in 0..1.")
    require(score > 0.0, f"detect() gave 0 for {path}, which the format can read.")
    nowhere = format_.detect(path / "there is no such file")
    require(0.0 <= nowhere <= 1.0, "detect() must answer for a path that does not exist, too.")
    preview = format_.preview(path)
    require(len(preview.rows) <= 20, f"preview() gave {len(preview.rows)} rows; 20 at most are shown.")
    chosen = options if options is not None else format_.Options.model_validate(preview.options)
    first, second = list(format_.read(path, chosen, task)), list(format_.read(path, chosen, task))
    require(first == second, "read() gave other items, or another order, the second time.")
    samples = [item for item in first if not isinstance(item, Rejected)]
    require(samples, "read() gave no usable sample.")
    ids = [sample.id for sample in samples]
    require(len(set(ids)) == len(ids), "read() gave two samples the same id.")
    for sample in samples:
        content = {"image": sample.image, "text": sample.text, "audio": sample.audio, "table": sample.values}
        missing = [part for part in format_.modality.split("+") if content[part] is None]
        require(not missing, f"Sample {sample.id} has no {' and no '.join(missing)}.")
        require(sample.source, f"Sample {sample.id} does not say where it came from (source is empty).")
    return samples


def check_head(
    head: TaskHead, target: TargetInfo, samples: Sequence[Sample], *, options: Options | None = None
) -> None:
    """Check that a head can learn, measure and predict, on the features of a tiny backbone.

    Args:
        head: The head.
        target: What is to be learned.
        samples: Two or more samples of images or texts, with labels that the target knows; see `tiny_samples`.
        options: Options of the head.

    Raises:
        ContractError: A promise is broken.
    """
    import torch

    from tlstudio.testing.components import tiny_backbones
    from tlstudio.testing.samples import modality_of

    count = len(samples)
    labels = [sample.label for sample in samples]
    backbone = tiny_backbones(modality_of(samples[0]))[0]
    preprocess = backbone.preprocessor(backbone.Options(), wanted=head.requires)
    items = [preprocess(sample) for sample in samples]
    inputs = preprocess.collate(items)
    network = backbone.load(backbone.Options()).eval()
    network.wanted = head.requires
    torch.manual_seed(0)
    module = head.build(network.shape, target, options if options is not None else head.Options())
    module.train()
    require(module.views == head.views, "The module must have as many views as the head.")
    with torch.no_grad():
        features = network({name: torch.cat([tensor] * head.views) for name, tensor in inputs.items()})
    features.context = module.encoder().context(samples)
    output = module(features)
    everything = count * head.views
    require(len(output) == everything, f"forward() gave {tuple(output.shape)}: the first dimension must be the batch.")
    if head.views > 1:
        output = output.unflatten(0, (count, head.views))
    elif not module.decodes_in_place:
        require(output.ndim == 2, f"forward() gave {tuple(output.shape)} instead of [{count}, K].")
    encoder = pickle.loads(pickle.dumps(module.encoder()))  # noqa: S301  our own
    encoded = encoder(labels, items if module.decodes_in_place or head.reads_inputs else ())
    require(len(encoded) == count, f"The encoder gave {len(encoded)} rows for {count} labels.")
    losses = module.loss(output, encoded)
    require(losses.shape == (count,), f"loss() gave {tuple(losses.shape)} instead of one number a sample.")
    require(torch.isfinite(losses).all(), "loss() gave a number that is not finite.")
    torch.autograd.backward(losses.mean())
    for name, parameter in module.named_parameters():
        require(parameter.grad is not None, f"The loss does not reach the parameter {name}.")
    module.eval()
    predictions = module.decode(output.detach(), inputs, samples)
    require(len(predictions) == count, f"decode() gave {len(predictions)} predictions for {count} samples.")
    metrics, from_labels = module.metrics(), module.label_metrics()
    metrics.update(output.detach(), encoded)
    values = {str(name): float(value) for name, value in metrics.compute().items()}
    if from_labels is not None:
        from_labels.update(predictions, samples)
        values |= from_labels.compute()
        absent = from_labels.better.keys() - values.keys()
        require(not absent, f"These metrics are no longer there where they are wanted: {', '.join(absent)}.")
    unusable = [name for name, value in values.items() if not math.isfinite(value)]
    require(not unusable, f"These metrics are not finite: {', '.join(unusable)}.")
    monitor = module.monitor[0]
    require(monitor == "loss" or monitor in values, f"The monitor {monitor!r} is none of its metrics.")
    for prediction, item in zip(predictions, items, strict=True):
        scores = [score for _, score in prediction.scores]
        require(scores == sorted(scores, reverse=True), "decode() must put the highest score first.")
        certainties = scores if prediction.certainty is None else [prediction.certainty, *scores]
        require(all(0.0 <= score <= 1.0 for score in certainties), "decode() gave a probability outside 0..1.")
        encoder([prediction.value], [item])
    unknown = "there is no such label"
    kind = TASKS[target.task].label
    if kind == "none":
        return
    try:
        # Any text can be written, and anything be an anomaly; that there is no label is what no model can learn.
        free = kind == "text" or target.task == "anomaly_detection"
        encoder([(unknown,) if kind == "names" else None if free else unknown], items[:1])
    except DataError:
        return
    raise ContractError("The encoder must raise a DataError for a label that it does not know.")


def check_backbone(
    backbone: Backbone, samples: Sequence[Sample], folder: Path, *, options: Options | None = None
) -> None:
    """Check that a backbone is what it says it is, and can be rebuilt from its assets.

    Args:
        backbone: The backbone; its weights must be on this machine.
        samples: Two or more samples of its modality.
        folder: An empty folder to write to.
        options: Options of the backbone.

    Raises:
        ContractError: A promise is broken.
    """
    import torch

    from tlstudio.testing.training import difference

    chosen = options if options is not None else backbone.Options()
    info = backbone.info()
    require(info.modality == backbone.modality, f"info() says {info.modality}, the backbone {backbone.modality}.")
    require(info.license and info.input, "info() must say what the licence is and what goes in.")
    require(backbone.why_not(samples[0]) is None, "why_not() refuses samples that it is to be checked with.")
    backbone = backbone.fit(chosen, samples)
    found = backbone.find_weights(chosen)
    require(found.origin, "find_weights() must say where the weights come from.")
    module = backbone.load(chosen).eval()

    held = [id(parameter) for group in module.layer_groups() for parameter in group.parameters()]
    every = {id(parameter): name for name, parameter in module.named_parameters()}
    missing = [name for key, name in every.items() if key not in set(held)]
    require(not missing, f"No layer group holds {', '.join(missing[:3])}.")
    require(len(held) == len(set(held)), "A parameter is in two layer groups.")

    preprocess = pickle.loads(pickle.dumps(backbone.preprocessor(chosen, augmentation="light")))  # noqa: S301  our own
    once, again = (preprocess.collate([preprocess(sample, 7) for sample in samples]) for _ in range(2))
    require(difference(once, again) == 0.0, "With the same seed the preprocessor must give the same.")
    plain = backbone.preprocessor(chosen)
    batch = plain.collate([plain(sample) for sample in samples])
    for name, tensor in batch.items():
        require(len(tensor) == len(samples), f"The batch is not the first dimension of {name!r}.")

    with torch.no_grad():
        for kind in sorted(info.provides):
            module.wanted = kind
            given = plain if kind == "pooled" else backbone.preprocessor(chosen, wanted=kind)
            inputs = given.collate([given(sample) for sample in samples])
            features = module(inputs)
            require(features.require(kind) is not None, f"It declares {kind} but does not give them.")
            if kind == "maps":
                check_maps(info, module, features.maps, inputs)
        module.wanted = "pooled"
        pooled = module(batch).require("pooled")
        shape = (len(samples), module.num_features)
        require(pooled.shape == shape, f"Pooled features are {tuple(pooled.shape)} instead of {shape}.")
        # A width of 0 stands for a backbone whose facts depend on its options.
        require(info.num_features in (0, module.num_features), "info() tells another width than the module has.")
        require(torch.isfinite(pooled).all(), "The features are not finite.")
        alone = module(plain.collate([plain(samples[0])])).require("pooled")
        apart = float((alone[0] - pooled[0]).abs().max())
        require(apart < 1e-3, f"A sample gets other features in a batch than alone (they differ by {apart:.2g}).")

        assets = folder / "assets"
        assets.mkdir()
        backbone.save_assets(chosen, assets)
        restored = backbone.restore(chosen, assets).eval()
        restored.wanted = "pooled"
        restored.load_state_dict(module.state_dict())
        same = restored(backbone.preprocessor(chosen, assets=assets).collate([plain(s) for s in samples]))
        require(torch.equal(same.require("pooled"), pooled), "Restored from its assets it gives other features.")


def check_maps(
    info: BackboneInfo, module: BackboneModule, maps: Sequence[Tensor], inputs: Mapping[str, Tensor]
) -> None:
    """Check that maps are what the backbone says, and that its inputs tell where they lie in the image."""
    require(GEOMETRY in inputs and IMAGE_SIZE in inputs, f"Where maps are wanted, {GEOMETRY} and {IMAGE_SIZE} are too.")
    shape = module.shape
    channels = tuple(each.shape[1] for each in maps)
    require(channels == shape.map_channels, f"Its maps have {channels} channels, it says {shape.map_channels}.")
    sides = [each.shape[-1] for each in maps]
    require(sides == sorted(set(sides), reverse=True), f"Its maps do not go from fine to coarse: {sides} cells.")
    require(len(shape.map_strides) == len(maps), "It must say how many pixels a cell of each of its maps stands for.")
    known = info.shape.map_channels in ((), channels) and info.shape.map_strides in ((), shape.map_strides)
    require(known, "info() tells of other maps than the module.")


def check_strategy(
    strategy: FineTuningStrategy,
    backbone: Backbone,
    head: TaskHead,
    samples: Sequence[Sample],
    target: TargetInfo,
    folder: Path,
    *,
    options: Options | None = None,
    backbone_options: Options | None = None,
    head_options: Options | None = None,
    epochs: int = 2,
) -> None:
    """Train for some steps and check that a strategy moves what it says and nothing else, and can be restored.

    One step is made in each epoch on all samples. Checked are: each learning parameter is in exactly one group; the
    loss is finite; the parameters and buffers that moved are named by `updates`, and each parameter named there
    got a gradient or was set (give enough epochs if layers join late), but for what the method that is part of the
    strategy has frozen, as it chose others; what was saved as safetensors makes a freshly built model give the same
    outputs; and `merge` keeps the outputs and gives the backbone its own state dict back.

    Args:
        strategy: The strategy.
        backbone: A small backbone.
        head: A head that fits it.
        samples: Two or more labelled samples.
        target: What the head learns.
        folder: A folder to write to.
        options: Options of the strategy.
        backbone_options: Options of the backbone.
        head_options: Options of the head.
        epochs: Number of epochs.

    Raises:
        ContractError: A promise is broken.
        RunError: The strategy, or the method that is part of it, refuses to work with the others.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from tlstudio.api.nn import TransferModel
    from tlstudio.testing.training import Setup, changed, copied, difference, outputs_of, train

    setup = Setup(
        strategy,
        backbone.fit(backbone_options if backbone_options is not None else backbone.Options(), samples),
        head,
        target,
        options if options is not None else strategy.Options(),
        backbone_options if backbone_options is not None else backbone.Options(),
        head_options if head_options is not None else head.Options(),
    )
    setup.check_method(samples, epochs)
    model = setup.new_model()
    batch, targets = setup.batch(samples, model.head)
    may_learn = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    declared = strategy.updates(model, setup.options)
    unknown = declared - set(model.state_dict())
    require(not unknown, f"updates() names {sorted(unknown)[:3]}, which the state dict does not have.")
    groups = strategy.param_groups(model, setup.options, learning_rate=1e-2, weight_decay=0.0)
    grouped = [id(parameter) for group in groups for parameter in group.params]
    require(len(grouped) == len(set(grouped)), "param_groups() gives a parameter twice.")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    outside = [names.get(key, "a parameter that is not in the model") for key in grouped]
    outside = [name for name in outside if name not in declared]
    require(not outside, f"param_groups() gives {outside[:3]}, which updates() does not name.")

    before = copied(model)
    losses, reached = train(setup, model, groups, batch, targets, epochs)
    require(all(math.isfinite(loss) for loss in losses), f"The loss is not finite: {losses}.")
    require(set(model.state_dict()) == set(before), "Training changed the names in the state dict.")
    moved = changed(before, model.state_dict())
    astray = moved - declared
    require(not astray, f"These moved although updates() does not name them: {sorted(astray)[:5]}.")
    still = {name for name, _ in model.named_parameters() if name in declared} - set(reached) - moved
    if strategy.method(setup.options) is not None:
        still -= may_learn - {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if head.requires != "pooled":
        still -= setup.aside(batch, targets)
    require(not still, f"updates() names these, but no gradient came to them, nor anything else: {sorted(still)[:5]}.")
    stuck = {name for name, gradient in reached.items() if gradient > 1e-6} - moved
    require(not stuck, f"These had a gradient but did not move: {sorted(stuck)[:5]}.")

    expected = outputs_of(model, batch)
    path = folder / "state.safetensors"
    save_file({name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}, path)
    rebuilt = setup.rebuilt_model(folder)
    rebuilt.load_state_dict(load_file(path))
    same = difference({"": outputs_of(rebuilt, batch)}, {"": expected})
    require(same == 0.0, f"Saved, rebuilt and loaded, its outputs differ by {same:.2g}.")

    strategy.merge(rebuilt)
    apart = difference({"": outputs_of(rebuilt, batch)}, {"": expected})
    scale = max(1.0, float(expected.abs().max()))
    require(apart <= 1e-4 * scale, f"merge() changed the outputs by {apart:.2g}.")
    plain = backbone.restore(setup.backbone_options, setup.assets(folder))
    plain.wanted = head.requires
    if not strategy.merges:
        absent = set(plain.state_dict()) - set(rebuilt.backbone.state_dict())
        require(not absent, f"What it does not fold in takes the place of {sorted(absent)[:3]}.")
        return
    merged = {name: tensor.clone() for name, tensor in rebuilt.backbone.state_dict().items()}
    require(set(merged) == set(plain.state_dict()), "After merge() the backbone has other names in its state dict.")
    plain.load_state_dict(merged)
    with torch.no_grad():
        again = TransferModel(plain.eval(), rebuilt.head, plain.layer_groups())(batch)
    require(difference({"": again}, {"": expected}) <= 1e-4 * scale, "The merged backbone, restored, differs.")
