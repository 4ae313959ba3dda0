"""Tests of TL Studio. ``python -m tests`` runs everything that a change must pass."""
