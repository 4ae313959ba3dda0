"""Snapshot ensembles: one run gives several models, one at the end of each cycle of the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import Method, Options, Problem, Setting, option, options_as

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["Snapshots", "SnapshotsOptions"]


class SnapshotsOptions(Options):
    """Options of snapshot ensembles."""

    cycles: int = option(
        5,
        title="Cycles",
        help="So often the learning rate falls from the highest to 0, and so many models are kept. Each needs enough "
        "epochs to become good: with 5 cycles it gets a fifth of them.",
        ge=2,
        le=100,
    )


class Snapshots(Method):
    """Snapshot ensembles (Huang et al. 2017, arXiv:1704.00109).

    With ``T`` steps and ``M`` cycles, the learning rate of step ``t`` (from 1) is
    ``rate / 2 * (cos(pi * mod(t - 1, ceil(T / M)) / ceil(T / M)) + 1)``, in place of the schedule and its warm-up.
    Where the epochs cannot be shared out evenly, some cycles are one epoch longer.
    """

    name = "snapshots"
    title = "Snapshot ensemble"
    description = (
        "Lets the learning rate fall and begin anew several times, and keeps the model at the end of each cycle: an "
        "ensemble for the price of one training. When the run is done, they can predict together. Use it where the "
        "backbone learns and early stopping is off; each snapshot takes the room of a checkpoint."
    )
    kind = "regularisation"
    source = "Huang et al. 2017, arXiv:1704.00109"
    excludes = ("ema", "swa")
    Options = SnapshotsOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse cycles without an epoch, and a run that may stop before the last of them; see `Method`."""
        cycles, found = options_as(SnapshotsOptions, options).cycles, []
        if setting.early_stopping:
            what = "Early stopping would end the run while the learning rate is high, before all models are kept."
            found.append(Problem("", what, "Set training.early_stopping to 0."))
        if cycles > setting.epochs:
            what = f"{cycles} cycles need {cycles} epochs or more, and the run has {setting.epochs}."
            found.append(Problem("cycles", what, "Choose fewer cycles, or raise training.epochs."))
        return found

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Share the epochs out to cycles."""
        from tlstudio_methods.snapshots_module import SnapshotsModule

        return SnapshotsModule(context, options_as(SnapshotsOptions, options).cycles)
