"""The detection head: targets, losses, boxes and metrics agree with independent computations."""

from __future__ import annotations

import contextlib
import io
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import coco, cocoeval
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from tlstudio.api import GEOMETRY, IMAGE_SIZE, Box, DataError, Features, FeatureShape, Prediction, Sample, TargetInfo
from tlstudio.engine.box_matching import box_counts, matched
from tlstudio.engine.evaluate import ItemResult, summarise
from tlstudio.testing import check_head, tiny_samples, tiny_target
from tlstudio_heads.detection_heads import Detection, DetectionOptions
from tlstudio_heads.detection_metrics import BoxMetrics
from tlstudio_heads.detection_module import (
    DetectedBoxes,
    DetectionModule,
    _centrality,
    _generalised_iou,
    to_image,
    to_input,
)
from tlstudio_heads.detection_network import PLACE_UNIT

CLASSES = ("bird", "cat", "dog")
TARGET = TargetInfo("detection", CLASSES, (1, 1, 1))
SHAPE = FeatureShape(8, (4, 6, 8), (4, 8, 16))
COCO: Any = coco.COCO  # has no types
COCOeval: Any = cocoeval.COCOeval
SAME = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def head(shape: FeatureShape = SHAPE, **options: object) -> DetectionModule:
    torch.manual_seed(0)
    chosen = DetectionOptions.model_validate({"width": 8, "depth": 1, **options})
    module = Detection().build(shape, TARGET, chosen)
    assert isinstance(module, DetectionModule)
    return module


def maps(shape: FeatureShape, height: int, width: int, count: int = 1) -> Features:
    sizes = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in shape.map_strides]
    return Features(maps=tuple(torch.randn(count, c, *size) for c, size in zip(shape.map_channels, sizes, strict=True)))


def item(height: int, width: int, geometry: Tensor = SAME, size: tuple[int, int] | None = None) -> dict[str, Tensor]:
    return {
        "pixels": torch.zeros(3, height, width),
        GEOMETRY: geometry,
        IMAGE_SIZE: torch.tensor(size or (height, width)),
    }


def random_boxes(made: np.random.Generator, count: int, width: float, height: float, least: float = 1) -> list[Box]:
    boxes = []
    for _ in range(count):
        across, down = made.uniform(least, width / 2), made.uniform(least, height / 2)
        left, top = made.uniform(0, width - across), made.uniform(0, height - down)
        edges = (float(np.float32(edge)) for edge in (left, top, left + across, top + down))
        boxes.append(Box(CLASSES[made.integers(3)], *edges))
    return boxes


def perfect(module: DetectionModule, output: Tensor, target: Tensor) -> Tensor:
    """Outputs by which each cell says what it is to learn beyond doubt."""
    places = output[:, :, -3:] * PLACE_UNIT
    for row, cells, boxes in zip(output, places, target, strict=True):
        classes, distances = module._assign(cells, boxes)
        row[:, :3] = -20.0
        row[classes >= 0, classes[classes >= 0]] = 20.0
        row[:, 3] = _centrality(distances).logit(eps=1e-6)
        row[:, 4:8] = distances.log()
    return output


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        (FeatureShape(8, (4, 6, 8), (4, 8, 16)), (8, 16, 32, 64)),
        (FeatureShape(8, (2, 4, 6, 8, 10), (2, 4, 8, 16, 32)), (8, 16, 32, 64)),
        (FeatureShape(8, (8,), (16,)), (8, 16, 32, 64)),
        (FeatureShape(8, (8,), (14,)), (7, 14, 28, 56, 112)),
        (FeatureShape(8, (8,), (32,)), (8, 16, 32, 64)),
        (FeatureShape(8, (4, 8), (2, 4)), (4, 8, 16, 32, 64)),
    ],
)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (112, 70), (33, 100)])
def test_the_pyramid_has_levels_for_things_of_all_sizes_whatever_maps_there_are(
    shape: FeatureShape, strides: tuple[float, ...], height: int, width: int
) -> None:
    module = head(shape)
    assert module.network.pyramid.strides == strides
    output = module(maps(shape, height, width, 2)).detach()
    places = output[0, :, -3:] * PLACE_UNIT
    assert output.shape[2] == len(CLASSES) + 8
    assert {float(stride) for stride in places[:, 2]} == set(strides)
    finest = places[places[:, 2] == strides[0]]
    assert torch.equal(finest[0, :2], torch.tensor([strides[0] / 2] * 2))
    assert torch.equal(finest[1, :2] - finest[0, :2], torch.tensor([strides[0], 0]))
    assert float(finest[:, 0].max()) > width - strides[0]
    assert float(finest[:, 1].max()) > height - strides[0]


