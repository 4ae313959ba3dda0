"""Methods that come with TL Studio: what a run can do besides its strategy."""

from __future__ import annotations

from collections.abc import Sequence

from tlstudio.api import Method, hookimpl
from tlstudio_methods.averaging import EMA, SWA
from tlstudio_methods.continual import EWC, Replay
from tlstudio_methods.coral import Coral
from tlstudio_methods.dann import Dann
from tlstudio_methods.distillation import Distillation, LearningWithoutForgetting
from tlstudio_methods.fixmatch import FixMatch
from tlstudio_methods.joint import Joint
from tlstudio_methods.l2_sp import L2SP
from tlstudio_methods.mixing import CutMix, Mixup
from tlstudio_methods.mmd import Mmd
from tlstudio_methods.momentum_contrast import MomentumContrast
from tlstudio_methods.pseudo_labels import PseudoLabels
from tlstudio_methods.sam import SAM
from tlstudio_methods.snapshots import Snapshots
from tlstudio_methods.wise_ft import WiSEFT

TLSTUDIO_API = "1.0"


@hookimpl
def register_methods() -> Sequence[Method]:
    """Return the methods of this plugin."""
    return [
        Joint(),
        Coral(),
        Mmd(),
        Dann(),
        L2SP(),
        FixMatch(),
        PseudoLabels(),
        Mixup(),
        CutMix(),
        SAM(),
        EMA(),
        SWA(),
        Snapshots(),
        WiSEFT(),
        Distillation(),
        LearningWithoutForgetting(),
        Replay(),
        EWC(),
        MomentumContrast(),
    ]
