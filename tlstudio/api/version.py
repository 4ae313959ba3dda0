"""The version of the plugin interface."""

API_VERSION = "1.0"
"""``major.minor``. A plugin runs where the major number is the same and the minor is not above this one."""