def test_a_new_head_finds_nothing_and_is_hardly_wrong_where_nothing_is() -> None:
    module = head().eval()
    output = module(maps(SHAPE, 128, 128)).detach()
    assert float(output[:, :, :3].sigmoid().mean()) == pytest.approx(0.01, rel=0.3)
    target = module.encoder()([()], [item(128, 128)])
    assert target.shape == (1, 1, 5)
    assert float(module.loss(output, target)) < 0.05
    (prediction,) = module.decode(output, {name: value[None] for name, value in item(128, 128).items()})
    assert prediction.value == ()


@pytest.mark.parametrize(
    "geometry",
    [SAME, torch.tensor([[0.5, 0, 10.0], [0, 0.75, -4.0]]), torch.tensor([[-0.5, 0, 250.0], [0, 0.5, 3.0]])],
    ids=["same", "scaled", "mirrored"],
)
def test_what_was_encoded_is_decoded_to_the_same_boxes(geometry: Tensor) -> None:
    """Boxes whose centres are far apart are all assigned, and come back in pixels of the image."""
    module = head(overlap=0.4).eval()
    label = (
        Box("cat", 20.0, 30.0, 120.0, 90.0),
        Box("dog", 200.0, 20.0, 260.0, 130.0),
        Box("bird", 40.0, 150.0, 75.5, 200.25),
        Box("cat", 180.0, 140.0, 390.0, 390.0),
    )
    placed = item(448, 448, geometry, (400, 400))
    target = module.encoder()([label], [placed])
    assert target.shape == (1, 4, 5)
    output = perfect(module, module(maps(SHAPE, 448, 448)).detach(), target)
    (prediction,) = module.decode(output, {name: value[None] for name, value in placed.items()})
    assert isinstance(prediction.value, tuple)
    found = sorted((box for box in prediction.value if isinstance(box, Box)), key=lambda box: (box.name, box.left))
    for box, expected in zip(found, sorted(label, key=lambda box: (box.name, box.left)), strict=True):
        assert box.name == expected.name
        for edge in ("left", "top", "right", "bottom"):
            assert getattr(box, edge) == pytest.approx(getattr(expected, edge), abs=1e-2)
        assert box.score > 0.6
    assert float(module.loss(output, target)) < 0.7, "what is left is the entropy of the centre"


def test_each_cell_learns_the_smallest_box_around_it_on_the_level_of_its_size() -> None:
    module = head()
    boxes = torch.tensor([[0.0, 0, 256, 256, 1], [100, 100, 148, 148, 2], [-1, -1, -1, -1, -1]])
    places = module(maps(SHAPE, 256, 256)).detach()[0, :, -3:] * PLACE_UNIT
    classes, distances = module._assign(places, boxes)
    for (x, y, stride), kind, reach in zip(places.tolist(), classes.tolist(), distances, strict=True):
        expected = -1
        for left, top, right, bottom, number in ((100, 100, 148, 148, 2), (0, 0, 256, 256, 1)):
            longest = max(x - left, y - top, right - x, bottom - y)
            near = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2)) < 1.5 * stride
            inside = min(x - left, y - top, right - x, bottom - y) > 0
            level = (stride == 8 or longest > 4 * stride) and (stride == 64 or longest <= 8 * stride)
            if near and inside and level:
                expected = number
                assert (reach * stride).tolist() == pytest.approx([x - left, y - top, right - x, bottom - y])
                break
        assert kind == expected
    assert {float(s) for s in places[classes == 2, 2]} == {8.0}
    assert {float(s) for s in places[classes == 1, 2]} <= {16.0, 32.0}


def test_boxes_that_augmentation_cut_are_cut_and_left_out_where_little_is_seen() -> None:
    encoder = pickle.loads(pickle.dumps(head().encoder()))
    label = (
        Box("cat", 10, 10, 50, 50),  # half of it is left
        Box("dog", 0, 0, 38, 60),  # a sliver
        Box("bird", 60, 60, 61, 61),  # too small to be seen
        Box("cat", 200, 0, 220, 60),  # outside
    )
    zoomed = torch.tensor([[1.0, 0, -30.0], [0, 1.0, 0]])
    target = encoder([label, ()], [item(64, 64, zoomed), item(64, 64)])
    assert target.tolist() == [[[0, 10, 20, 50, 1]], [[-1] * 5]]
    for wrong in ((Box("cow", 0, 0, 9, 9),), "cat", None, ("cat",)):
        with pytest.raises(DataError):
            encoder([wrong], [item(64, 64)])


