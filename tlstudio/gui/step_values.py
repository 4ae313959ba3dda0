"""What the steps of a run tell besides their loss, as it is plotted: no widgets."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QCoreApplication

from tlstudio.engine.events import StepLogged
from tlstudio.gui.titles import quantity_title
from tlstudio.plugins import Registry

RATES, GRADIENTS = "learning rates", "gradient norms"


def told_by(event: StepLogged) -> Mapping[str, Mapping[str, float]]:
    """What a step tells, by what it is (`RATES`, `GRADIENTS`, or the name of a quantity) and by curve."""
    told: dict[str, Mapping[str, float]] = {RATES: event.learning_rates, GRADIENTS: event.gradient_norms}
    return told | {name: {name.rpartition("/")[2]: value} for name, value in event.quantities.items()}


def thing_title(thing: str, registry: Registry) -> str:
    """The heading under which it is plotted."""
    titles = {
        RATES: QCoreApplication.translate("StepValues", "Learning rate"),
        GRADIENTS: QCoreApplication.translate("StepValues", "Gradient norm"),
    }
    return titles.get(thing) or quantity_title(registry, thing)
