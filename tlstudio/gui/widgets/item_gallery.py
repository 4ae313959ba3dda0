"""A small gallery of pictures or texts with a caption each: the most wrong items of a run, and the like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetrics, QImage, QPainter, QPainterPath, QPixmap, QResizeEvent
from PySide6.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.theme import Theme
from tlstudio.gui.widgets.texts import draw_lines
from tlstudio.gui.widgets.thumbnails import Thumb
from tlstudio.gui.workers import JobContext

ITEM_ROLE = Qt.ItemDataRole.UserRole + 1
PICTURE_ROLE = Qt.ItemDataRole.UserRole + 2
Index = QModelIndex | QPersistentModelIndex
_EDGE = 128
_KEPT = 256


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """One item of a gallery.

    Attributes:
        id: Id of the sample.
        caption: What is told below it: ``"bird → bug 0.91"``.
        thumb: Its small picture, if it has one.
        text: Its text, if it has none.
        tip: What the tooltip says.
    """

    id: str
    caption: str
    thumb: Thumb | None = None
    text: str = ""
    tip: str = ""


class GalleryModel(QAbstractListModel):
    """Items with their pictures, as far as these are loaded."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.items: tuple[GalleryItem, ...] = ()
        self.pictures: dict[Thumb, QPixmap] = {}

    def set_items(self, items: Sequence[GalleryItem]) -> None:
        """Show other items."""
        self.beginResetModel()
        self.items = tuple(items)
        self.endResetModel()

    def rowCount(self, parent: Index | None = None) -> int:  # Qt override
        """Number of items."""
        return 0 if parent is not None and parent.isValid() else len(self.items)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: ANN401  Qt override
        """What an item shows."""
        if not index.isValid():
            return None
        item = self.items[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return f"{item.caption} {item.text[:80]}".strip()
        if role == Qt.ItemDataRole.ToolTipRole:
            return item.tip or item.caption
        if role == ITEM_ROLE:
            return item
        if role == PICTURE_ROLE:
            return self.pictures.get(item.thumb) if item.thumb is not None else None
        return None

    def take(self, pictures: dict[Thumb, QImage]) -> None:
        """Keep pictures (a null one: it cannot be made) and show them."""
        for thumb, picture in pictures.items():
            self.pictures[thumb] = QPixmap.fromImage(picture)
        while len(self.pictures) > _KEPT:
            self.pictures.pop(next(iter(self.pictures)))
        if self.items:
            self.dataChanged.emit(self.index(0), self.index(len(self.items) - 1))


class _ItemDelegate(QStyledItemDelegate):
    """Draws the picture or text in a frame and the caption below."""

    def __init__(self, theme: Theme, size: QSize, parent: QWidget) -> None:
        super().__init__(parent)
        self.theme = theme
        self.size = size

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # Qt override
        """All items are of one size."""
        return self.size

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Draw one item."""
        item: GalleryItem = index.data(ITEM_ROLE)
        theme = self.theme
        font = QFont(option.font)
        font.setPixelSize(max(10, option.fontMetrics.height() - 5))
        small = QFontMetrics(font)
        area: QRect = option.rect.adjusted(3, 3, -3, -3)
        frame = area.adjusted(0, 0, 0, -small.height() - 4)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        lit = bool(option.state & (QStyle.StateFlag.State_MouseOver | QStyle.StateFlag.State_HasFocus))
        path = QPainterPath()
        path.addRoundedRect(frame.toRectF().adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)
        # Photographs lie on white in both themes: most have white around them.
        painter.fillPath(path, QColor("#FFFFFF" if item.thumb is not None and item.thumb.white else theme.ground))
        picture: QPixmap | None = index.data(PICTURE_ROLE)
        if picture is not None and not picture.isNull():
            room = frame.adjusted(3, 3, -3, -3).size()
            fitted = picture.size().scaled(room, Qt.AspectRatioMode.KeepAspectRatio)
            place = QRect(0, 0, fitted.width(), fitted.height())
            place.moveCenter(frame.center())
            painter.save()
            painter.setClipPath(path)
            painter.drawPixmap(place, picture)
            painter.restore()
        elif item.text:
            painter.setFont(font)
            painter.setPen(QColor(theme.text))
            draw_lines(painter, " ".join(item.text.split()), frame.adjusted(8, 5, -8, -5), small)
        painter.strokePath(path, QColor(theme.accent if lit else theme.line))
        painter.setFont(font)
        painter.setPen(QColor(theme.second))
        caption = QRect(area.x(), area.bottom() - small.height(), area.width(), small.height() + 1)
        text = small.elidedText(item.caption, Qt.TextElideMode.ElideRight, area.width())
        painter.drawText(caption, int(Qt.AlignmentFlag.AlignCenter), text)
        painter.restore()


class ItemGallery(QListView):
    """Shows items in rows; pictures are read off the window's thread and kept.

    Args:
        name: Object name; also the key of its loading job.
        state: What the pages share.
        accessible: What a screen reader says.
        columns: How many items stand beside each other at most; the width is shared out.
        fitted: Whether it is meant to show a few items without a scroll bar.
        parent: Parent widget.

    Signals:
        opened(str): An item was clicked or Enter was pressed on it; carries its id.
    """

    opened = Signal(str)

    def __init__(
        self,
        name: str,
        state: AppState,
        accessible: str,
        *,
        columns: int = 4,
        fitted: bool = True,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(accessible)
        self.setProperty("role", "bare")
        self._state = state
        self._columns = columns
        self._scrolls = not fitted
        self._model = GalleryModel(self)
        self._loading = False
        self._again = False
        self._item_delegate = _ItemDelegate(state.theme, QSize(110, 90), self)
        self.setModel(self._model)
        self.setItemDelegate(self._item_delegate)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setSpacing(0)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        if fitted:
            self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setMinimumHeight(80)
        self.clicked.connect(self._open)
        self.activated.connect(self._open)
        state.theme_changed.connect(self._take_theme)

    @property
    def items(self) -> tuple[GalleryItem, ...]:
        """What is shown."""
        return self._model.items

    def show_items(self, items: Sequence[GalleryItem]) -> None:
        """Show other items, in their order; does nothing where they are the same."""
        if tuple(items) == self._model.items:
            return
        self._model.set_items(items)
        self._arrange()
        self._load()

    def resizeEvent(self, event: QResizeEvent) -> None:  # Qt override
        """Share the width out anew."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        """Find the largest size at which all items fit; where none does, scroll at the smallest."""
        items = self._model.items
        width, height = self.viewport().width() - 2, self.viewport().height() - 1
        if self._scrolls:
            # The list keeps this much free for its scroll bar, whether it is there or not.
            extent = self.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent, None, self.verticalScrollBar())
            width = self.maximumViewportSize().width() - max(extent, self.verticalScrollBar().sizeHint().width()) - 2
        texts = bool(items) and items[0].thumb is None
        least_width, least_height = (160, 74) if texts else (88, 70)
        best = QSize(0, 0)
        most = max(1, min(self._columns, width // least_width))
        for columns in range(1, most + 1):
            rows = -(-max(1, len(items)) // columns)
            size = QSize(width // columns, min(height // rows, round(width / columns * (0.7 if texts else 0.95)), 170))
            fits = size.height() >= least_height or columns == most
            if fits and min(size.width(), size.height()) >= min(best.width(), best.height()):
                best = size
        best.setHeight(max(least_height, best.height()))
        if best != self._item_delegate.size:
            self._item_delegate.size = best
            self.setGridSize(best)
            self.scheduleDelayedItemsLayout()

    def _load(self) -> None:
        wanted = [
            item.thumb
            for item in self._model.items
            if item.thumb is not None and item.thumb not in self._model.pictures
        ]
        if not wanted:
            return
        if self._loading:
            self._again = True
            return
        self._loading = True

        def work(context: JobContext) -> dict[Thumb, QImage]:
            return {thumb: thumb.make(_EDGE * 2) for thumb in wanted if not context.cancelled()}

        self._state.jobs.start(work, self.tr("Loading pictures"), self._loaded, self._loading_failed)

    def _loaded(self, pictures: dict[Thumb, QImage]) -> None:
        self._loading = False
        self._model.take(pictures)
        if self._again:
            self._again = False
            self._load()

    def _loading_failed(self, error: Exception) -> None:
        self._loading = False
        self._state.message.emit(self.tr("Some pictures cannot be shown."), str(error))

    def _open(self, index: QModelIndex) -> None:
        self.opened.emit(index.data(ITEM_ROLE).id)

    def _take_theme(self) -> None:
        self._item_delegate.theme = self._state.theme
        self.viewport().update()
