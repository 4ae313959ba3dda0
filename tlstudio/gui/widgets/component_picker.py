"""Choosing a backbone, a task head or a strategy: a card that shows the choice, and the dialog behind its button."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QItemSelectionModel, QModelIndex, QObject, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QKeyEvent, QShowEvent
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QListView,
    QVBoxLayout,
    QWidget,
)

from tlstudio.gui.state import AppState
from tlstudio.gui.theme import icon
from tlstudio.gui.widgets.candidates import (
    Candidate,
    Kind,
    Situation,
    fitting_first,
    listed,
    members,
    read_candidate,
    typed_pair,
)
from tlstudio.gui.widgets.picker_model import CANDIDATE_ROLE, CandidateDelegate, CandidateFilter, CandidateModel
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import JobContext

_LOOK_AFTER_MS = 150


class PickerCard(QFrame):
    """Shows what is chosen: caption, title, one line of facts, and a button to change it.

    Signals:
        change_requested(): The button was pressed.
    """

    change_requested = Signal()

    def __init__(self, name: str, caption: str, mnemonic_text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setProperty("role", "card")
        self.setAccessibleName(caption)
        self._title = text_label(self.tr("Not chosen yet"), "section", f"{name}_title", elide=True)
        self._facts = text_label(" ", "small", f"{name}_facts", elide=True)
        self.button = push_button(
            mnemonic_text, "link", f"{name}_change", accessible=self.tr("Change {0}").format(caption)
        )
        head = QHBoxLayout()
        head.setContentsMargins(0, 0, 0, 0)
        head.addWidget(text_label(caption.upper(), "caption", f"{name}_caption"), 1)
        head.addWidget(self.button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(15, 7, 10, 9)
        layout.setSpacing(1)
        layout.addLayout(head)
        layout.addWidget(self._title)
        layout.addWidget(self._facts)
        self.button.clicked.connect(self.change_requested)

    def show_choice(self, title: str, facts: str) -> None:
        """Show what is chosen and its facts."""
        self._title.setText(title)
        self._facts.setText(facts or " ")
        self.setAccessibleDescription(f"{title}. {facts}")


class PickerDialog(QDialog):
    """Lists every component of a kind: those that fit with their facts, the others greyed with the reason.

    Facts are read off the window's thread, of the rows in sight only.

    Signals:
        picked(str): A component that fits was chosen; carries its name.
    """

    picked = Signal(str)

    def __init__(
        self, kind: Kind, state: AppState, situation: Situation, chosen: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("picker")
        self._kind = kind
        self._state = state
        self._situation = situation
        self._listed = False
        titles = {
            "backbone": self.tr("Choose a backbone"),
            "head": self.tr("Choose a task head"),
            "strategy": self.tr("Choose a strategy"),
        }
        self.setWindowTitle(titles[kind])
        self.setAccessibleName(titles[kind])
        self.setModal(True)
        self._model = CandidateModel(self)
        self._model.chosen = chosen
        self._filter = CandidateFilter(self)
        self._filter.setSourceModel(self._model)
        self._build(titles[kind])
        self._look = QTimer(self)
        self._look.setSingleShot(True)
        self._look.setInterval(_LOOK_AFTER_MS)
        self._look.timeout.connect(self._read_in_sight)
        self.list.verticalScrollBar().valueChanged.connect(lambda _: self._look.start())
        self._model.set_candidates(listed(kind, state.registry, situation))
        self._select(chosen)
        self._read_listed()

    def _build(self, title: str) -> None:
        self.search = QLineEdit()
        self.search.setObjectName("picker_search")
        self.search.setAccessibleName(self.tr("Search"))
        self.search.setPlaceholderText(
            self.tr("Search by name, or type two with a + between them: one for images, one for texts")
            if self._kind == "backbone" and self._situation.modality == "image+text"
            else self.tr("Search by name")
        )
        self.search.setClearButtonEnabled(True)
        self.search.addAction(icon("search", self._state.theme.second, 16), QLineEdit.ActionPosition.LeadingPosition)
        self.search.textChanged.connect(self._on_search)
        self.search.installEventFilter(self)
        self.list = QListView()
        self.list.setObjectName("picker_list")
        self.list.setAccessibleName(title)
        self.list.setModel(self._filter)
        self.list.setItemDelegate(CandidateDelegate(self._state.theme, self.list))
        self.list.setUniformItemSizes(True)
        self.list.setMouseTracking(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.selectionModel().currentChanged.connect(self._on_current)
        self.list.doubleClicked.connect(lambda _: self._pick())
        self.list.activated.connect(lambda _: self._pick())
        self._about = text_label(" ", "", "picker_about", wrap=True)
        self._details = text_label(" ", "small", "picker_details", wrap=True)
        self._reason = text_label("", "caution", "picker_reason", wrap=True)
        self._status = text_label("", "small", "picker_status", elide=True)
        for label in (self._about, self._details, self._reason):
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        side = QVBoxLayout()
        side.setSpacing(10)
        self._heading = text_label(" ", "section", "picker_heading", wrap=True)
        for widget in (self._heading, self._reason, self._about, self._details):
            side.addWidget(widget)
        side.addStretch(1)
        panel = QFrame()
        panel.setObjectName("picker_side")
        panel.setLayout(side)
        panel.setFixedWidth(250)
        middle = QHBoxLayout()
        middle.setSpacing(16)
        middle.addWidget(self.list, 1)
        middle.addWidget(panel)
        self.choose_button = push_button(self.tr("&Choose"), "primary", "picker_choose")
        cancel = push_button(self.tr("Cancel"), "secondary", "picker_cancel")
        self.choose_button.clicked.connect(self._pick)
        self.choose_button.setDefault(True)
        cancel.clicked.connect(self.reject)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(self._status, 1)
        buttons.addWidget(cancel)
        buttons.addWidget(self.choose_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 18, 20, 16)
        layout.setSpacing(12)
        layout.addWidget(text_label(title, "title", "picker_title"))
        layout.addWidget(self.search)
        layout.addLayout(middle, 1)
        layout.addLayout(buttons)
        self.resize(780, 560)

    @property
    def model(self) -> CandidateModel:
        """The candidates."""
        return self._model

    # -- facts ----------------------------------------------------------------------------------------------

    def _read_listed(self) -> None:
        kind, registry, situation = self._kind, self._state.registry, self._situation
        waiting = list(self._model.candidates)

        def work(context: JobContext) -> tuple[list[Candidate], list[Candidate]]:
            known = []
            for number, candidate in enumerate(waiting):
                if context.cancelled():
                    break
                context.progress(number, len(waiting))
                known.append(read_candidate(kind, candidate, registry, situation))
            return known, members(registry, situation) if kind == "backbone" else []

        self._status.setText(self.tr("Reading facts…"))
        title = self.tr("Reading facts")
        job = self._state.jobs.start(work, title, self._listed_read, self._failed, key="picker list")
        self.finished.connect(job.context.cancel)

    def _listed_read(self, result: tuple[list[Candidate], list[Candidate]]) -> None:
        known, found = result
        current = self._current()
        self._model.set_candidates(fitting_first(known))
        names = {candidate.name for candidate in known}
        self._model.add([candidate for candidate in found if candidate.name not in names])
        if self._model.chosen not in {candidate.name for candidate in (*known, *found)}:
            pair = typed_pair(self._model.chosen, self._state.registry, self._situation)
            self._model.add([pair] if pair is not None and self._kind == "backbone" else [])
        self._listed = True
        self._on_search(self.search.text())
        self._tell_count()
        self._select(current.name if current else self._model.chosen)
        self._look.start()

    def _read_in_sight(self) -> None:
        if not self._listed:
            return  # those that are listed are being read already
        wanted: list[Candidate] = []
        area = self.list.viewport().rect()
        index = self.list.indexAt(area.topLeft())
        row = index.row() if index.isValid() else 0
        while row < self._filter.rowCount():
            index = self._filter.index(row, 0)
            if self.list.visualRect(index).top() > area.bottom():
                break
            candidate: Candidate = index.data(CANDIDATE_ROLE)
            if not candidate.read:
                wanted.append(candidate)
            row += 1
        if not wanted:
            return
        kind, registry, situation = self._kind, self._state.registry, self._situation

        def work(context: JobContext) -> list[Candidate]:
            known = []
            for candidate in wanted:
                if context.cancelled():
                    break
                known.append(read_candidate(kind, candidate, registry, situation))
            return known

        title = self.tr("Reading facts")
        job = self._state.jobs.start(work, title, self._sight_read, self._failed, key="picker sight")
        self.finished.connect(job.context.cancel)  # a result must not meet a dialog that is gone

    def _sight_read(self, known: list[Candidate]) -> None:
        for candidate in known:
            self._model.replace(candidate)
        self._on_current()

    def _failed(self, error: Exception) -> None:
        self._status.setText(str(error))

    # -- choosing -------------------------------------------------------------------------------------------

    def _current(self) -> Candidate | None:
        index = self.list.currentIndex()
        candidate: Candidate | None = index.data(CANDIDATE_ROLE) if index.isValid() else None
        return candidate

    def _select(self, name: str) -> None:
        for row in range(self._filter.rowCount()):
            index = self._filter.index(row, 0)
            if index.data(CANDIDATE_ROLE).name == name:
                self.list.selectionModel().setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
                self.list.scrollTo(index)
                break
        self._on_current()

    @Slot()
    def _on_current(self, *_: QModelIndex) -> None:
        candidate = self._current()
        self._heading.setText(candidate.title if candidate else self.tr("Nothing found"))
        self._about.setText(candidate.description if candidate else "")
        # The facts of a strategy are the beginning of its description, which stands above.
        known = candidate is not None and candidate.description.startswith(candidate.facts)
        facts = candidate.facts if candidate and not known else ""
        source = self.tr("Source: {0}").format(candidate.source) if candidate and candidate.source else ""
        lines = (facts, candidate.details if candidate else "", source)
        self._details.setText("\n".join(line for line in lines if line))
        self._reason.setText("\n".join(candidate.reasons) if candidate else "")
        self._reason.setVisible(bool(candidate and candidate.reasons))
        self.choose_button.setEnabled(bool(candidate and candidate.name and not candidate.reasons))
        if candidate is not None and not candidate.read:
            self._look.start()

    def _offer(self, text: str) -> None:
        """Offer two backbones that are typed but not listed, such as members of families that are not here yet."""
        if self._kind == "backbone" and self._listed:
            self._model.set_typed(typed_pair(text, self._state.registry, self._situation))

    def _on_search(self, text: str) -> None:
        self._offer(text)
        self._filter.search(text)
        if not self.list.currentIndex().isValid() and self._filter.rowCount():
            self.list.setCurrentIndex(self._filter.index(0, 0))
        self._on_current()
        self._tell_count()
        self._look.start()

    def _tell_count(self) -> None:
        shown, total = self._filter.rowCount(), self._model.rowCount()
        self._status.setText(
            self.tr("{0} of {1}").format(shown, total) if shown < total else self.tr("{0} to choose from").format(total)
        )

    @Slot()
    def _pick(self) -> None:
        candidate = self._current()
        if candidate is not None and self.choose_button.isEnabled():
            self.picked.emit(candidate.name)
            self.accept()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # Qt override
        """Let the arrow keys move in the list while the search field has the focus."""
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            step = {Qt.Key.Key_Down.value: 1, Qt.Key.Key_Up.value: -1}.get(event.key())
            if step is not None and self._filter.rowCount():
                row = max(0, min(self._filter.rowCount() - 1, self.list.currentIndex().row() + step))
                self.list.setCurrentIndex(self._filter.index(row, 0))
                return True
        return super().eventFilter(watched, event)

    def showEvent(self, event: QShowEvent) -> None:  # Qt override
        """Begin with the search, and never be taller than the screen."""
        super().showEvent(event)
        room = self.screen().availableGeometry().size()
        self.resize(min(self.width(), room.width() - 40), min(self.height(), room.height() - 60))
        self.search.setFocus()
        self._look.start()
