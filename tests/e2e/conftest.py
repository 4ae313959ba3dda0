"""The real window of the tests of the pages, with the same strictness, for whole journeys through it."""

from __future__ import annotations

from tests.gui.conftest import frozen, manager, nothing_left_behind, state, window

__all__ = ["frozen", "manager", "nothing_left_behind", "state", "window"]
