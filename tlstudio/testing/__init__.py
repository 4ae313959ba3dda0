"""Checks for plugin authors: does a component keep the contract of `tlstudio.api`?

Each check runs a component through its whole life on tiny data and raises `ContractError` (an `AssertionError`) with
a sentence that says which promise was broken. None of them needs pytest; in a test of your own plugin:

    from tlstudio.testing import check_strategy, tiny_backbones, tiny_samples, tiny_target
    from my_plugin import MyStrategy, SomeHead

    def test_my_strategy_keeps_the_contract(tmp_path):
        samples = tiny_samples("image", "classification", tmp_path)
        for backbone in tiny_backbones("image"):
            check_strategy(MyStrategy(), backbone, SomeHead(), samples, tiny_target("classification"), tmp_path)

The tiny backbones are real ones with random weights: a convolutional network with BatchNorm and a text transformer,
small enough that a check takes well under a second on a CPU.

Importing this package is light; torch is imported by the checks.
"""

from tlstudio.testing.checks import ContractError, check_backbone, check_format, check_head, check_strategy
from tlstudio.testing.components import TinyConvNet, TinyTextEncoder, tiny_backbones
from tlstudio.testing.samples import CLASSES, tiny_samples, tiny_target, write_image_folder, write_text_table

__all__ = [
    "CLASSES",
    "ContractError",
    "TinyConvNet",
    "TinyTextEncoder",
    "check_backbone",
    "check_format",
    "check_head",
    "check_strategy",
    "tiny_backbones",
    "tiny_samples",
    "tiny_target",
    "write_image_folder",
    "write_text_table",
]
