"""What a picker offers: the components of one kind with their facts and the reasons why one does not fit."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from PySide6.QtCore import QCoreApplication

from tlstudio.api import (
    TASKS,
    Backbone,
    Component,
    Modality,
    Options,
    Problem,
    Task,
    TLStudioError,
    WeightsError,
)
from tlstudio.gui.titles import items_word
from tlstudio.gui.widgets.figures import count_text, size_text
from tlstudio.plugins import Registry
from tlstudio.plugins.joined import PLUS

log = logging.getLogger(__name__)
Kind = Literal["backbone", "head", "strategy"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One component in a picker.

    Attributes:
        name: Its name in recipes.
        title: What the user reads.
        description: What it is and when to choose it.
        source: Paper or library that it comes from; of a backbone, among its details.
        facts: One line of facts; ``""`` until they have been read.
        details: Further facts, each on a line of its own.
        reasons: Why it does not fit; empty where it does.
        read: Whether facts and reasons are known.
        family: Title of the family that it belongs to, if any.
        num_features: Width of a backbone's features; 0 where it is not known.
    """

    name: str
    title: str
    description: str = ""
    source: str = ""
    facts: str = ""
    details: str = ""
    reasons: tuple[str, ...] = ()
    read: bool = False
    family: str = ""
    num_features: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """What a candidate has to fit.

    Attributes:
        modality: What the data set has.
        task: What is to be learned.
        backbone: Name of the chosen backbone; ``""``: none yet.
        head: Name of the chosen task head; ``""``: none yet.
        strategy: Name of the chosen strategy; ``""``: none yet.
    """

    modality: Modality
    task: Task
    backbone: str = ""
    head: str = ""
    strategy: str = ""


def listed(kind: Kind, registry: Registry, situation: Situation) -> list[Candidate]:
    """List the components that cost nothing to list; members of families come from `members`."""
    found: list[Component]
    if kind == "backbone":
        if situation.modality == "image+text":
            return []  # a single one never fits
        backbones = registry.backbones.values()
        found = [*sorted(backbones, key=lambda each: each.modality != situation.modality)]
    elif kind == "head":
        heads = registry.heads.values()
        found = [*sorted(heads, key=lambda each: each.task != situation.task)]
    else:
        found = [*registry.strategies.values()]
    return [Candidate(each.name, each.title, each.description, each.source) for each in found]


def members(registry: Registry, situation: Situation) -> list[Candidate]:
    """List the members of every family; imports the libraries behind them, so call it off the window's thread.

    A family that takes other data is one candidate that does not fit. For images with texts there are pairs: of the
    listed backbones, and of the members of families whose weights are on this machine.
    """
    if situation.modality == "image+text":
        images, texts = (_present(registry, modality) for modality in ("image", "text"))
        pairs = sorted(itertools.product(images, texts), key=lambda pair: not (images[pair[0]] and texts[pair[1]]))
        return [Candidate(PLUS.join(pair), f" {PLUS} ".join(pair)) for pair in pairs]
    result: list[Candidate] = []
    for family in registry.families.values():
        if family.modality != situation.modality:
            why = _tr("All of it takes {0}, the data set has {1}.").format(
                items_word(family.modality), items_word(situation.modality)
            )
            result.append(Candidate("", family.title, reasons=(why,), read=True, family=family.title))
        else:
            result += [Candidate(name, name, family=family.title) for name in registry.members(family)]
    return result


def typed_pair(text: str, registry: Registry, situation: Situation) -> Candidate | None:
    """Take what was typed as the names of two backbones that are to be joined; `None` if it is no such thing.

    Args:
        text: As it was typed: ``"resnet18 + all-MiniLM-L6-v2"``.
        registry: The components.
        situation: Only images with texts want two.
    """
    names = registry.joined_names(text.strip())
    if situation.modality != "image+text" or names is None or not all(names):
        return None
    return Candidate(PLUS.join(names), f" {PLUS} ".join(names))


def _present(registry: Registry, modality: Modality) -> dict[str, bool]:
    """Name the listed backbones of a modality and the members of families whose weights are on this machine.

    Whether the weights are here is told with each name.
    """
    backbones = registry.backbones.items()
    found = {name: _is_here(backbone) for name, backbone in backbones if backbone.modality == modality}
    for family in registry.families.values():
        if family.modality == modality:
            found |= dict.fromkeys(registry.present(family), True)
    return found


def _is_here(backbone: Backbone) -> bool:
    options, _ = _default_options(backbone.Options)
    try:
        return options is not None and backbone.find_weights(options).path is not None
    except WeightsError:
        return False


