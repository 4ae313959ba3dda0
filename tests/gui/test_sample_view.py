"""One view for samples of every kind: masks and boxes over images, sounds, rows, series, marked and written texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from PySide6.QtGui import QColor
from pytestqt.qtbot import QtBot

from tests.gui.conftest import wait_for_jobs
from tlstudio.api import UNLABELLED, Box, Sample, Span
from tlstudio.api.masks import mask_of
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import DARK, LIGHT, class_colour
from tlstudio.gui.widgets.picture import readable_on
from tlstudio.gui.widgets.sample_thumbs import sample_thumb
from tlstudio.gui.widgets.sample_view import Case, SampleView
from tlstudio.gui.widgets.sound_view import read_sound

NAMES = ("background", "cell")


@pytest.fixture
def view(state: AppState, qtbot: QtBot) -> SampleView:
    """An empty view."""
    made = SampleView("view", state)
    qtbot.addWidget(made)
    made.resize(420, 420)
    made.show()
    return made


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A grey image of 40 x 20 pixels."""
    Image.new("RGB", (40, 20), (128, 128, 128)).save(tmp_path / "grey.png")
    return tmp_path / "grey.png"


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """A tone of 1 kHz that lasts half a second."""
    t = np.arange(4000) / 8000
    soundfile.write(tmp_path / "tone.wav", (0.5 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32), 8000)
    return tmp_path / "tone.wav"


def mask_with(rows: slice, value: int = 1):  # type: ignore[no-untyped-def]  # noqa: ANN201  a Mask
    """A mask of 40 x 20 pixels with some rows of cells."""
    values = np.zeros((20, 40), dtype=np.uint8)
    values[rows] = value
    return mask_of(values, NAMES)


def test_masks_lie_over_their_image_and_show_where_they_differ(
    view: SampleView, state: AppState, image: Path, qtbot: QtBot
) -> None:
    sample = Sample("a", image=image)
    expected, predicted = mask_with(slice(0, 10)), mask_with(slice(0, 5))
    view.show_case(Case(sample, "mask", expected, predicted, NAMES))
    wait_for_jobs(state, qtbot)
    shown = view.image
    assert shown is not None
    assert shown.picture.loaded
    pixels = shown.picture.marks.pixels
    assert pixels is not None
    assert [pixels.pixelIndex(3, row) for row in (2, 7, 15)] == [1, 0, 0]
    shown.which.setCurrentIndex(shown.which.findData("expected"))
    pixels = shown.picture.marks.pixels
    assert pixels is not None
    assert [pixels.pixelIndex(3, row) for row in (2, 7, 15)] == [1, 1, 0]
    shown.which.setCurrentIndex(shown.which.findData("wrong"))
    pixels = shown.picture.marks.pixels
    assert pixels is not None
    assert [pixels.pixelIndex(3, row) for row in (2, 7, 15)] == [UNLABELLED, 0, UNLABELLED]
    assert "cell" not in shown.legend.text()


def test_of_a_mask_alone_there_is_nothing_to_choose_and_the_ground_has_no_colour(
    view: SampleView, state: AppState, image: Path, qtbot: QtBot
) -> None:
    view.show_case(Case(Sample("a", image=image), "mask", mask_with(slice(0, 10)), classes=NAMES))
    wait_for_jobs(state, qtbot)
    assert view.image is not None
    assert not view.image.which.isVisible()
    assert view.image.slider.isVisible()
    assert view.image.legend.accessibleName() == "cell"
    view.image.slider.setValue(100)
    grabbed = view.image.picture.grab().toImage()
    middle = grabbed.width() // 2
    fitted = grabbed.width() / 2
    top = (grabbed.height() - fitted) / 2
    assert grabbed.pixelColor(middle, round(top + fitted * 0.25)) == QColor(class_colour(LIGHT, 1))
    assert grabbed.pixelColor(middle, round(top + fitted * 0.75)) == QColor(128, 128, 128)
    state.set_theme_choice("dark")
    grabbed = view.image.picture.grab().toImage()
    assert grabbed.pixelColor(middle, round(top + fitted * 0.25)) == QColor(class_colour(DARK, 1))


def test_boxes_below_the_least_score_are_left_out_and_expected_ones_are_dashed(
    view: SampleView, state: AppState, image: Path, qtbot: QtBot
) -> None:
    expected = (Box("cell", 2, 2, 10, 10),)
    predicted = (Box("cell", 3, 2, 10, 10, 0.9), Box("cell", 20, 2, 30, 10, 0.4))
    view.show_case(Case(Sample("a", image=image), "boxes", expected, predicted, ("cell",)))
    wait_for_jobs(state, qtbot)
    assert view.image is not None
    view.image.slider.setValue(50)
    first, second = view.image.picture.marks.layers
    assert (first.boxes, first.dashed) == (expected, True)
    assert (second.boxes, second.dashed) == (predicted[:1], False)
    assert "1 of 2" in view.image.legend.text().replace("&nbsp;", " ")
    assert view.image.picture.marks.size == (40, 20)


def test_an_image_that_cannot_be_read_says_so(view: SampleView, state: AppState, tmp_path: Path, qtbot: QtBot) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    view.show_case(Case(Sample("a", image=tmp_path / "bad.png"), "name"))
    wait_for_jobs(state, qtbot)
    assert view.image is not None
    assert not view.image.picture.loaded
    assert "bad.png" in view.image.picture._message


