"""Learning data sets one after another: which, in which order, and what keeps the earlier ones from being forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from tlstudio.api import Problem, ProblemsError, TLStudioError
from tlstudio.engine.sequences import PROTECTIONS, Protection, unfinished_sequence
from tlstudio.gui.recipe_draft import KINDS, METHODS, RecipeDraft
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import component_title, run_title
from tlstudio.gui.widgets.candidates import first_sentence
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.dataset_order import DatasetOrder
from tlstudio.gui.widgets.dialogs import Sheet
from tlstudio.gui.widgets.options_form import OptionsForm
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import JobContext

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision
    from tlstudio.engine.sequence_plan import SequencePlan

_CHECK_AFTER_MS = 250
_MOST_TOLD = 6


@dataclass(frozen=True)
class _Known:
    """What there is in the project.

    Attributes:
        fitting: The data sets that can be learned with the present one, which is the first of them.
        others: How many cannot.
        unfinished: Id of the run that a sequence can go on from; empty: there is none.
        given: By what protects, the options that are not the user's to set.
    """

    fitting: Sequence[Revision] = ()
    others: int = 0
    unfinished: str = ""
    given: Mapping[Protection, frozenset[str]] = field(default_factory=dict)


class SequenceDialog(Sheet):
    """Puts a sequence together, and has all of it checked before anything is started.

    Args:
        state: What the pages share.
        draft: The recipe of the Train page: each run follows it.
        place: Gives the words of that page for the place of a problem; ``""``: it has none.
        parent: The window.

    Signals:
        start_requested(object): The user wants this `SequencePlan` to be carried out.
        go_on_requested(str): The user wants to go on with the sequence of which this run is the last one so far.
    """

    start_requested = Signal(object)
    go_on_requested = Signal(str)

    def __init__(self, state: AppState, draft: RecipeDraft, place: Callable[[str], str], parent: QWidget) -> None:
        super().__init__("sequence", self.tr("Learn data sets one after another"), parent, width=660)
        self._state = state
        self._values = _values_of(draft)
        self._place = place
        self._present = draft.dataset
        self._known = _Known()
        self._plan: SequencePlan | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CHECK_AFTER_MS)
        self._timer.timeout.connect(self._check)
        self.finished.connect(self._timer.stop)
        self.body.setSpacing(10)
        hint = self.tr(
            "One model learns them in this order: each run starts from the one before. After each run the test split "
            "of every data set is measured, which shows what was forgotten. All else is as on the Train page"
        )
        self.body.addWidget(text_label(f"{hint}{self._recipe_words(draft)}.", "second", "sequence_hint", wrap=True))
        self.body.addWidget(self._make_unfinished())
        self.order = DatasetOrder()
        self.order.changed.connect(self._changed)
        self.body.addWidget(self.order, 1)
        self.body.addLayout(self._make_protection())
        self._problems = text_label("", "bad", "sequence_problems", wrap=True)
        self._problems.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._problems.hide()
        self.body.addWidget(self._problems)
        self._status = text_label("", "small", "sequence_status", elide=True)
        self.buttons.insertWidget(0, self._status, 1)
        self.add_button(self.tr("Cancel"), "secondary", "sequence_cancel", self.reject)
        self._start_button = self.add_button(self.tr("&Start"), "primary", "sequence_start", self._start)
        self._find_data()
        self._changed()

    def _recipe_words(self, draft: RecipeDraft) -> str:
        recipe, registry = draft.result.recipe, self._state.registry
        if recipe is None:
            return ""
        names = [component_title(registry, kind, getattr(recipe, kind).name) for kind in ("backbone", "strategy")]
        epochs = recipe.training.epochs
        each = self.tr("1 epoch for each") if epochs == 1 else self.tr("{0} epochs for each").format(epochs)
        return ": " + ", ".join([*names, each])

    # -- what is there --------------------------------------------------------------------------------------

    def _make_unfinished(self) -> Card:
        self.unfinished = Card("sequence_unfinished", margins=(14, 8, 8, 8))
        self._unfinished_text = text_label("", "", "sequence_unfinished_text", wrap=True)
        go_on = push_button(self.tr("&Go on with it"), "secondary", "sequence_go_on")
        go_on.clicked.connect(self._go_on)
        row = QHBoxLayout()
        row.addWidget(self._unfinished_text, 1)
        row.addWidget(go_on)
        self.unfinished.column.addLayout(row)
        self.unfinished.hide()
        return self.unfinished

    def _make_protection(self) -> QVBoxLayout:
        self.protection = QComboBox()
        self.protection.setObjectName("sequence_protection")
        self.protection.setAccessibleName(self.tr("What keeps the earlier ones from being forgotten"))
        methods = self._state.registry.methods
        for name in PROTECTIONS:
            if name == "nothing":
                self.protection.addItem(self.tr("Nothing"), name)
            elif name in methods:
                self.protection.addItem(methods[name].title, name)
        self.protection.setCurrentIndex(max(0, self.protection.findData("replay")))
        self.protection.currentIndexChanged.connect(lambda _: self._show_protection())
        label = QLabel(self.tr("Against &forgetting"))
        label.setObjectName("sequence_protection_label")
        label.setBuddy(self.protection)
        self._about = text_label("", "second", "sequence_about", wrap=True)
        self._form_place = QVBoxLayout()
        self.form: OptionsForm | None = None
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addWidget(label)
        row.addWidget(self.protection, 1)
        column = QVBoxLayout()
        column.setSpacing(6)
        column.addLayout(row)
        column.addWidget(self._about)
        column.addLayout(self._form_place)
        return column

    def _find_data(self) -> None:
        project, (name, revision_id) = self._state.project, self._present
        if project is None:
            return

        def work(context: JobContext) -> _Known:
            from tlstudio.engine.sequence_plan import given_options, why_not_together

            first = project.dataset(name, revision_id)
            fitting, others = [first], 0
            for other in project.datasets():
                if context.cancelled():
                    break
                if other == name:
                    continue
                try:
                    revision = project.dataset(other)
                except TLStudioError:  # its own page tells what is wrong with it
                    others += 1
                    continue
                fits = not why_not_together(first, revision)
                fitting, others = ([*fitting, revision], others) if fits else (fitting, others + 1)
            last = unfinished_sequence(project)
            given = {one: given_options(one) for one in PROTECTIONS}
            return _Known(fitting, others, last.id if last is not None else "", given)

        title = self.tr("Looking at the data sets")
        job = self._state.jobs.start(work, title, self._show_known, self._failed, key="sequence data")
        self.finished.connect(job.context.cancel)  # as below

    def _show_known(self, known: _Known) -> None:
        self._known = known
        if known.unfinished:
            text = self.tr("A sequence has not come to its end: {0} was its last run so far.")
            self._unfinished_text.setText(text.format(run_title(known.unfinished, self._state.registry)))
            self.unfinished.show()
        self._show_protection()
        self.order.offer(known.fitting, known.others)

    # -- against forgetting ---------------------------------------------------------------------------------

    def _show_protection(self) -> None:
        name: Protection = self.protection.currentData()
        method = self._state.registry.methods.get(name)
        nothing = self.tr("Each run only starts from the one before: what is forgotten without any protection.")
        self._about.setText(first_sentence(method.description) if method is not None else nothing)
        if self.form is not None:
            self._form_place.removeWidget(self.form)
            self.form.hide()
            self.form.deleteLater()
            self.form = None
        if method is not None:
            self.form = OptionsForm(f"{METHODS}{name}", self._state)
            own = self._values.get("methods", {}).get(name, {})
            self.form.set_model(method.Options, own, skip=tuple(self._known.given.get(name, ())))
            self.form.changed.connect(self._changed)
            self._form_place.addWidget(self.form)
        self._changed()

    # -- the check ------------------------------------------------------------------------------------------

    @property
    def checking(self) -> bool:
        """Whether what is chosen now is still to be checked."""
        return self._timer.isActive()

    @Slot()
    def _changed(self) -> None:
        self._plan = None
        self._start_button.setEnabled(False)
        self._timer.start()

    @Slot()
    def _check(self) -> None:
        if not self._known.fitting:
            return  # they are still looked at
        revisions, values, registry = self.order.chosen, self._values, self._state.registry
        protection: Protection = self.protection.currentData()
        options = self.form.values if self.form is not None else {}
        self._status.setText(self.tr("Looking whether all of it can be done…"))

        def work(_: JobContext) -> SequencePlan:
            from tlstudio.engine.sequence_plan import plan_sequence

            return plan_sequence(revisions, values, registry, protection=protection, options=options)

        title = self.tr("Looking at the sequence")
        job = self._state.jobs.start(work, title, self._take_plan, self._failed, key="sequence check")
        self.finished.connect(job.context.cancel)  # a result must not meet a dialog that is gone

    def _take_plan(self, plan: SequencePlan) -> None:
        if self._timer.isActive():
            return  # it has been changed meanwhile; the next check tells
        self._plan = plan
        self._start_button.setEnabled(True)
        text = self.tr("{0} runs, one after the other; {1} classes from the first on.")
        count = len(plan.revisions)
        runs = self.tr("{0} runs, one after the other.").format(count)
        self._status.setText(text.format(count, len(plan.classes)) if plan.classes else runs)
        self._show_problems(())

    def _failed(self, error: Exception) -> None:
        if self._known.fitting and self._timer.isActive():
            return  # as above; where the data sets themselves could not be read, no check follows
        if isinstance(error, ProblemsError):
            problems: Sequence[Problem] = error.problems
        elif isinstance(error, TLStudioError):
            problems = (Problem(error.field or "datasets", error.what, error.remedy),)
        else:
            self._state.show_error(error)
            self._status.setText("")
            return
        self._status.setText(
            self.tr("One thing must be mended first.")
            if len(problems) == 1
            else self.tr("{0} things must be mended first.").format(len(problems))
        )
        self._show_problems(problems)

    def _show_problems(self, problems: Sequence[Problem]) -> None:
        if self.form is not None:
            self.form.show_problems(problems)
        told = [f"{self._place_of(one.where)}: {one.what} {one.remedy}".strip() for one in problems]
        if len(told) > _MOST_TOLD:
            rest = self.tr("and {0} more").format(len(told) - _MOST_TOLD + 1)
            told = [*told[: _MOST_TOLD - 1], rest]
        self._problems.setText("\n".join(told))
        self._problems.setMinimumHeight(self._problems.heightForWidth(self.body.geometry().width()) if told else 0)
        self._problems.setVisible(bool(told))

    def _place_of(self, where: str) -> str:
        if self.form is not None and (row := self.form.rows.get(where.removeprefix(f"{self.form.objectName()}."))):
            return f"{self.protection.currentText()} · {row.field.title}"
        return self.tr("Data sets") if where == "datasets" else self._place(where) or where

    @property
    def problems(self) -> tuple[str, ...]:
        """What forbids the start, as it is told."""
        return tuple(self._problems.text().splitlines())

    @Slot()
    def _start(self) -> None:
        if self._plan is not None:
            self.start_requested.emit(self._plan)
            self.accept()

    @Slot()
    def _go_on(self) -> None:
        self.go_on_requested.emit(self._known.unfinished)
        self.accept()


def _values_of(draft: RecipeDraft) -> Mapping[str, Any]:
    """What each run follows: the whole recipe, or what was said of it where mistakes forbid it."""
    if draft.result.recipe is not None:
        return draft.result.recipe.model_dump()
    said = draft.values.items()
    return {key: part for key, part in said if key not in KINDS or part.get("name") or part.get("start_from")}
