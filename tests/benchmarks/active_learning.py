"""Print the table of active learning in the README: how far labels go that are asked for one way or another.

``python -m tests.benchmarks.active_learning [--seeds 10] [--start 30] [--step 30] [--rounds 4]``

On the features of a frozen EfficientNet-Lite0 of the 804 drawings of the demo, a logistic regression begins with a few
random labels; in each round, one way to choose asks for some more of those that are left. Each seed has another test
split (a quarter) and other first labels, which all ways share. The interval is Student's 95 % interval of the mean over
the seeds; that of the difference to random is over the differences of the seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from tests.benchmarks.figures import import_demo
from tests.benchmarks.tasks import interval
from tlstudio.engine.active import CHOOSERS
from tlstudio.engine.active_selection import badge, highest, k_center, uncertainty
from tlstudio.engine.demo import DEMO_DATA
from tlstudio.engine.feature_cache import CACHE_FOLDER
from tlstudio.engine.similar import SimilarItems
from tlstudio.plugins import PluginManager
from tlstudio.store.project import Project


def features_and_classes() -> tuple[np.ndarray, np.ndarray]:
    """Compute the features ``[N, D]``, and the class ``[N]`` of each drawing."""
    manager = PluginManager()
    manager.discover()
    images = next(data for data in DEMO_DATA if data.name == "images")
    with tempfile.TemporaryDirectory() as folder, Project.create(Path(folder) / "project") as project:
        revision = import_demo(project, images, manager.registry, 0)
        backbone = manager.registry.backbone("tf_efficientnet_lite0")
        options = backbone.Options.model_validate({"image_size": 128})
        SimilarItems.of_backbone(backbone, options, revision, project)
        (path,) = (project.folder / CACHE_FOLDER).glob("*.npy")
        features = np.array(np.load(path, allow_pickle=False), dtype=np.float64)
        index = {name: number for number, name in enumerate(revision.classes)}
        labels = [index[str(label)] for label in revision.labels(np.arange(len(revision)))]
    return features - features.mean(axis=0), np.array(labels)


def choose(
    by: str, model: LogisticRegression, features: np.ndarray, labelled: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Positions of what one way asks for, among the features that have no label."""
    rng = np.random.default_rng(seed)
    if by == "random":
        return rng.permutation(len(features))[:count]
    if by == "k_center":
        return k_center(features, labelled, count)[0]
    probabilities = softmax(model.decision_function(features), axis=1)
    if by == "badge":
        return badge(probabilities, features, count, rng)[0]
    return highest(uncertainty(probabilities, by), count)


def accuracies(
    by: str, features: np.ndarray, classes: np.ndarray, seed: int, *, start: int, step: int, rounds: int
) -> list[float]:
    """Test accuracy with the first labels, and after each round."""
    train, test = train_test_split(np.arange(len(classes)), test_size=0.25, stratify=classes, random_state=seed)
    labelled, _ = train_test_split(train, train_size=start, stratify=classes[train], random_state=seed)
    found = []
    for number in range(rounds + 1):
        model = LogisticRegression(max_iter=2000).fit(features[labelled], classes[labelled])
        found.append(float(model.score(features[test], classes[test])))
        rest = np.setdiff1d(train, labelled)
        asked = choose(by, model, features[rest], features[labelled], step, 1000 * seed + number)
        labelled = np.concatenate([labelled, rest[asked]])
    return found


def main() -> None:
    """Print one Markdown row for each way to choose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--start", type=int, default=30)
    parser.add_argument("--step", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    features, classes = features_and_classes()
    counts = [arguments.start + number * arguments.step for number in range(1, arguments.rounds + 1)]
    heads = " | ".join(f"{count} labels" for count in counts)
    print(f"| asked for by | {heads} | mean of these, to random |\n|---|{'---|' * len(counts)}---|")
    plan = {"start": arguments.start, "step": arguments.step, "rounds": arguments.rounds}
    by_chance: np.ndarray | None = None
    for by in ("random", *(name for name in CHOOSERS if name != "random")):
        found = np.array([accuracies(by, features, classes, seed, **plan) for seed in range(arguments.seeds)])[:, 1:]
        means = found.mean(axis=1)
        by_chance = means if by_chance is None else by_chance
        apart = means - by_chance
        told = "" if by == "random" else f"{'+' if apart.mean() >= 0 else ''}{interval(apart)}"
        cells = " | ".join(interval(found[:, number]) for number in range(len(counts)))
        print(f"| {by} | {cells} | {told} |", flush=True)


if __name__ == "__main__":
    main()