def read_candidate(kind: Kind, candidate: Candidate, registry: Registry, situation: Situation) -> Candidate:
    """Add facts and reasons to a candidate; may import heavy libraries, so call it off the window's thread."""
    if candidate.read:
        return candidate
    try:
        if kind == "backbone":
            return _read_backbone(candidate, registry, situation)
        if kind == "head":
            return _read_head(candidate, registry, situation)
        return _read_strategy(candidate, registry, situation)
    except Exception as error:  # a plugin may raise anything; the others must still be offered
        sentence = str(error)
        if not isinstance(error, TLStudioError):
            log.exception("facts of %s %s", kind, candidate.name)
            sentence = _tr("Its plugin failed while its facts were read; the log of the studio tells more.")
        return replace(candidate, reasons=(sentence,), read=True)


def _read_backbone(candidate: Candidate, registry: Registry, situation: Situation) -> Candidate:
    backbone = registry.backbone(candidate.name)
    info = backbone.info()
    options, missing = _default_options(backbone.Options)
    where, size = "", 0
    if options is not None:
        try:
            weights = backbone.find_weights(options)
            where = _tr("on this machine") if weights.path is not None else weights.origin
            size = weights.size
            origin = weights.origin
        except WeightsError as error:
            where, origin = _tr("weights are not here"), str(error)
    else:
        where, origin = _tr("needs a setting"), "; ".join(str(problem) for problem in missing)
    facts = [_tr("{0} parameters").format(count_text(info.num_parameters))] if info.num_parameters else []
    if size:
        facts.append(size_text(size))
    facts.append(where)
    details = [
        info.license,
        _tr("Takes {0}").format(info.input),
        _tr("Gives {0} features, {1} wide").format(", ".join(sorted(info.provides)), f"{info.num_features:,}"),
        _tr("Weights: {0}").format(origin),
        info.source,
    ]
    head = registry.heads.get(situation.head)
    strategy = registry.strategies.get(situation.strategy)
    reasons: list[str] = []
    if head is not None:
        reasons = registry.why_not(backbone, head, strategy, modality=situation.modality, task=situation.task)
    elif backbone.modality != situation.modality:
        reasons = [
            _tr("It takes {0}, the data set has {1}.").format(
                items_word(backbone.modality), items_word(situation.modality)
            )
        ]
    return replace(
        candidate,
        title=backbone.title,
        description=backbone.description,
        facts=" · ".join(part for part in facts if part),
        details="\n".join(part for part in details if part),
        reasons=tuple(reasons),
        read=True,
        num_features=info.num_features,
    )


def _read_head(candidate: Candidate, registry: Registry, situation: Situation) -> Candidate:
    head = registry.head(candidate.name)
    kind = _tr("several kinds of") if head.requires == "parts" else head.requires
    facts = _tr("{0} · needs {1} features").format(TASKS[head.task].title, kind)
    reasons: list[str] = []
    if situation.backbone:
        backbone = registry.backbone(situation.backbone)
        strategy = registry.strategies.get(situation.strategy)
        reasons = registry.why_not(backbone, head, strategy, modality=situation.modality, task=situation.task)
        # What is wrong with the backbone and the data alone is no reason against this head.
        reasons = [reason for reason in reasons if not reason.startswith(f"{backbone.title} takes")]
    elif head.task != situation.task:
        reasons = [
            _tr("The data set is for {0}.").format(TASKS[situation.task].title.lower()),
        ]
    return replace(candidate, facts=facts, reasons=tuple(reasons), read=True)


def _read_strategy(candidate: Candidate, registry: Registry, situation: Situation) -> Candidate:
    strategy = registry.strategy(candidate.name)
    options, _ = _default_options(strategy.Options)
    cached = options is not None and strategy.caches_features(options)
    details = _tr("The backbone's features are computed once and kept.") if cached else ""
    head = registry.heads.get(situation.head)
    reason: str | None = None
    if situation.backbone and head is not None:
        reason = strategy.why_not(registry.backbone(situation.backbone).info(), head)
    reasons = (reason,) if reason else ()
    return replace(candidate, facts=first_sentence(strategy.description), details=details, reasons=reasons, read=True)


def first_sentence(description: str) -> str:
    """What a component does, without when to choose it: its description up to the first full stop or colon."""
    return re.split(r"[.:](?:\s|$)", description, maxsplit=1)[0]


def _default_options(model: type[Options]) -> tuple[Options | None, list[Problem]]:
    """Options as they are without any setting; `None` and the reasons where one is required."""
    from pydantic import ValidationError

    from tlstudio.api import problems_of

    try:
        return model(), []
    except ValidationError as error:
        return None, problems_of(error, model)


def fitting_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Order candidates: those that fit (or may fit), then the others, each in the order given."""
    return sorted(candidates, key=lambda each: bool(each.reasons))


def _tr(text: str) -> str:
    return QCoreApplication.translate("Candidates", text)
