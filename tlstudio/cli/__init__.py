"""A command for everything that the window can compute. Imports no Qt, and torch only where a command needs it."""
