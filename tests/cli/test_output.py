"""Tables, JSON and progress as they reach the terminal or a log."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tlstudio.api import Box, Prediction, Sample, label_text
from tlstudio.cli.output import Output, StatusLine, counted, cut, display_width, duration, pad, plain, print_json, size
from tlstudio.cli.prediction import _show_boxes
from tlstudio.cli.progress import EventPrinter, pace
from tlstudio.engine.events import EpochEnded, RunStarted, StepLogged


def test_columns_line_up_also_with_ideographs(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table(["class", "recall", "n"], [["圆环", 0.5, 3], ["circle", None, 12], ["é", 1 / 3, 0]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "class   recall   n"
    assert lines[1] == "圆环     0.500   3"
    assert lines[2] == "circle          12"
    assert {display_width(line) for line in lines[1:]} == {18}


def test_a_line_end_in_a_name_does_not_break_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table(["a", "b"], [["x\ny\x1b[31m", 1]])
    assert capsys.readouterr().out.splitlines()[1] == "x y [31m  1"


def test_with_json_only_the_object_is_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.say("words")
    output.table(["a"], [[1]])
    output.result({"path": Path("x"), "bad": math.nan, "array": np.array([[1, 2]]), "tuple": ("鳥",)})
    captured = capsys.readouterr()
    assert captured.out == '{"path": "x", "bad": null, "array": [[1, 2]], "tuple": ["鳥"]}\n'
    assert "words" in captured.err


def test_a_file_name_that_is_no_unicode_still_gives_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "caf\udce9"})
    assert json.loads(capsys.readouterr().out) == {"name": "caf\udce9"}


def test_what_json_cannot_say_is_a_bug() -> None:
    with pytest.raises(TypeError):
        plain(object())


def test_an_epoch_tells_the_last_numbers_of_strategy_and_methods_and_no_loss_where_nothing_learns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended = EpochEnded(1, 2, 0.25, {"accuracy": 0.5}, True, 1, 1.0)
    for learning, quantities in ((7, {"unfrozen groups": 3.0, "joint/lambda": 0.12345}), (0, {})):
        printer = EventPrinter()
        printer.show(RunStarted("r", 1, 2, 8, 2, learning, 10, "cpu", "accuracy", "max"))
        printer.show(StepLogged(1, 0.5, 0.3, {}, 9.0, 1.0, quantities={"unfrozen groups": 2.0} if learning else {}))
        printer.show(StepLogged(2, 1.0, 0.2, {}, 9.0, 2.0, quantities=quantities))
        printer.show(ended)
        said = capsys.readouterr().err
        assert ("loss" in said) == (learning > 0)
        assert said.endswith(
            "  train loss 0.2500  validation accuracy 0.5000  (best so far)\n  unfrozen groups 3  joint/lambda 0.1235\n"
            if learning
            else "of 1  validation accuracy 0.5000  (best so far)\n"
        )


def test_in_a_log_progress_is_sparse(capsys: pytest.CaptureFixture[str]) -> None:
    status = StatusLine()
    status.update("Loading", "")
    for number in range(1000):
        status.update("Reading", f"{number} of 1000")
    status.line("Done.")
    status.clear()
    assert capsys.readouterr().err == "Loading\nDone.\n"


def test_in_a_terminal_progress_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    status = StatusLine()
    status.update("Reading", "1 of 10")
    status.update("Reading", "a" * 100)
    status.update("R", "")
    status.line("Kept")
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    parts = text.split("\r")
    assert parts[1] == "Reading  1 of 10"
    assert parts[2] == "Reading  " + "a" * 17 + "..."
    assert parts[3] == "R" + " " * 28
    assert parts[-1] == "Kept\n"


def test_short_words_for_durations_sizes_and_texts() -> None:
    assert [counted(number, "row") for number in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
    assert counted(2, "image with text", "images with texts") == "2 images with texts"
    assert [duration(s) for s in (0, 48.4, 62, 3723)] == ["0:00", "0:48", "1:02", "1:02:03"]
    assert [size(n) for n in (0, 999, 1500, 19_000_000, 2_500_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1.5 kB",
        "19 MB",
        "2.5 GB",
    ]
    assert cut("圆环圆环", 7) == "圆环..."
    assert cut("圆环圆", 6) == "圆环圆"


def test_a_very_long_name_is_cut_at_once() -> None:
    start = time.perf_counter()
    assert cut("x" * 20_000, 12) == "xxxxxxxxx..."
    assert time.perf_counter() - start < 1
    assert pad("圆", 4, right=True) == "  圆"


def test_what_would_steer_the_terminal_is_made_visible(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=False)
    output.say("photo\x1b[2J\x07\u202egnp.exe \udce9")
    output.hint("first\rsecond\tthird\nfourth 名\u200c")
    said = capsys.readouterr()
    assert said.out == "photo\ufffd[2J\ufffd\ufffdgnp.exe \ufffd\n"
    assert said.err == "first\ufffdsecond\tthird\nfourth 名\u200c\n"


def test_things_that_were_found_are_told_with_score_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    found = Prediction((Box("disc", 3.2, 4, 30, 40.4, score=0.875), Box("box", 1, 2, 3, 4, score=0.5)))
    _show_boxes(Output(as_json=False), [(Sample(id="a.png"), found), (Sample(id="b.png"), Prediction(()))])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [
        ["a.png", "disc", "0.875", "3", "4", "30", "40"],
        ["a.png", "box", "0.500", "1", "2", "3", "4"],
        ["b.png", "nothing", "found"],
    ]


def test_a_slow_training_tells_its_pace_too() -> None:
    assert [pace(each) for each in (0.42, 3.0, 37.2)] == ["0.42/s", "3/s", "37/s"]


def test_large_numbers_are_written_whole_and_small_ones_with_four_digits() -> None:
    assert [label_text(number) for number in (335412.7, -9999.6, 999.96, 1.23456, 1e-7, 1e20)] == [
        "335413",
        "-10000",
        "1000",
        "1.235",
        "1e-07",
        "1e+20",
    ]
    assert label_text((1.5, 25000.2)) == "1.5, 25000"
