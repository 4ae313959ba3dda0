"""Numbers as people read them: counts, sizes, durations, metrics and their intervals."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime

from PySide6.QtCore import QCoreApplication, QDateTime, QLocale

from tlstudio.api import Label, label_text


def count_text(number: int) -> str:
    """Write a count in at most four figures with a unit: ``"950"``, ``"10,250"``, ``"3.4 M"``, ``"1.2 B"``."""
    if number < 100_000:
        return f"{number:,}"
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            value = number / limit
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return str(number)


def size_text(size: int) -> str:
    """Write a number of bytes with a decimal unit: ``"19 MB"``."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def duration_text(seconds: float) -> str:
    """Write a duration as a clock does: ``"0:48"``, ``"1:02:07"``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def number_text(value: float, digits: int = 3) -> str:
    """Write a measured number with so many significant figures; ``"—"`` where there is none."""
    if not math.isfinite(value):
        return "—"
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if abs(value) >= 100:
        return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.{digits}f}"


def moment_text(created: str, locale: QLocale | None = None) -> str:
    """Write a moment as people do: ``"22 Nov 2026, 00:20"``; ``""`` if it is none.

    Day, month and year stand in the locale's order. Qt has only a long form with the weekday and a short one in mere
    figures, so this is the long one without the weekday and with the short name of the month.

    Args:
        created: ISO 8601.
        locale: The usual one if `None`.
    """
    try:
        seconds = datetime.fromisoformat(created).timestamp()
    except ValueError:
        return ""
    locale = locale or QLocale()
    moment = QDateTime.fromSecsSinceEpoch(int(seconds))
    pattern = re.sub(r"(?<!d)d{3,4}(?!d)", "", locale.dateFormat(QLocale.FormatType.LongFormat))
    pattern = re.sub(r"M{4}", "MMM", pattern).strip(" ,،")
    date = locale.toString(moment.date(), pattern)
    return f"{date}, {locale.toString(moment.time(), QLocale.FormatType.ShortFormat)}"


def setting_text(value: object) -> str:
    """Write the value of an option as a person would type it: ``3e-4``, ``0.01``, ``32``."""
    if isinstance(value, bool) or not isinstance(value, float):
        return "" if value is None else str(value)
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        mantissa, exponent = f"{value:.6e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:g}"


def label_words(label: Label) -> str:
    """Write a label of any task; ``"—"`` where there is none."""
    if label is None or label == () or label == "":
        return "—"
    return number_text(label) if isinstance(label, float) else label_text(label)


def percent(share: float) -> str:
    """Write a probability in percent, never as a certainty that it is not."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{share * 100:.1f} %"


def metric_title(name: str, *, short: bool = False) -> str:
    """Give the words for a metric's name; an unknown name is shown as it is, with spaces.

    Args:
        name: As in a run's metrics.
        short: Whether it must fit on a small card.
    """
    shorter = {
        "balanced_accuracy": QCoreApplication.translate("Metrics", "Balanced acc."),
        "average_precision_macro": QCoreApplication.translate("Metrics", "Avg. precision"),
        "mae": QCoreApplication.translate("Metrics", "MAE"),
        "rmse": QCoreApplication.translate("Metrics", "RMSE"),
        "pixel_accuracy": QCoreApplication.translate("Metrics", "Pixel acc."),
        "token_accuracy": QCoreApplication.translate("Metrics", "Token acc."),
        "map": QCoreApplication.translate("Metrics", "mAP"),
        "map_50": QCoreApplication.translate("Metrics", "mAP at 0.50"),
        "map_75": QCoreApplication.translate("Metrics", "mAP at 0.75"),
        "wer": QCoreApplication.translate("Metrics", "WER"),
        "cer": QCoreApplication.translate("Metrics", "CER"),
    }
    if short and name in shorter:
        return shorter[name]
    titles = {
        "accuracy": QCoreApplication.translate("Metrics", "Accuracy"),
        "balanced_accuracy": QCoreApplication.translate("Metrics", "Balanced accuracy"),
        "f1_macro": QCoreApplication.translate("Metrics", "Macro F1"),
        "f1_micro": QCoreApplication.translate("Metrics", "Micro F1"),
        "precision_macro": QCoreApplication.translate("Metrics", "Macro precision"),
        "recall_macro": QCoreApplication.translate("Metrics", "Macro recall"),
        "average_precision_macro": QCoreApplication.translate("Metrics", "Average precision"),
        "loss": QCoreApplication.translate("Metrics", "Loss"),
        "mae": QCoreApplication.translate("Metrics", "Mean absolute error"),
        "rmse": QCoreApplication.translate("Metrics", "Root mean squared error"),
        "r2": QCoreApplication.translate("Metrics", "R²"),
        "f1": QCoreApplication.translate("Metrics", "F1"),
        "precision_micro": QCoreApplication.translate("Metrics", "Micro precision"),
        "recall_micro": QCoreApplication.translate("Metrics", "Micro recall"),
        "exact_match": QCoreApplication.translate("Metrics", "Exact match"),
        "mean_iou": QCoreApplication.translate("Metrics", "Mean IoU"),
        "mean_dice": QCoreApplication.translate("Metrics", "Mean Dice"),
        "pixel_accuracy": QCoreApplication.translate("Metrics", "Pixel accuracy"),
        "map": QCoreApplication.translate("Metrics", "Mean average precision"),
        "map_50": QCoreApplication.translate("Metrics", "Mean average precision at 0.50"),
        "map_75": QCoreApplication.translate("Metrics", "Mean average precision at 0.75"),
        "token_accuracy": QCoreApplication.translate("Metrics", "Token accuracy"),
        "wer": QCoreApplication.translate("Metrics", "Word error rate"),
        "cer": QCoreApplication.translate("Metrics", "Character error rate"),
        "rouge1": "ROUGE-1",
        "rouge2": "ROUGE-2",
        "rougeL": "ROUGE-L",
        "bleu": "BLEU",
        "chrf": "chrF",
        "smape": "sMAPE",
        "mase": "MASE",
        "auroc": "AUROC",
    }
    return titles.get(name) or name.replace("_", " ").capitalize()


def metric_ceiling(name: str) -> float | None:
    """What a metric cannot exceed: 1 for shares and R², `None` for all others."""
    shares = ("accuracy", "f1", "precision", "recall", "r2", "iou", "dice", "exact_match", "rouge", "auroc")
    return 1.0 if any(part in name for part in shares) or name.startswith(("map", "ap(")) else None


def main_metrics(metrics: Mapping[str, float], count: int = 3) -> list[str]:
    """Name the metrics that a person looks at first, in that order; the loss only where there is nothing else."""
    order = (
        *("mean_iou", "map", "wer", "rougeL", "bleu", "exact_match"),  # what a task is judged by above all
        *("accuracy", "f1_macro", "average_precision_macro", "f1_micro", "r2", "mae", "rmse"),
    )
    known = [name for name in order if name in metrics]
    known += [name for name in metrics if name not in known and name != "loss"]
    return known[:count] or list(metrics)[:count]


def wilson_interval(hits: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Interval of a share, good also near 0 and 1 and for few items.

    Args:
        hits: Items that count.
        total: Items in all, above 0.
        z: Normal quantile; the default gives 95 %.

    Returns:
        Lower and upper end, each in 0..1.

    Source: E. B. Wilson (1927), J. Am. Stat. Assoc. 22, 209-212.
    """
    share = hits / total
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    middle = share + z * z / (2 * total)
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