def test_boxes_are_mapped_there_and_back() -> None:
    made = np.random.default_rng(0)
    boxes = torch.tensor([(b.left, b.top, b.right, b.bottom) for b in random_boxes(made, 20, 300, 200)])
    for geometry in ([[0.3, 0, 7], [0, 0.7, -5]], [[-2.0, 0, 640], [0, 1.5, 0]], [[0, 1.0, 0], [-1.0, 0, 300]]):
        matrix = torch.tensor(geometry, dtype=torch.float32)
        there = to_input(boxes, matrix)
        assert (there[:, 2:] > there[:, :2]).all()
        assert torch.allclose(to_image(there, matrix), boxes, atol=1e-3)


def test_the_overlap_of_boxes_around_a_place_is_that_of_torchvision() -> None:
    torch.manual_seed(0)
    some, others = torch.rand(2, 50, 4) * 5 + 0.1
    sign = torch.tensor([-1.0, -1, 1, 1])
    expected = 1 - generalized_box_iou_loss(some * sign, others * sign, reduction="none")
    assert torch.allclose(_generalised_iou(some, others), expected, atol=1e-5)


def test_the_loss_of_a_sample_does_not_depend_on_those_beside_it() -> None:
    module = head()
    made = np.random.default_rng(1)
    labels = [tuple(random_boxes(made, count, 128, 96)) for count in (0, 1, 5, 2)]
    items = [item(96, 128)] * 4
    features = maps(SHAPE, 96, 128, 4)
    together = module.loss(module(features), module.encoder()(labels, items)).detach()
    assert torch.isfinite(together).all()
    for place, label in enumerate(labels):
        alone = Features(maps=tuple(each[place : place + 1] for each in features.maps))
        loss = module.loss(module(alone), module.encoder()([label], items[:1])).detach()
        assert float(loss) == pytest.approx(float(together[place]), rel=1e-4)


def test_outputs_beyond_all_measure_stay_finite() -> None:
    module = head()
    output = module(maps(SHAPE, 64, 64)).detach()
    output[:, :, :-3] = 1e4
    target = module.encoder()([(Box("cat", 5, 5, 60, 60),)], [item(64, 64)])
    assert torch.isfinite(module.loss(output, target)).all()
    (prediction,) = module.decode(output, {name: value[None] for name, value in item(64, 64).items()})
    assert isinstance(prediction.value, tuple)
    assert all(isinstance(box, Box) and 0 <= box.left < box.right <= 64 for box in prediction.value)


def test_places_stay_exact_in_half_precision() -> None:
    module = head()
    features = maps(SHAPE, 256, 256)
    plain = module(features).detach()
    with torch.autocast("cpu", torch.bfloat16):
        output = module(features)
    assert output.dtype == torch.float32
    assert torch.equal(output[:, :, -3:], plain[:, :, -3:])
    assert torch.allclose(output, plain, atol=0.05)
    loss = module.loss(output, module.encoder()([(Box("cat", 30, 30, 90, 80),)], [item(256, 256)]))
    torch.autograd.backward(loss.mean())
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_the_threshold_hides_boxes_but_not_from_average_precision() -> None:
    outputs = head()(maps(SHAPE, 128, 128)).detach()
    torch.manual_seed(1)
    outputs[:, :, :4] = torch.randn(outputs.shape[1], 4)
    inputs = {name: value[None] for name, value in item(128, 128).items()}
    found = {}
    for threshold in (0.1, 0.6, 0.9):
        (prediction,) = head(threshold=threshold).decode(outputs, inputs)
        assert isinstance(prediction, DetectedBoxes)
        assert isinstance(prediction.value, tuple)
        assert prediction.value == tuple(box for box in prediction.candidates if box.score >= threshold)
        scores = [box.score for box in prediction.candidates]
        assert scores == sorted(scores, reverse=True)
        found[threshold] = prediction
    assert len({prediction.candidates for prediction in found.values()}) == 1
    assert len(found[0.1].candidates) > len(tuple(found[0.6].candidates[:5])) == 5
    (few,) = head(most=3, threshold=0.1).decode(outputs, inputs)
    assert few.value == found[0.1].candidates[:3]
    (loose,) = head(overlap=1.0, threshold=0.1).decode(outputs, inputs)
    assert len(_boxes(loose)) >= len(_boxes(found[0.1]))


def _boxes(prediction: Prediction) -> list[Box]:
    return [box for box in prediction.value if isinstance(box, Box)] if isinstance(prediction.value, tuple) else []


def test_nothing_to_find_is_told() -> None:
    with pytest.raises(DataError, match="nothing to learn"):
        Detection().build(SHAPE, TargetInfo("detection"), DetectionOptions())


def test_the_head_keeps_the_contract(tmp_path: Path) -> None:
    samples = tiny_samples("image", "detection", tmp_path)
    check_head(Detection(), tiny_target("detection"), samples, options=DetectionOptions(width=16, depth=1))


