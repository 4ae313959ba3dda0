"""``plugins`` and ``backbones``: what there is to choose from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from tlstudio.cli.common import command, find_registry
from tlstudio.cli.output import Output, StatusLine

if TYPE_CHECKING:
    from tlstudio.api import Backbone, BackboneInfo
    from tlstudio.plugins import Registry

DETAILED = 40
"""Up to so many backbones are shown with their facts, which need the library to be loaded; beyond, by name."""


@command("plugins", example="tlstudio plugins\ntlstudio plugins --tracebacks")
@click.option("--tracebacks", is_flag=True, help="Show where a plugin failed, for its author.")
@click.option("--try-again", metavar="PLUGIN", help="Try a plugin again that is left out for what it did before.")
def plugins(output: Output, *, tracebacks: bool, try_again: str | None) -> None:
    """List the plugins, what they bring, and why one failed."""
    from tlstudio.plugins import PluginManager
    from tlstudio.startup import plugins_folder

    if try_again is not None:
        PluginManager(plugins_folder()).try_again(try_again)
    manager = PluginManager.of_user()
    if manager.safe_mode:
        output.hint("Safe mode: only the plugins that come with TL Studio are loaded.")
    for record in manager.plugins:
        version = f" {record.version}" if record.version else ""
        output.say(f"{record.name}{version}  ({record.state}, from {record.origin})", bold=True)
        output.facts([(f"  {kind}", ", ".join(names)) for kind, names in _by_kind(record.provides).items()])
        if record.error:
            output.say(f"  {record.error}")
        if record.remembered:
            output.hint(
                f"  It is left out until it changes. Try it again: tlstudio plugins --try-again {record.name}; "
                "to be rid of it, remove it or switch it off on the Plugins page."
            )
        if record.traceback and tracebacks:
            output.say("\n".join(f"    {line}" for line in record.traceback.rstrip().splitlines()))
    failed = sum(bool(record.traceback) for record in manager.plugins)
    if failed and not tracebacks:
        output.hint(f"\n{failed} failed; tlstudio plugins --tracebacks shows where.")
    output.hint(f"\nA plugin of your own: put its .py file into {plugins_folder()}")
    records = [dataclasses.asdict(record) for record in manager.plugins]
    output.result({"plugins": records, "folder": plugins_folder(), "safe_mode": manager.safe_mode})


def _by_kind(provides: tuple[str, ...]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for item in provides:
        kind, _, name = item.partition(" ")
        kinds.setdefault(kind, []).append(name)
    return kinds


@command("backbones", example="tlstudio backbones\ntlstudio backbones --search efficientnet_lite")
@click.option("--family", "family_name", help="Only this family, such as timm or torchvision.")
@click.option("--search", default="", help="Only names with this text in them.")
def backbones(output: Output, *, family_name: str | None, search: str) -> None:
    """List pretrained backbones with their facts, and where their weights are."""
    with StatusLine() as status:
        # The libraries that build the networks take seconds to load.
        status.update("Reading the catalogue of models ...", "")
        registry = find_registry(output)
        names = _names(registry, family_name, search)
        facts = []
        for name in names if len(names) <= DETAILED else ():
            try:
                facts.append(_facts(registry.backbone(name)))
            except Exception as error:  # noqa: BLE001  whatever a plugin raises is its own failure
                output.hint(f"Warning: the backbone {name} is left out: {type(error).__name__}: {error}")
    if len(names) > DETAILED:
        for name in names:
            output.say(name)
        output.hint(f"\n{len(names):,} backbones; narrow it to {DETAILED} with --search to see their facts.")
        output.result({"backbones": [{"name": name} for name in names]})
        return
    if facts:
        headers = ["backbone", "takes", "input", "license", "weights", "parameters", "features"]
        output.table(
            headers,
            [
                [
                    one["name"],
                    one["modality"],
                    one["input"],
                    "" if one["license"].startswith("unknown") else one["license"],
                    one["weights"]["origin"] if one["weights"] else "not on this machine",
                    _millions(one["num_parameters"]),
                    one["num_features"],
                ]
                for one in facts
            ],
            left=5,
        )
    else:
        output.say("No backbone has that in its name.")
    if family_name is None and not search:
        more = ", ".join(f"{family.name} ({family.title})" for family in registry.families.values())
        if more:
            output.hint(f"\nMany more by name from the families {more}: --family or --search finds them.")
    output.result({"backbones": facts})


def _names(registry: Registry, family_name: str | None, search: str) -> list[str]:
    if family_name is not None and family_name not in registry.families:
        known = ", ".join(registry.families) or "none"
        raise click.BadParameter(f"there is no family '{family_name}'. Known: {known}.", param_hint="--family")
    # A family's library is loaded only when its names are asked for.
    families = [registry.families[family_name]] if family_name else registry.families.values() if search else ()
    names = [] if family_name else list(registry.backbones)
    names += [name for family in families for name in registry.members(family)]
    return [name for name in dict.fromkeys(names) if search.lower() in name.lower()]


def _facts(backbone: Backbone) -> dict[str, Any]:
    from pydantic import ValidationError

    from tlstudio.api import WeightsError

    info: BackboneInfo = backbone.info()
    weights: dict[str, Any] | None = None
    try:
        found = backbone.find_weights(backbone.Options())
        if found.path is not None:
            weights = {"origin": found.origin, "path": found.path, "size": found.size, "sha256": found.sha256}
    except (WeightsError, ValidationError):
        pass  # not on this machine, or a required option says where
    return {
        "name": backbone.name,
        "title": backbone.title,
        "modality": info.modality,
        "input": info.input,
        "provides": sorted(info.provides),
        # A generic entry, such as a folder of the user's, has none before it is chosen.
        "num_features": info.num_features or None,
        "num_parameters": info.num_parameters or None,
        "license": info.license,
        "source": info.source,
        "weights": weights,
    }


def _millions(number: int | None) -> str:
    return f"{number / 1e6:.1f} M" if number else ""
