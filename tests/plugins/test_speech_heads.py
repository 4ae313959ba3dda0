"""Speech recognition: how transcripts are written, the CTC loss, what is read from outputs, error rates."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tlstudio.api import DataError, Features, FeatureShape, Prediction, Sample, TargetInfo
from tlstudio.api.nn import HeadModule
from tlstudio.testing import check_head, tiny_samples, tiny_target
from tlstudio_heads.speech_heads import Ctc, CtcOptions
from tlstudio_heads.speech_metrics import TranscriptMetrics
from tlstudio_heads.transcripts import Writing

LETTERS = " abc"


def head(characters: str = LETTERS, **options: Any) -> HeadModule:
    """A head on features that are one wide for each output."""
    torch.manual_seed(0)
    target = TargetInfo("speech_recognition", characters=characters)
    return Ctc().build(FeatureShape(5), target, CtcOptions.model_validate({"dropout": 0.0, **options}))


def says(*places: int) -> Tensor:
    """Outputs that are all but certain of one place at each moment."""
    return torch.nn.functional.one_hot(torch.tensor([places]), 5).float() * 20


def test_repetitions_are_one_and_nothing_stands_between_letters_that_recur() -> None:
    module = head()
    # Outputs: 0 nothing, 1 " ", 2 a, 3 b, 4 c.
    text = module.decode(says(1, 2, 2, 0, 2, 3, 3, 1, 1, 0, 4, 4, 1))[0]
    assert text.value == "aab c"
    assert text.certainty is not None
    assert text.certainty > 0.99
    assert module.decode(says(0, 0, 0))[0].value == ""


def by_hand(probabilities: Tensor, wanted: list[int]) -> float:
    """Likelihood of a transcript: the sum over all paths that are read as it."""
    total = 0.0
    for path in itertools.product(range(probabilities.shape[1]), repeat=len(probabilities)):
        read = [place for place, _ in itertools.groupby(path) if place]
        if read == wanted:
            total += math.prod(float(probabilities[t, place]) for t, place in enumerate(path))
    return total


def test_the_loss_is_the_sum_over_all_paths_and_padding_changes_nothing() -> None:
    module = head().eval()
    tokens = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    target = module.encoder()(["ab a", "cc"], ())
    assert target.tolist() == [[2, 3, 1, 2], [4, 4, -100, -100]]
    output = module(Features(tokens=tokens, mask=mask)).detach()
    losses = module.loss(output, target)
    for row, (length, wanted) in enumerate([(6, [2, 3, 1, 2]), (4, [4, 4])]):
        probabilities = output[row, :length].softmax(dim=1)
        assert float(losses[row]) == pytest.approx(-math.log(by_hand(probabilities, wanted)) / len(wanted), rel=1e-4)
    alone = module(Features(tokens=tokens[1:, :4], mask=mask[1:, :4])).detach()
    assert float(module.loss(alone, target[1:, :2])[0]) == pytest.approx(float(losses[1]), rel=1e-5)
    assert module.decode(output)[1] == module.decode(alone)[0]


def test_a_recording_that_is_too_short_for_its_transcript_teaches_nothing() -> None:
    module = head()
    output = module(Features(tokens=torch.randn(2, 3, 5)))
    losses = module.loss(output, module.encoder()(["abcabc", "a"], ()))
    assert losses.tolist()[0] == 0.0
    assert losses.tolist()[1] > 0.0
    torch.autograd.backward(losses.sum())


def test_transcripts_without_a_letter_that_can_be_learned_have_a_finite_loss() -> None:
    module = head()
    output = module(Features(tokens=torch.randn(2, 3, 5)))
    assert torch.isfinite(module.loss(output, module.encoder()(["xyz", "?"], ()))).all()


def test_the_head_keeps_the_contract(tmp_path: Path) -> None:
    samples = tiny_samples("audio", "speech_recognition", tmp_path)
    check_head(Ctc(), tiny_target("speech_recognition"), samples)


def test_letters_are_written_as_chosen_and_what_was_never_seen_is_left_out() -> None:
    module = head("AbÖ .,'", case="lower", punctuation="remove")
    assert module.encoder()(["Bö, xA..."], ()).tolist() == head(" 'abö").encoder()(["bö a"], ()).tolist()
    with pytest.raises(DataError, match="has no transcript"):
        module.encoder()([None], ())
    with pytest.raises(DataError, match="have no letters"):
        head(" .,!")


@pytest.mark.parametrize(
    ("writing", "text", "expected"),
    [
        (Writing("lower", keep_marks=False), " Don't  go-there,\n“Mr. X” - now! ", "don't go-there mr x now"),
        (Writing("upper", keep_marks=True), "Don't, ß", "DON'T, SS"),
        (Writing(), " a\tb ", "a b"),
        (Writing("lower", keep_marks=False), "'tis the dogs' day", "tis the dogs day"),
    ],
)
def test_a_transcript_is_written_so(writing: Writing, text: str, expected: str) -> None:
    assert writing(text) == expected
    assert set(expected) <= set(writing.characters(text))


def test_error_rates_are_those_of_jiwer() -> None:
    import jiwer

    made = random.Random(0)
    words = ["sea", "sky", "ice", "go", "forward", "ten", "meters"]
    for _ in range(50):
        truth = [" ".join(made.choices(words, k=made.randrange(1, 9))) for _ in range(4)]
        found = [" ".join(made.choices(words, k=made.randrange(0, 9))) for _ in range(4)]
        metrics = TranscriptMetrics()
        metrics.update([Prediction(text) for text in found], [Sample(text, label=text) for text in truth])
        rates = metrics.compute()
        assert rates["wer"] == pytest.approx(jiwer.wer(truth, found), abs=1e-6)
        assert rates["cer"] == pytest.approx(jiwer.cer(truth, found), abs=1e-6)


def test_error_rates_count_what_is_left_after_writing() -> None:
    metrics = TranscriptMetrics(Writing("lower", keep_marks=False))
    metrics.update([Prediction("and so my friends")], [Sample("1", label="And so, my friends.")])
    assert metrics.compute() == {"wer": 0.0, "cer": 0.0}
    empty = TranscriptMetrics(Writing("lower", keep_marks=False))
    empty.update([Prediction("")], [Sample("1", label="...")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert empty.compute() == {"wer": 0.0, "cer": 0.0}
