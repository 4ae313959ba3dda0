"""Write the catalogue of the README anew from the plugins: ``python -m tests.catalogue``."""

from __future__ import annotations

from pathlib import Path

from tlstudio.plugins import PluginManager
from tlstudio.plugins.catalogue import as_markdown, catalogue

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- catalogue: python -m tests.catalogue -->\n", "<!-- end of the catalogue -->"


def generated() -> str:
    """The catalogue of the bundled plugins."""
    manager = PluginManager()
    manager.discover()
    return as_markdown(catalogue(manager.registry))


def in_readme(text: str) -> str:
    """The part of the README between the marks."""
    return text.partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Replace it."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{generated()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
