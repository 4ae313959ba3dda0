"""A text whose named parts stand on their colour, each with its name."""

from __future__ import annotations

import html
from collections.abc import Sequence

from PySide6.QtWidgets import QTextBrowser, QWidget

from tlstudio.api import Label, Span
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import class_colour, mixed

_GROUND = 0.28  # of the colour of a name in the ground that its parts stand on: text stays readable on it
_MOST_SHOWN = 200_000  # characters; laying out more would hold the window up


class MarkedText(QTextBrowser):
    """Shows a text, and where it has named parts, these in the colour of their name.

    Args:
        name: Object name.
        accessible: Accessible name.
        state: Gives the theme.
        parent: Parent widget.
    """

    def __init__(self, name: str, accessible: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(accessible)
        self.setOpenLinks(False)
        self.setTabChangesFocus(True)
        self._state = state
        self._shown: tuple[str, str | None, Label, tuple[str, ...]] = ("", None, None, ())
        state.theme_changed.connect(lambda: self.show_text(*self._shown))

    def show_text(self, text: str, pair: str | None = None, label: Label = None, classes: Sequence[str] = ()) -> None:
        """Show a text.

        Args:
            text: The text.
            pair: A second text that belongs to it; stands above it.
            label: Its label; only spans are shown.
            classes: All names in their order, by which each has its colour; a name that is not among them is the last.
        """
        self._shown = (text, pair, label, tuple(classes))
        text = text[:_MOST_SHOWN]
        spans = [part for part in label if isinstance(part, Span)] if isinstance(label, tuple) else []
        if not spans and pair is None:
            self.setPlainText(text)
            return
        theme = self._state.theme
        asked = f'<p style="color:{theme.second}"><i>{_escaped(pair)}</i></p>' if pair is not None else ""
        parts: list[str] = []
        behind = 0
        for span in sorted(spans, key=lambda span: (span.start, -span.end)):
            if span.start < behind or span.end > len(text):
                continue  # an answer within another one, or beyond what is shown
            parts.append(_escaped(text[behind : span.start]))
            parts.append(self._part(text[span.start : span.end], span.name, classes))
            behind = span.end
        parts.append(_escaped(text[behind:]))
        self.setHtml(f'{asked}<p style="white-space:pre-wrap">{"".join(parts)}</p>')

    def _part(self, text: str, name: str, classes: Sequence[str]) -> str:
        theme = self._state.theme
        place = classes.index(name) if name in classes else len(classes)
        ground = mixed(class_colour(theme, place), theme.surface, _GROUND)
        tag = ""
        if len(classes) > 1:
            tag = f'<span style="color:{theme.second};font-size:small">&nbsp;{_escaped(name)}</span>'
        return f'<span style="background-color:{ground};color:{theme.text}">{_escaped(text)}{tag}</span>'


def _escaped(text: str | None) -> str:
    """Text as HTML that is nothing but text: whoever wrote it can name no picture or link."""
    return html.escape(text or "").replace("\n", "<br>")
