"""Fine-tuning strategies that come with TL Studio, from a linear probe to full fine-tuning and LoRA."""

from __future__ import annotations

from collections.abc import Sequence

from tlstudio.api import FineTuningStrategy, hookimpl
from tlstudio_strategies.added import IA3, OFT, LoKr
from tlstudio_strategies.bitfit import BitFit
from tlstudio_strategies.bottleneck import BottleneckAdapters
from tlstudio_strategies.full import Full
from tlstudio_strategies.gradual import GradualUnfreezing
from tlstudio_strategies.lora import LoRA, QLoRA
from tlstudio_strategies.lp_ft import LPFT
from tlstudio_strategies.nearest_mean import NearestMean
from tlstudio_strategies.partial import Partial
from tlstudio_strategies.probe import LinearProbe
from tlstudio_strategies.setfit import SetFit
from tlstudio_strategies.soft_prompts import PrefixTuning, PromptTuning
from tlstudio_strategies.surgical import Surgical
from tlstudio_strategies.vpt import VisualPrompts

TLSTUDIO_API = "1.0"


@hookimpl
def register_strategies() -> Sequence[FineTuningStrategy]:
    """Return the strategies of this plugin."""
    return [
        LinearProbe(),
        Partial(),
        GradualUnfreezing(),
        Full(),
        LPFT(),
        Surgical(),
        BitFit(),
        LoRA(),
        QLoRA(),
        LoKr(),
        OFT(),
        IA3(),
        BottleneckAdapters(),
        VisualPrompts(),
        PromptTuning(),
        PrefixTuning(),
        SetFit(),
        NearestMean(),
    ]
