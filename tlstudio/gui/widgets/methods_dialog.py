"""Choosing what a run does besides its strategy: a list of methods with boxes to check, and what each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QAbstractItemModel, QCoreApplication, QEvent, QModelIndex, QRect, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QFont, QFontMetrics, QKeyEvent, QMouseEvent, QPainter, QShowEvent
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from tlstudio.api import Method
from tlstudio.gui.recipe_draft import RecipeDraft
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import icon
from tlstudio.gui.widgets.candidates import first_sentence
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import JobContext

METHOD_ROLE = Qt.ItemDataRole.UserRole + 1
REASON_ROLE = Qt.ItemDataRole.UserRole + 2

_BOX = 16
_INDENT = 40
"""Room of the box to check, in device-independent pixels: a click there checks it."""


def kind_titles() -> dict[str, str]:
    """The headings under which methods stand, by their kinds, in order."""
    return {
        "regularisation": _tr("Regularisation"),
        "data": _tr("More from the data"),
        "two domains": _tr("Two domains, or several tasks"),
        "few labels": _tr("Few labels"),
        "without labels": _tr("Without labels"),
    }


class MethodsDialog(QDialog):
    """Lists every method under the heading of its kind; what does not fit is greyed with its sentence.

    What fits is found out off the window's thread, anew with each change.

    Args:
        state: What the pages share.
        draft: The recipe that they are for.
        parent: Parent widget.

    Signals:
        chosen(object): Names of the checked methods, in the order in which they work.
    """

    chosen = Signal(object)

    def __init__(self, state: AppState, draft: RecipeDraft, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("methods")
        title = self.tr("Choose methods")
        self.setWindowTitle(title)
        self.setAccessibleName(title)
        self.setModal(True)
        self._state = state
        self._draft = draft
        # One that is gone can be taken out no other way.
        self._checked = [name for name in draft.methods if name in state.registry.methods]
        self._reasons: Mapping[str, str] = {}
        self._build(title)
        self._fill()
        self._look()

    def _build(self, title: str) -> None:
        self.search = QLineEdit()
        self.search.setObjectName("methods_search")
        self.search.setAccessibleName(self.tr("Search"))
        self.search.setPlaceholderText(self.tr("Search by name, or by what it does"))
        self.search.setClearButtonEnabled(True)
        self.search.addAction(icon("search", self._state.theme.second, 16), QLineEdit.ActionPosition.LeadingPosition)
        self.search.textChanged.connect(self._on_search)
        self.list = QListWidget()
        self.list.setObjectName("methods_list")
        self.list.setAccessibleName(title)
        self.list.setItemDelegate(_MethodDelegate(self._state, self.list))
        self.list.setMouseTracking(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QListWidget.ScrollMode.ScrollPerPixel)
        self.list.currentItemChanged.connect(lambda *_: self._show_current())
        self.list.itemChanged.connect(self._on_item)
        self._heading = text_label(" ", "section", "methods_heading", wrap=True)
        self._reason = text_label("", "caution", "methods_reason", wrap=True)
        self._about = text_label(" ", "", "methods_about", wrap=True)
        self._source = text_label(" ", "small", "methods_source", wrap=True)
        side = QVBoxLayout()
        side.setSpacing(10)
        for label in (self._heading, self._reason, self._about, self._source):
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            side.addWidget(label)
        side.addStretch(1)
        panel = QFrame()
        panel.setObjectName("methods_side")
        panel.setLayout(side)
        panel.setFixedWidth(270)
        middle = QHBoxLayout()
        middle.setSpacing(16)
        middle.addWidget(self.list, 1)
        middle.addWidget(panel)
        self._status = text_label("", "small", "methods_status", elide=True)
        cancel = push_button(self.tr("Cancel"), "secondary", "methods_cancel")
        cancel.clicked.connect(self.reject)
        self.use_button = push_button(self.tr("&Use them"), "primary", "methods_use")
        self.use_button.setDefault(True)
        self.use_button.clicked.connect(self._use)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(self._status, 1)
        buttons.addWidget(cancel)
        buttons.addWidget(self.use_button)
        hint = self.tr(
            "What the run does besides its strategy. Several can be combined; each has its options in the form."
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 18, 20, 16)
        layout.setSpacing(12)
        layout.addWidget(text_label(title, "title", "methods_title"))
        layout.addWidget(text_label(hint, "second", "methods_hint", wrap=True))
        layout.addWidget(self.search)
        layout.addLayout(middle, 1)
        layout.addLayout(buttons)
        self.resize(820, 600)

    # -- the list -------------------------------------------------------------------------------------------

    @property
    def checked(self) -> tuple[str, ...]:
        """Names of the checked methods."""
        return tuple(self._checked)

    def item(self, name: str) -> QListWidgetItem | None:
        """The row of a method; `None` where the search hides it."""
        rows = (self.list.item(row) for row in range(self.list.count()))
        return next((item for item in rows if (one := item.data(METHOD_ROLE)) and one.name == name), None)

    def _fill(self) -> None:
        words = self.search.text().casefold().split()
        current = self._current()
        titles = kind_titles()
        kinds: dict[str, list[Method]] = {kind: [] for kind in titles}
        for method in self._state.registry.methods.values():
            kind = titles.get(method.kind, method.kind)
            text = f"{method.title} {method.name} {method.description} {method.source} {kind}".casefold()
            if all(word in text for word in words):
                kinds.setdefault(method.kind, []).append(method)
        self.list.blockSignals(True)
        self.list.clear()
        for kind, methods in kinds.items():
            if not methods:
                continue
            heading = QListWidgetItem(titles.get(kind, kind).upper())
            heading.setFlags(Qt.ItemFlag.NoItemFlags)
            self.list.addItem(heading)
            for method in methods:
                item = QListWidgetItem(method.title)
                item.setData(METHOD_ROLE, method)
                self.list.addItem(item)
        self._show_fit()
        self.list.blockSignals(False)
        self.select(current.name if current is not None else "")
        self._tell_count()

    def _show_fit(self) -> None:
        """Check what is chosen, and let nothing be checked that does not fit."""
        for row in range(self.list.count()):
            item = self.list.item(row)
            method: Method | None = item.data(METHOD_ROLE)
            if method is None:
                continue
            reason, checked = self._reasons.get(method.name, ""), method.name in self._checked
            flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
            item.setFlags(flags if reason and not checked else flags | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)
            item.setData(REASON_ROLE, reason)
            told = reason or first_sentence(method.description)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{method.title}. {told}")

    def select(self, name: str) -> None:
        """Make a method current; the first one where there is none of this name."""
        wanted = self.item(name)
        if wanted is None:
            first = (self.list.item(row) for row in range(self.list.count()))
            wanted = next((item for item in first if item.data(METHOD_ROLE) is not None), None)
        if wanted is not None:
            self.list.setCurrentItem(wanted)
        self._show_current()

    def _current(self) -> Method | None:
        item = self.list.currentItem()
        method: Method | None = item.data(METHOD_ROLE) if item is not None else None
        return method

    @Slot(str)
    def _on_search(self, _text: str) -> None:
        self._fill()

    @Slot(QListWidgetItem)
    def _on_item(self, item: QListWidgetItem) -> None:
        method: Method | None = item.data(METHOD_ROLE)
        if method is None:
            return
        checked = item.checkState() == Qt.CheckState.Checked
        if checked == (method.name in self._checked):
            return  # something else of it has changed
        if checked:
            self._checked.append(method.name)
        else:
            self._checked.remove(method.name)
        self.list.setCurrentItem(item)
        self._tell_count()
        self._look()

    def _show_current(self) -> None:
        method = self._current()
        self._heading.setText(method.title if method else self.tr("Nothing found"))
        self._about.setText(method.description if method else "")
        self._source.setText(self.tr("Source: {0}").format(method.source) if method and method.source else "")
        reason = self._reasons.get(method.name, "") if method else ""
        self._reason.setText(reason)
        self._reason.setVisible(bool(reason))

    def _tell_count(self) -> None:
        count = len(self._checked)
        self._status.setText(
            self.tr("None chosen")
            if not count
            else self.tr("1 chosen")
            if count == 1
            else self.tr("{0} chosen").format(count)
        )

    # -- what fits ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        revision, registry, values = self._draft.result.revision, self._state.registry, self._draft.values
        if revision is None:
            return
        options = self._draft.methods
        values["methods"] = {name: options.get(name, {}) for name in self._checked}

        def work(_: JobContext) -> dict[str, str]:
            from tlstudio.engine.method_choice import misfits_in

            return misfits_in(values, revision, registry)

        title = self.tr("Looking which methods fit")
        job = self._state.jobs.start(work, title, self._take_reasons, self._failed, key="methods that fit")
        self.finished.connect(job.context.cancel)  # a result must not meet a dialog that is gone

    def _take_reasons(self, reasons: Mapping[str, str]) -> None:
        self._reasons = reasons
        self.list.blockSignals(True)
        self._show_fit()
        self.list.blockSignals(False)
        self.list.viewport().update()
        self._show_current()

    def _failed(self, error: Exception) -> None:
        self._status.setText(str(error))

    @Slot()
    def _use(self) -> None:
        self.chosen.emit(self.checked)
        self.accept()

    def showEvent(self, event: QShowEvent) -> None:  # Qt override
        """Begin with the search, and never be taller than the screen."""
        super().showEvent(event)
        room = self.screen().availableGeometry().size()
        self.resize(min(self.width(), room.width() - 40), min(self.height(), room.height() - 60))
        self.search.setFocus()


class _MethodDelegate(QStyledItemDelegate):
    """Draws a heading, or a method: its box, its title, and what it does or why it does not fit."""

    def __init__(self, state: AppState, parent: QWidget) -> None:
        super().__init__(parent)
        self._state = state

    def sizeHint(self, option: QStyleOptionViewItem, index: Any) -> QSize:  # noqa: ANN401  Qt override
        """One line of a heading, two of a method."""
        height = QFontMetrics(option.font).height()
        return QSize(200, 2 * height + 20 if index.data(METHOD_ROLE) is not None else height + 18)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Any) -> None:  # noqa: ANN401
        """Draw one row."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if index.data(METHOD_ROLE) is None:
            self._paint_heading(painter, option, str(index.data()))
        else:
            self._paint_method(painter, option, index)
        painter.restore()

    def _paint_heading(self, painter: QPainter, option: QStyleOptionViewItem, text: str) -> None:
        font = QFont(option.font)
        font.setPixelSize(max(9, QFontMetrics(option.font).height() * 2 // 3))
        font.setWeight(QFont.Weight.DemiBold)
        painter.setFont(font)
        painter.setPen(QColor(self._state.theme.second))
        line = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignBottom
        painter.drawText(option.rect.adjusted(16, 0, -16, -5), int(line), text)

    def _paint_method(self, painter: QPainter, option: QStyleOptionViewItem, index: Any) -> None:  # noqa: ANN401
        theme, method, reason = self._state.theme, index.data(METHOD_ROLE), index.data(REASON_ROLE)
        area: QRect = option.rect.adjusted(4, 2, -4, -2)
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        if selected or option.state & QStyle.StateFlag.State_MouseOver:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(theme.accent_soft if selected else theme.hover))
            painter.drawRoundedRect(area, 8, 8)
        checked = _is_checked(index)
        can = bool(index.flags() & Qt.ItemFlag.ItemIsUserCheckable)
        inner = area.adjusted(_INDENT - 4, 6, -12, -6)
        bold = QFont(option.font)
        bold.setWeight(QFont.Weight.DemiBold)
        metrics, small = QFontMetrics(bold), QFontMetrics(option.font)
        box = QRect(area.x() + 12, inner.y() + (metrics.height() - _BOX) // 2, _BOX, _BOX)
        painter.setPen(QColor(theme.accent if checked else theme.faint if can else theme.line))
        painter.setBrush(QColor(theme.accent if checked else theme.surface if can else theme.ground))
        painter.drawRoundedRect(box, 4, 4)
        if checked:
            icon("check", theme.on_accent, _BOX).paint(painter, box.adjusted(1, 1, -1, -1))
        line = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        painter.setFont(bold)
        painter.setPen(QColor(theme.text if can else theme.second))
        title = metrics.elidedText(method.title, Qt.TextElideMode.ElideRight, inner.width())
        painter.drawText(QRect(inner.x(), inner.y(), inner.width(), metrics.height()), line, title)
        painter.setFont(option.font)
        painter.setPen(QColor(theme.caution if reason else theme.second))
        text = reason or first_sentence(method.description)
        text = small.elidedText(text, Qt.TextElideMode.ElideRight, inner.width())
        below = QRect(inner.x(), inner.bottom() - small.height() + 1, inner.width(), small.height())
        painter.drawText(below, line, text)

    def editorEvent(
        self,
        event: QEvent,
        model: QAbstractItemModel,
        option: QStyleOptionViewItem,
        index: Any,  # noqa: ANN401  Qt override
    ) -> bool:
        """Check by a click on the box, a double click anywhere, or the space bar."""
        if not index.flags() & Qt.ItemFlag.ItemIsUserCheckable:
            return False
        kind = event.type()
        if isinstance(event, QMouseEvent):
            on_box = event.position().x() < option.rect.x() + _INDENT
            single = kind == QEvent.Type.MouseButtonRelease and on_box
            if event.button() == Qt.MouseButton.LeftButton and (
                single or (kind == QEvent.Type.MouseButtonDblClick and not on_box)
            ):
                return self._toggle(model, index)
            return False
        if isinstance(event, QKeyEvent) and kind == QEvent.Type.KeyPress and event.key() == Qt.Key.Key_Space.value:
            return self._toggle(model, index)
        return False

    def _toggle(self, model: QAbstractItemModel, index: QModelIndex) -> bool:
        state = Qt.CheckState.Unchecked if _is_checked(index) else Qt.CheckState.Checked
        return bool(model.setData(index, state, Qt.ItemDataRole.CheckStateRole))


def _is_checked(index: Any) -> bool:  # noqa: ANN401  a QModelIndex or a persistent one
    return Qt.CheckState(index.data(Qt.ItemDataRole.CheckStateRole)) == Qt.CheckState.Checked


def methods_summary(names: Sequence[str], state: AppState) -> tuple[str, str]:
    """What a card says of the chosen methods: their titles, and how many they are."""
    if not names:
        return _tr("None"), _tr("Penalties, mixed samples, other data, teachers …")
    known = state.registry.methods
    titles = ", ".join(known[name].title if name in known else name for name in names)
    return titles, _tr("1 method") if len(names) == 1 else _tr("{0} methods").format(len(names))


def _tr(text: str) -> str:
    return QCoreApplication.translate("Methods", text)
