"""TL Studio: a desktop studio for transfer learning."""

__version__ = "0.1.0"
