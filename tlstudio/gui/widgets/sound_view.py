"""A sound: its waveform and its spectrogram."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from tlstudio.api import DataError
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.plot_axes import SIDES, draw_axes
from tlstudio.gui.widgets.texts import text_label
from tlstudio.gui.workers import JobContext

POINTS = 1200
"""Columns of the waveform and of the spectrogram."""
SHOWN_SECONDS = 60.0
"""Beginning of a longer sound that is shown: beyond it nothing could be told apart."""
_WINDOW = 512
_RANGE = 80.0  # decibels below the loudest that are shown


@dataclass(frozen=True)
class SoundPicture:
    """What is drawn of a sound.

    Attributes:
        seconds: Its whole length.
        rate: Samples a second.
        times: Time of each column of the waveform, ``[N]``.
        low: Lowest sample in each column, ``[N]``.
        high: Highest sample in each column, ``[N]``.
        levels: Decibels below the loudest by time and frequency, ``[T, F]``.
    """

    seconds: float
    rate: int
    times: NDArray[np.float64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    levels: NDArray[np.float32]

    @property
    def shown(self) -> float:
        """Seconds that are drawn."""
        return min(self.seconds, SHOWN_SECONDS)


def read_sound(path: Path) -> SoundPicture:
    """Read what is drawn of a sound; needs no window.

    Raises:
        DataError: It cannot be read.
    """
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    from tlstudio.api.sounds import open_sound

    sound, rate = open_sound(path)
    seconds = len(sound) / rate
    sound = sound[: int(SHOWN_SECONDS * rate)]
    low, high = envelope(sound, POINTS)
    padded = np.pad(sound, (0, max(0, _WINDOW - len(sound))))
    hop = max(_WINDOW // 4, -(-len(padded) // POINTS))
    power = ShortTimeFFT(hann(_WINDOW, sym=False), hop, fs=rate).spectrogram(padded)
    levels = 10 * np.log10(np.maximum(power, 1e-12))
    levels = np.clip(levels - levels.max(), -_RANGE, 0.0).astype(np.float32)
    times = np.linspace(0, len(sound) / rate, len(low))
    return SoundPicture(seconds, rate, times, low, high, levels.T)


def envelope(sound: NDArray[np.float32], columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest sample in each of so many columns, or fewer of a short sound.

    Args:
        sound: The samples, ``[T]``, at least one.
        columns: Most columns.
    """
    edges = np.linspace(0, len(sound), min(columns, len(sound)) + 1).astype(np.int64)[:-1]
    return np.minimum.reduceat(sound, edges), np.maximum.reduceat(sound, edges)


class SoundView(QWidget):
    """Shows a sound file; it is read off the window's thread.

    Args:
        name: Object name.
        state: What the pages share.
        parent: Parent widget.
    """

    def __init__(self, name: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._state = state
        self._path: Path | None = None
        # pyqtgraph has no types, and takes half a second to import: it comes with the first plot.
        self._pg: Any = importlib.import_module("pyqtgraph")
        self._wave = self._plot(f"{name}_waveform", self.tr("Waveform"))
        self._spectrum = self._plot(f"{name}_spectrogram", self.tr("Spectrogram"))
        self._line = self._pg.PlotCurveItem(antialias=False, connect="all")
        self._wave.addItem(self._line)
        self._image = self._pg.ImageItem()
        self._image.setColorMap(self._pg.colormap.get("cividis"))
        self._spectrum.addItem(self._image)
        self._spectrum.getAxis("left").setLabel("kHz")
        self._spectrum.setXLink(self._wave)
        self.facts = text_label("", "small", f"{name}_facts", wrap=True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self._wave, 2)
        column.addWidget(self._spectrum, 3)
        column.addWidget(self.facts)
        state.theme_changed.connect(self._recolour)
        self._recolour()

    def _plot(self, name: str, accessible: str) -> Any:  # noqa: ANN401  pyqtgraph has no types
        view = self._pg.PlotWidget(background=None)
        view.setObjectName(name)
        view.setAccessibleName(accessible)
        view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        view.setMenuEnabled(False)
        view.setMouseEnabled(x=False, y=False)
        view.hideButtons()
        view.setStyleSheet("background: transparent; border: 0;")
        view.setMinimumHeight(48)
        for side in SIDES:  # before any label, which would else scale the ticks
            view.getAxis(side).enableAutoSIPrefix(False)
        return view

    def show_sound(self, path: Path) -> None:
        """Show a sound file."""
        self._path = path
        self.setAccessibleName(path.name)
        self._clear(self.tr("Reading {0}…").format(path.name))

        def read(_context: JobContext) -> SoundPicture:
            return read_sound(path)

        def refuse(error: Exception) -> None:
            if path == self._path:
                sentence = str(error) if isinstance(error, DataError) else ""
                self._clear(sentence or self.tr("{0} cannot be read.").format(path.name))

        self._state.jobs.start(
            read,
            self.tr("Opening {0}").format(path.name),
            lambda picture: self._take(path, picture),
            refuse,
            key=self.objectName(),
        )

    def clear(self) -> None:
        """Show nothing."""
        self._path = None
        self._clear("")

    def _clear(self, text: str) -> None:
        self._line.setData([], [])
        self._image.clear()
        self.facts.setText(text)

    def _take(self, path: Path, picture: SoundPicture) -> None:
        if path != self._path:
            return
        # Down and up again in each column: one line that fills what lies between.
        ends = np.column_stack((picture.low, picture.high)).ravel()
        self._line.setData(np.repeat(picture.times, 2), ends)
        reach = max(float(np.abs(ends).max()), 1e-3)
        self._wave.setRange(xRange=(0, picture.shown), yRange=(-reach, reach), padding=0)
        self._image.setImage(picture.levels, levels=(-_RANGE, 0.0))
        top = picture.rate / 2000
        self._image.setRect(QRectF(0, 0, picture.shown, top))
        self._spectrum.setRange(yRange=(0, top), padding=0)
        parts = [self.tr("{0} seconds").format(f"{picture.seconds:.2f}"), f"{picture.rate / 1000:g} kHz"]
        if picture.seconds > picture.shown:
            parts.append(self.tr("the first {0} s are shown").format(f"{picture.shown:.0f}"))
        self.facts.setText(" · ".join(parts))

    def _recolour(self) -> None:
        theme = self._state.theme
        self._line.setPen(self._pg.mkPen(theme.accent, width=1))
        for view in (self._wave, self._spectrum):
            draw_axes(view, theme, max(10, self.fontInfo().pixelSize() - 3))
            view.getAxis("left").setWidth(44)
        self._wave.getAxis("bottom").setStyle(showValues=False)
