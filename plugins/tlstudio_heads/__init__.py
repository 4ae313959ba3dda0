"""Task heads that come with TL Studio, for every task on features of every kind."""

from __future__ import annotations

from collections.abc import Sequence

from tlstudio.api import TaskHead, hookimpl
from tlstudio_heads.anomaly_heads import AnomalyDetection
from tlstudio_heads.contrastive_head import Contrastive
from tlstudio_heads.detection_heads import Detection
from tlstudio_heads.forecast_heads import Forecasting
from tlstudio_heads.fusion_heads import GatedFusion
from tlstudio_heads.generation_heads import TextGeneration
from tlstudio_heads.heads import Classification, MultiLabel, Regression
from tlstudio_heads.masked_heads import MaskedLanguageModel, MaskedValues
from tlstudio_heads.recommendation_heads import Recommendation
from tlstudio_heads.segmentation_heads import Segmentation
from tlstudio_heads.span_heads import QuestionAnswering, TokenClassification
from tlstudio_heads.speech_heads import Ctc, SpeechWriting

TLSTUDIO_API = "1.0"


@hookimpl
def register_task_heads() -> Sequence[TaskHead]:
    """Return the task heads of this plugin."""
    return [
        Classification(),
        MultiLabel(),
        Regression(),
        TokenClassification(),
        QuestionAnswering(),
        TextGeneration(),
        Detection(),
        Forecasting(),
        GatedFusion(),
        Segmentation(),
        Recommendation(),
        AnomalyDetection(),
        SpeechWriting(),  # before the next: a backbone that writes also gives what that one takes
        Ctc(),
        MaskedLanguageModel(),
        MaskedValues(),
        Contrastive(),  # behind those, as it takes features of every backbone
    ]
