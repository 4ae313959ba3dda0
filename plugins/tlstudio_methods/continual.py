"""Learning one data set after another without forgetting the first: rehearsal and elastic weight consolidation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import DataStream, Method, Options, Problem, Setting, View, option, options_as
from tlstudio.api.methods import dataset_names
from tlstudio_methods.domains import head_problems, named_twice, own_data_problems
from tlstudio_methods.earlier_runs import earlier_run_option, forgetting_problems

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["EWC", "EWCOptions", "Replay", "ReplayOptions"]

EARLIER = "earlier"


class ReplayOptions(Options):
    """Options of replay."""

    datasets: str = option(
        ...,
        title="Earlier data sets",
        help="What was learned before and must not be forgotten; several with commas between them.",
        browse="datasets",
    )
    kept: int = option(
        200,
        title="Kept samples",
        help="So many samples of each earlier data set are gone through again, as many of each class; 0: all.",
        ge=0,
        le=10_000_000,
    )
    ratio: float = option(
        1.0,
        title="Earlier samples for each new one",
        help="1 puts as many earlier samples into a batch as new ones.",
        gt=0,
        le=10,
        advanced=True,
    )
    strength: float = option(
        1.0, title="Lambda", help="How much the earlier samples count beside the new ones.", ge=0, le=100
    )


class Replay(Method):
    """Experience replay: kept samples of earlier data are learned again (Chaudhry et al. 2019, arXiv:1902.10486)."""

    name = "replay"
    title = "Replay of earlier data"
    description = (
        "Goes through some samples of earlier data sets again while a new one is learned: the surest way not to forget "
        "them. Their classes must be among those of the head (head.classes). Also called rehearsal."
    )
    kind = "two domains"
    source = "Chaudhry et al. 2019, arXiv:1902.10486"
    Options = ReplayOptions

    def streams(self, options: api.Options) -> Sequence[DataStream]:
        """Ask for the kept samples of each earlier data set."""
        chosen = options_as(ReplayOptions, options)
        names = dataset_names(chosen.datasets)
        share = chosen.ratio / max(1, len(names))
        return [DataStream(name, name, labelled=True, ratio=share, limit=chosen.kept) for name in names]

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse data whose labels the head cannot learn; see `Method`."""
        names = dataset_names(options_as(ReplayOptions, options).datasets)
        found = named_twice(names, "datasets")
        found += own_data_problems(setting, "datasets", "Name data that were learned before.")
        if not names:
            found.append(Problem("datasets", "no data set is named.", "Name one, or switch replay off."))
        return found + head_problems(setting, "datasets")

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Make what adds the loss of the kept samples."""
        from tlstudio_methods.continual_modules import ReplayModule

        chosen = options_as(ReplayOptions, options)
        return ReplayModule(context, dataset_names(chosen.datasets), strength=chosen.strength)


class EWCOptions(Options):
    """Options of elastic weight consolidation."""

    run: str = earlier_run_option()
    dataset: str = option(
        ..., title="Its data set", help="On it is measured which weights the earlier task needs.", browse="dataset"
    )
    strength: float = option(
        1000.0,
        title="Lambda",
        help="How strongly the weights are held that the earlier task needs; usual are 10 to 10,000.",
        ge=0,
        le=1e9,
    )
    samples: int = option(
        200,
        title="Samples measured",
        help="On so many samples of the earlier data the Fisher information is measured.",
        ge=1,
        le=1_000_000,
        advanced=True,
    )


class EWC(Method):
    """Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv:1612.00796)."""

    name = "ewc"
    title = "Elastic weights (EWC)"
    description = (
        "Measures which weights an earlier run needs for its task (their Fisher information) and holds these more than "
        "the others while a new task is learned. Of the earlier data, a few samples are needed once."
    )
    kind = "two domains"
    source = "Kirkpatrick et al. 2017, arXiv:1612.00796"
    needs_backbone = True
    Options = EWCOptions

    def models(self, options: api.Options) -> Mapping[str, str]:
        """Ask for the earlier run."""
        return {EARLIER: options_as(EWCOptions, options).run}

    def streams(self, options: api.Options) -> Sequence[DataStream]:
        """Ask for some of its data, to be gone through once."""
        chosen = options_as(EWCOptions, options)
        view = {"": View("none", prepared_by=EARLIER)}
        return [DataStream(EARLIER, chosen.dataset, labelled=True, ratio=0, limit=chosen.samples, views=view)]

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse where nothing of the earlier run could be forgotten or measured; see `Method`."""
        found = forgetting_problems(setting, options_as(EWCOptions, options).run, "run")
        if setting.strategy.adds:
            what = f"{self.title} holds the weights of the backbone, and {setting.strategy.title} leaves these as they "
            found.append(Problem("", f"{what}are.", "Choose a strategy under which they learn, such as full."))
        earlier, learned = setting.streams[EARLIER].target, setting.models[EARLIER]
        if earlier is not None and (earlier.task != learned.task or not set(earlier.classes) <= set(learned.classes)):
            what = "the data set is not what the earlier run has learned."
            found.append(Problem("dataset", what, "Name the data set that it was trained on."))
        return found

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Make what measures and holds."""
        from tlstudio_methods.continual_modules import EWCModule

        return EWCModule(context, EARLIER, strength=options_as(EWCOptions, options).strength)
