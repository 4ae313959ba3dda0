"""Plugins: find them, try and load each alone, explain what failed, and look up what they bring."""

from tlstudio.plugins.manager import PluginManager
from tlstudio.plugins.records import PluginRecord
from tlstudio.plugins.registry import Registry

__all__ = ["PluginManager", "PluginRecord", "Registry"]