def test_a_sound_has_its_length_waveform_and_loudest_frequency(
    view: SampleView, state: AppState, tone: Path, qtbot: QtBot
) -> None:
    view.show_case(Case(Sample("a", audio=tone), "name"))
    wait_for_jobs(state, qtbot)
    assert view.sound is not None
    assert "0.50" in view.sound.facts.text()
    assert "8 kHz" in view.sound.facts.text()
    picture = read_sound(tone)
    assert picture.high.max() == pytest.approx(0.5, abs=0.01)
    loudest = picture.levels[len(picture.levels) // 2].argmax() * picture.rate / 512
    assert loudest == pytest.approx(1000, abs=20)


def test_a_file_that_is_no_sound_gets_a_sentence(
    view: SampleView, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF nothing more")
    view.show_case(Case(Sample("a", audio=tmp_path / "bad.wav"), "name"))
    wait_for_jobs(state, qtbot)
    assert view.sound is not None
    assert "bad.wav" in view.sound.facts.text()


def test_a_forecast_stands_behind_its_series_and_other_columns_in_a_list(view: SampleView) -> None:
    values = {"load": (1.0, 2.0, 3.0), "place": "Lyon", "wind": None}
    view.show_case(Case(Sample("a", values=values), "numbers", (4.0, 5.0), (4.5, 5.5)))
    assert view.row is not None
    assert view.row.series is not None
    assert view.row.series.legend.text == "load, expected, predicted"
    model = view.row.table.model()
    cells = [[model.index(row, column).data() for column in range(2)] for row in range(model.rowCount())]
    assert cells == [["place", "Lyon"], ["wind", "—"]]


def test_written_texts_mark_the_words_that_differ(view: SampleView) -> None:
    sample = Sample("a", text="A long report.")
    view.show_case(Case(sample, "text", "the bridge opens", "the harbour opens <b>"))
    assert view.text is not None
    assert view.texts is not None
    assert view.text.toPlainText() == "A long report."
    assert view.texts.predicted.toPlainText() == "the harbour opens <b>"
    marked = view.texts.expected.toHtml()
    assert marked.count("background-color") == 1
    assert marked.index("background-color") < marked.index("bridge")
    view.show_case(Case(sample, "text", None, "a reply"))
    assert not view.texts.expected.isVisible()


def test_marked_parts_are_shown_as_expected_and_as_predicted(view: SampleView) -> None:
    sample = Sample("a", text="Anna was in Berlin")
    view.show_case(Case(sample, "spans", (Span("PER", 0, 4),), (Span("LOC", 12, 18),), ("LOC", "PER")))
    assert view.texts is not None
    assert "PER" in view.texts.expected.toPlainText()
    assert "LOC" in view.texts.predicted.toPlainText()


def test_names_are_compared_only_where_something_was_predicted(view: SampleView, image: Path, state: AppState) -> None:
    view.show_case(Case(Sample("a", text="x"), "name", "bird"))
    assert not view._answer.isVisible()
    view.show_case(Case(Sample("a", text="x"), "name", "bird", "bug"))
    assert view._answer.text() == "Expected bird, predicted bug"


def test_views_stand_in_one_order_whichever_was_needed_first(
    view: SampleView, state: AppState, tone: Path, qtbot: QtBot
) -> None:
    view.show_case(Case(Sample("a", text="given"), "text", "one", "other"))
    view.show_case(Case(Sample("b", audio=tone), "text", "one", "other"))
    wait_for_jobs(state, qtbot)
    assert view.sound is not None
    assert view.texts is not None
    qtbot.waitUntil(lambda: view.texts is not None and view.texts.y() > 0)
    assert view.sound.y() < view.texts.y()


def test_small_pictures_have_their_marks_and_sounds_their_waveform(image: Path, tone: Path) -> None:
    marked = sample_thumb(Sample("a", image=image), LIGHT, marks=lambda: mask_with(slice(0, 10)), classes=NAMES)
    plain = sample_thumb(Sample("a", image=image), LIGHT)
    assert marked is not None
    assert plain is not None
    assert marked != plain
    assert marked.make(40).pixelColor(20, 4) != plain.make(40).pixelColor(20, 4)
    assert marked.make(40).pixelColor(20, 15) == plain.make(40).pixelColor(20, 15)
    boxes = sample_thumb(Sample("a", image=image), LIGHT, marks=lambda: (Box("cell", 4, 4, 30, 16),), classes=NAMES)
    assert boxes is not None
    assert boxes.make(40).pixelColor(4, 10) == QColor(class_colour(LIGHT, 1))
    for sample in (Sample("a", audio=tone), Sample("a", values={"load": (1.0, 3.0, 2.0)})):
        thumb = sample_thumb(sample, DARK)
        assert thumb is not None
        assert not thumb.white
        picture = thumb.make(64)
        assert (picture.width(), picture.height()) == (64, 48)
        colours = {picture.pixelColor(x, y).name() for x in range(64) for y in range(48)}
        assert DARK.accent.lower() in colours
    assert sample_thumb(Sample("a", values={"place": "Lyon"}), LIGHT) is None


def test_colours_of_many_classes_differ_and_their_names_can_be_read_on_them() -> None:
    for theme in (LIGHT, DARK):
        colours = [class_colour(theme, place) for place in range(18)]
        assert len(set(colours)) == 18
    assert readable_on("#000000") == "#FFFFFF"
    assert readable_on("#E69F00") == "#000000"
