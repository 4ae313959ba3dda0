"""The table of runs: model, filter and view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QCoreApplication,
    QModelIndex,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.theme import Theme, icon
from tlstudio.gui.titles import component_title, run_title
from tlstudio.gui.widgets.figures import duration_text, main_metrics, metric_title, number_text
from tlstudio.plugins import Registry
from tlstudio.store.run_record import RunSummary

RUN_ROLE = Qt.ItemDataRole.UserRole + 1
SORT_ROLE = Qt.ItemDataRole.UserRole + 2
Index = QModelIndex | QPersistentModelIndex


def status_words(status: str) -> str:
    """Say in a word or two how a run stands."""
    return {
        "queued": _tr("Queued"),
        "running": _tr("Running"),
        "done": _tr("Done"),
        "stopped": _tr("Stopped early"),
        "cancelled": _tr("Cancelled"),
        "failed": _tr("Failed"),
        "interrupted": _tr("Interrupted"),
        "damaged": _tr("Damaged"),
    }.get(status, status)


def status_color(status: str, theme: Theme) -> str:
    """Give the colour of a status."""
    colors = {"running": theme.accent, "done": theme.good, "stopped": theme.good, "failed": theme.bad}
    return colors.get(status, theme.caution if status in ("interrupted", "damaged") else theme.faint)


def run_style(order: int) -> tuple[int, Qt.PenStyle]:
    """Colour (index into the theme's curves) and line style of the so-manyth run of a project, counted from 0.

    Six colours times three line styles: the same for the same run everywhere, and 18 runs in a row all differ.
    """
    styles = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine)
    return order % 6, styles[(order // 6) % 3]


def shown_metric(run: RunSummary) -> tuple[str, float] | None:
    """The metric that has chosen the best epoch of a run, of the test split, else of validation; `None`: not evaluated.

    Where that is the loss, or is not known, it is what people look at first.
    """
    metrics = run.metrics.get("test") or run.metrics.get("validation") or {}
    monitored = run.monitor in metrics and run.monitor != "loss"
    names = [run.monitor] if monitored else main_metrics(metrics, 1)
    return (names[0], metrics[names[0]]) if names else None


@dataclass(frozen=True)
class _Column:
    """One column.

    Attributes:
        title: Its heading.
        text: What a run shows in it.
        key: What it is sorted by.
        least: Its least width where all of them have to be seen; 0: always as wide as its text.
        right: Whether it is aligned to the right.
        tip: What its tooltip tells where that is not the text.
    """

    title: str
    text: Callable[[RunSummary], str]
    key: Callable[[RunSummary], Any]
    least: int = 0
    right: bool = False
    tip: Callable[[RunSummary], str] | None = None


def _columns(registry: Registry) -> tuple[_Column, ...]:
    def backbone(run: RunSummary) -> str:
        return component_title(registry, "backbone", run.backbone)

    def strategy(run: RunSummary) -> str:
        return " + ".join([component_title(registry, "strategy", run.strategy), *run.methods])

    def what_it_did(run: RunSummary) -> str:
        return "\n".join([run.strategy, *(component_title(registry, "method", name) for name in run.methods)])

    return (
        _Column(
            _tr("Run"), lambda run: run_title(run.id, registry), lambda run: run.created, 150, tip=lambda run: run.id
        ),
        _Column(_tr("Status"), lambda run: status_words(run.status), lambda run: run.status),
        _Column(_tr("Data set"), _dataset, _dataset, 80),
        _Column(_tr("Backbone"), backbone, backbone, 80, tip=lambda run: run.backbone),
        _Column(_tr("Strategy"), strategy, strategy, 96, tip=what_it_did),
        _Column(_tr("Test"), _metric_text, lambda run: (shown_metric(run) or ("", -1.0))[1], 88),
        _Column(_tr("Time"), _time_text, lambda run: run.seconds, right=True),
        _Column(_tr("Tags"), lambda run: ", ".join(run.tags), lambda run: run.tags, 52),
        _Column(_tr("Note"), lambda run: run.note, lambda run: run.note.casefold(), 52),
    )


TAGS_COLUMN = 7
NOTE_COLUMN = 8
WIDEST = 320
"""No column begins wider than this, in device-independent pixels."""
MARGIN = 14
"""Room at each side of a title."""


def _dataset(run: RunSummary) -> str:
    shots = _tr(" · {0} a class").format(run.shots) if run.shots else ""
    return f"{run.dataset} {run.revision}".strip() + shots


def _time_text(run: RunSummary) -> str:
    return duration_text(run.seconds) if run.seconds else "—"


def _metric_text(run: RunSummary) -> str:
    found = shown_metric(run)
    return f"{number_text(found[1])} {metric_title(found[0], short=True)}" if found else "—"


class RunModel(QAbstractTableModel):
    """Runs in rows; note and tags can be edited.

    Signals:
        annotated(str, str, object): The user has changed the note or the tags (a tuple) of this run.
    """

    annotated = Signal(str, str, object)

    def __init__(self, theme: Theme, registry: Registry, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.runs: tuple[RunSummary, ...] = ()
        self.columns = _columns(registry)
        self._theme = theme
        self._orders: dict[str, int] = {}
        self.editable = True

    def set_runs(self, runs: Sequence[RunSummary]) -> None:
        """Show these runs."""
        self.beginResetModel()
        self.runs = tuple(runs)
        self._orders = {id_: number for number, id_ in enumerate(sorted(run.id for run in runs))}
        self.endResetModel()

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        if self.runs:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.runs) - 1, 1))

    def style_of(self, run_id: str) -> tuple[int, Qt.PenStyle]:
        """Colour and line style of a run, the same everywhere."""
        return run_style(self._orders.get(run_id, 0))

    def rowCount(self, parent: Index | None = None) -> int:  # Qt override
        """Number of runs."""
        return 0 if parent is not None and parent.isValid() else len(self.runs)

    def columnCount(self, parent: Index | None = None) -> int:  # Qt override
        """Number of columns."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def headerData(  # Qt override
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:  # noqa: ANN401  Qt override
        """Titles of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.columns[section].title
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._alignment(section)
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: ANN401  Qt override
        """What a cell shows."""
        if not index.isValid():
            return None
        run, column = self.runs[index.row()], self.columns[index.column()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return column.text(run)
        if role == SORT_ROLE:
            return column.key(run)
        if role == RUN_ROLE:
            return run
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._alignment(index.column())
        if role == Qt.ItemDataRole.ToolTipRole:
            return run.error or (column.tip or column.text)(run)
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            color, _ = self.style_of(run.id)
            return _dot(self._theme.curves[color])
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 1 and run.status == "queued":
            return icon("clock", self._theme.second, 14)
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 1:
            color_name = status_color(run.status, self._theme)
            return QColor(self._theme.second if color_name == self._theme.faint else color_name)
        return None

    def _alignment(self, column: int) -> int:
        side = Qt.AlignmentFlag.AlignRight if self.columns[column].right else Qt.AlignmentFlag.AlignLeft
        return int(side | Qt.AlignmentFlag.AlignVCenter)

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Note and tags can be edited."""
        flags = super().flags(index)
        if self.editable and index.column() in (TAGS_COLUMN, NOTE_COLUMN):
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:  # noqa: ANN401
        """Hand an edited note or tags on; the project tells when it is kept."""
        if role != Qt.ItemDataRole.EditRole or not self.flags(index) & Qt.ItemFlag.ItemIsEditable:
            return False
        run, text = self.runs[index.row()], str(value).strip()
        tags = tuple(dict.fromkeys(part for raw in text.split(",") if (part := raw.strip())))
        note, tags = (run.note, tags) if index.column() == TAGS_COLUMN else (text, run.tags)
        if (note, tags) != (run.note, run.tags):
            self.annotated.emit(run.id, note, tags)
        return True


class RunFilter(QSortFilterProxyModel):
    """Keeps the runs that hold every searched word, and sorts by what a column means."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._words: tuple[str, ...] = ()
        self.setSortRole(SORT_ROLE)

    def search(self, text: str) -> None:
        """Keep only runs with all of these words in any column."""
        words = tuple(text.casefold().split())
        if words != self._words:
            self._words = words
            self.invalidate()

    def filterAcceptsRow(self, row: int, parent: Index) -> bool:  # Qt override
        """Whether a run holds every word."""
        if not self._words:
            return True
        model = self.sourceModel()
        roles = (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole)  # names and titles
        columns = [model.index(row, column, parent) for column in range(model.columnCount())]
        cells = [str(index.data(role)) for index in columns for role in roles]
        run: RunSummary = model.index(row, 0, parent).data(RUN_ROLE)
        text = " ".join([*cells, run.id, run.backbone]).casefold()  # names count, too, although titles are shown
        return all(word in text for word in self._words)

    def lessThan(self, left: Index, right: Index) -> bool:  # Qt override
        """Compare by value, not by text."""
        return bool(left.data(SORT_ROLE) < right.data(SORT_ROLE))


class RunTable(QTableView):
    """Shows the runs; several can be selected for comparison.

    Signals:
        selection_changed(object): Ids of the selected runs, in the order of the table.
        delete_requested(): Delete was pressed.
    """

    selection_changed = Signal(object)
    delete_requested = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("runs_table")
        self.setAccessibleName(_tr("Runs"))
        self.runs_model = RunModel(state.theme, state.registry, self)
        self.filter_model = RunFilter(self)
        self.filter_model.setSourceModel(self.runs_model)
        self.setModel(self.filter_model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setShowGrid(False)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.DescendingOrder)
        self.setWordWrap(False)
        self.setMouseTracking(True)
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(32)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)
        header.setSectionsMovable(True)
        self._widths_chosen = False
        self._fitting = False
        header.sectionResized.connect(self._on_resized)
        self.filter_model.modelReset.connect(self._fit_columns)
        self.selectionModel().selectionChanged.connect(lambda *_: self._tell())
        state.theme_changed.connect(lambda: self.runs_model.set_theme(state.theme))

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the selected runs, in the order of the table."""
        rows = sorted(self.selectionModel().selectedRows(), key=lambda index: index.row())
        return tuple(index.data(RUN_ROLE).id for index in rows)

    def beside(self, ids: Sequence[str]) -> tuple[str, ...]:
        """The run after these in the table, else the one before them; empty if there is none."""
        shown = [self.filter_model.index(row, 0).data(RUN_ROLE).id for row in range(self.filter_model.rowCount())]
        places = [place for place, run in enumerate(shown) if run in ids]
        if not places:
            return ()
        others = [*shown[places[0] :], *reversed(shown[: places[0]])]
        return tuple(run for run in others if run not in ids)[:1]

    def select(self, ids: Sequence[str]) -> None:
        """Select exactly these runs."""
        selection = self.selectionModel()
        selection.clear()
        for row in range(self.filter_model.rowCount()):
            index = self.filter_model.index(row, 0)
            if index.data(RUN_ROLE).id in ids:
                selection.select(index, selection.SelectionFlag.Select | selection.SelectionFlag.Rows)
                self.scrollTo(index)
                selection.setCurrentIndex(index, selection.SelectionFlag.NoUpdate)

    def resizeEvent(self, event: QResizeEvent) -> None:  # Qt override
        """Show all columns, as long as there is room."""
        super().resizeEvent(event)
        self._fit_columns()

    def _fit_columns(self) -> None:
        """Give each column the width of its text; where that is too much, the widest give way first."""
        if self._widths_chosen:
            return
        columns, room = self.runs_model.columns, self.viewport().width()
        titles = self.horizontalHeader().fontMetrics()
        texts = [
            max(self.sizeHintForColumn(place), titles.horizontalAdvance(column.title) + 2 * MARGIN)
            for place, column in enumerate(columns)
        ]

        def widths(most: int) -> list[int]:
            return [max(column.least or text, min(text, most)) for column, text in zip(columns, texts, strict=True)]

        fitting = next((most for most in range(WIDEST, 0, -1) if sum(widths(most)) <= room), 0)
        self._fitting = True
        for place, width in enumerate(widths(fitting)):
            self.setColumnWidth(place, width)
        self._fitting = False

    @Slot(int)
    def _on_resized(self, column: int) -> None:
        """Leave widths alone that somebody has chosen; the last column takes what room there is by itself."""
        if not self._fitting and column != self.runs_model.columnCount() - 1:
            self._widths_chosen = True

    def keyPressEvent(self, event: Any) -> None:  # noqa: ANN401  Qt override
        """Delete asks for the deletion of what is selected."""
        if event.key() == Qt.Key.Key_Delete.value and self.selected:
            self.delete_requested.emit()
        else:
            super().keyPressEvent(event)

    def _tell(self) -> None:
        self.selection_changed.emit(self.selected)


def _dot(color: str) -> QIcon:
    pixmap = QPixmap(20, 20)
    pixmap.setDevicePixelRatio(2)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(color))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.drawEllipse(1, 1, 8, 8)
    painter.end()
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # or Qt would tint it in the colour of the selection
    return icon


def _tr(text: str) -> str:
    return QCoreApplication.translate("RunTable", text)