# Metrics


def coco_eval(truth: Sequence[Sequence[Box]], found: Sequence[Sequence[Box]]) -> Any:
    """What pycocotools makes of boxes."""

    def rows(images: Sequence[Sequence[Box]], *, scored: bool) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = []
        for image, boxes in enumerate(images, start=1):
            for box in boxes:
                edges = [box.left, box.top, box.right - box.left, box.bottom - box.top]
                row = {"image_id": image, "category_id": CLASSES.index(box.name), "bbox": edges}
                extra = {"score": box.score} if scored else {"iscrowd": 0, "area": edges[2] * edges[3]}
                result.append({"id": len(result) + 1, **row, **extra})
        return result

    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "images": [{"id": n + 1} for n in range(len(truth))],
            "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES)],
            "annotations": rows(truth, scored=False),
        }
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(rows(found, scored=True)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(seed: int) -> None:
    made = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(12):
        boxes = random_boxes(made, int(made.integers(0, 8)), 300, 200, least=8)
        truth.append(boxes)
        moved = []
        for box in boxes:
            for _ in range(int(made.integers(0, 3))):
                shift = [float(np.float32(value)) for value in made.normal(0, 3, 2)]
                name = box.name if made.random() < 0.8 else CLASSES[made.integers(3)]
                score = float(np.float32(made.random()))
                edges = torch.tensor([box.left, box.top, box.right, box.bottom]) + torch.tensor([*shift, *shift])
                left, top, right, bottom = edges.tolist()
                moved.append(Box(name, left, top, right, bottom, score))
        found.append(moved)
    metrics = BoxMetrics(CLASSES)
    for start in (0, 5, 8):  # in batches of any size
        part = slice(start, {0: 5, 5: 8, 8: 12}[start])
        samples = [Sample(str(n), label=tuple(boxes)) for n, boxes in enumerate(truth[part])]
        metrics.update([DetectedBoxes((), candidates=tuple(boxes)) for boxes in found[part]], samples)
    values = metrics.compute()
    expected = coco_eval(truth, found)
    assert values["map"] == pytest.approx(expected.stats[0], abs=1e-6)
    assert values["map_50"] == pytest.approx(expected.stats[1], abs=1e-6)
    assert values["map_75"] == pytest.approx(expected.stats[2], abs=1e-6)
    for number, name in enumerate(CLASSES):
        precision = expected.eval["precision"][:, :, number, 0, -1]
        assert values[f"ap({name})"] == pytest.approx(precision[precision > -1].mean(), abs=1e-6)
    assert 0.05 < values["map"] < 0.95


def test_average_precision_of_nothing_is_0_and_of_the_truth_1() -> None:
    box = Box("cat", 10, 10, 50, 60)
    for found, truth, expected in (((), (box,), 0.0), ((), (), 0.0), ((box,), (), 0.0), ((box,), (box,), 1.0)):
        metrics = BoxMetrics(CLASSES)
        metrics.update([Prediction(found)], [Sample("1", label=truth)])
        assert metrics.compute()["map"] == pytest.approx(expected)


def test_the_surest_box_takes_the_thing_and_others_of_it_are_wrong() -> None:
    truth = (Box("cat", 0, 0, 10, 10), Box("cat", 0, 0, 10, 14), Box("dog", 50, 50, 60, 60))
    found = (
        Box("cat", 0, 0, 10, 11, 0.6),
        Box("cat", 0, 0, 10, 10, 0.9),
        Box("cat", 0, 0, 10, 10, 0.3),
        Box("bird", 50, 50, 60, 60, 0.9),
        Box("dog", 50, 55, 60, 66, 0.9),
    )
    assert [(truth.index(box), found.index(other)) for box, other in matched(truth, found)] == [(0, 1), (1, 0)]
    support, given, right = box_counts(truth, found)
    assert (support["cat"], given["cat"], right["cat"]) == (2, 3, 2)
    assert (support["dog"], given["dog"], right["dog"]) == (1, 1, 0)
    items = [ItemResult("1", truth, found, None, 0.5), ItemResult("2", (), (), None, 0.1)]
    evaluation = summarise("run", "test", TARGET, {}, items)
    assert evaluation.confusion is None
    bird, cat, dog = evaluation.per_class
    assert cat.precision == pytest.approx(2 / 3)
    assert (cat.recall, cat.support) == (1.0, 2)
    assert cat.f1 == pytest.approx(0.8)
    assert (dog.precision, dog.recall, dog.f1, dog.support) == (0.0, 0.0, 0.0, 1)
    assert (bird.precision, bird.support) == (0.0, 0)
