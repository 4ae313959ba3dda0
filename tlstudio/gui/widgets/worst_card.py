"""Beside the curves of a run: what it gets most wrong now, or what it writes now."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QTextBrowser, QWidget

from tlstudio.api import TLStudioError
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import Theme
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.figures import number_text
from tlstudio.gui.widgets.item_gallery import GalleryItem, ItemGallery
from tlstudio.gui.widgets.sample_thumbs import row_thumb
from tlstudio.gui.widgets.samples_model import short_label
from tlstudio.gui.widgets.texts import text_label

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision
    from tlstudio.engine.events import TextsWritten

_EVERY_MS = 700
_MOST = 8
Worst = Sequence[tuple[str, str, float]]
"""Id, prediction and loss of samples, most wrong first."""


class WorstCard(Card):
    """Shows the worst items of the last epoch, at most so often; of a run that writes texts, these.

    Args:
        state: What the pages share.
        parent: Parent widget.

    Signals:
        opened(str): An item was clicked; carries its id.
    """

    opened = Signal(str)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__("train_worst", parent, margins=(14, 10, 8, 8))
        self._state = state
        self._revision: Revision | None = None
        self._worst: Worst = ()
        self._written: TextsWritten | None = None
        self._title = text_label("", "section", "train_worst_title")
        self.gallery = ItemGallery("train_worst_gallery", state, self.tr("Most wrong right now"))
        self.gallery.opened.connect(self.opened)
        self.texts = QTextBrowser()
        self.texts.setObjectName("train_texts")
        self.texts.setAccessibleName(self.tr("What the model writes now"))
        self.texts.setOpenLinks(False)
        self.texts.setProperty("role", "bare")
        self._hint = text_label("", "second", "train_worst_hint", wrap=True)
        self.column.addWidget(self._title)
        self.column.addWidget(self._hint, 1, Qt.AlignmentFlag.AlignTop)
        self.column.addWidget(self.gallery, 1)
        self.column.addWidget(self.texts, 1)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self.draw)
        state.theme_changed.connect(self._draw_texts)
        self.begin(None)

    def begin(self, revision: Revision | None) -> None:
        """Get ready for another run."""
        self._timer.stop()
        self._revision, self._worst, self._written = revision, (), None
        self._title.setText(self.tr("Most wrong right now"))
        self.gallery.show_items(())
        self._show(self._hint)
        self._hint.setText(self.tr("After the first epoch the validation items with the highest loss are shown here."))

    def show_data(self, revision: Revision, worst: Worst) -> None:
        """Take the data of the run, once they are open, and what was wrong before."""
        self._revision = revision
        self.take_worst(worst)

    def take_worst(self, worst: Worst) -> None:
        """Show the worst items of an epoch, soon."""
        self._worst = worst
        if self._written is not None:
            return
        if not worst:
            self._timer.stop()
            self._hint.setText(self.tr("Nothing in the validation split is wrong right now."))
            self._show(self._hint)
        elif not self._timer.isActive():
            self._timer.start()

    def take_texts(self, written: TextsWritten) -> None:
        """Show what the model writes."""
        self._written = written
        self._timer.stop()
        self._title.setText(self.tr("What it writes after epoch {0}").format(written.epoch))
        self._draw_texts()
        self._show(self.texts)

    @Slot()
    def draw(self) -> None:
        """Show now what was to be shown soon."""
        self._timer.stop()
        if self._revision is None or not self._worst or self._written is not None:
            return
        worst, self._worst = self._worst, ()
        made = [wrong_item(self._revision, *each, self._state.theme) for each in worst[:_MOST]]
        items = [item for item in made if item is not None]
        self.gallery.show_items(items)
        self._show(self.gallery if items else self._hint)

    def _show(self, widget: QWidget) -> None:
        for each in (self._hint, self.gallery, self.texts):
            each.setVisible(each is widget)

    def _draw_texts(self) -> None:
        if self._written is None:
            return
        theme = self._state.theme
        parts = []
        for name, text, expected, written in self._written.samples:
            source = " ".join((text or name).split())
            parts.append(
                f'<p style="margin:0 0 12px 0"><span style="color:{theme.second}">{html.escape(source)}</span><br>'
                f"{html.escape(written) or '—'}<br>"
                f'<span style="color:{theme.good}">{html.escape(expected)}</span></p>'
            )
        place = self.texts.verticalScrollBar().value()
        legend = self.tr("given, written, expected")
        self.texts.setHtml(f'<p style="color:{theme.second}"><i>{html.escape(legend)}</i></p>{"".join(parts)}')
        self.texts.verticalScrollBar().setValue(place)


def wrong_item(revision: Revision, sample_id: str, predicted: str, loss: float, theme: Theme) -> GalleryItem | None:
    """Make the gallery item of a sample that was predicted wrong; `None` if the data have no such sample."""
    try:
        row = revision.index_of(sample_id)
        label = short_label(revision, row)
    except (TLStudioError, KeyError):
        return None
    caption = f"{label} → {predicted} {number_text(loss, 2)}"
    tip = f"{revision.table.column('source')[row].as_py() or sample_id}\n{caption}"
    thumb = row_thumb(revision, row, theme)
    return GalleryItem(sample_id, caption, thumb, "" if thumb is not None else revision.sample_text(row, 240), tip)
