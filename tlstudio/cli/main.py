"""The command line as a whole: the commands, and what becomes of an error."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence

import click

from tlstudio import __version__, startup
from tlstudio.cli.catalog import backbones, plugins
from tlstudio.cli.common import CANCELLED, FAILED, WRONG_USE, Outcome
from tlstudio.cli.continual import continual
from tlstudio.cli.demo import demo
from tlstudio.cli.deriving import prune, soup, wise_ft
from tlstudio.cli.ensembles import ensemble
from tlstudio.cli.labelling import label, label_next
from tlstudio.cli.models import models
from tlstudio.cli.options import options
from tlstudio.cli.output import print_json, visible
from tlstudio.cli.prediction import predict
from tlstudio.cli.projects import import_data, new
from tlstudio.cli.queueing import queue
from tlstudio.cli.recommend import recommend
from tlstudio.cli.recovery import attach, resume, selftest
from tlstudio.cli.results import evaluate, export, runs
from tlstudio.cli.serve import serve
from tlstudio.cli.shortcut_commands import install_shortcut, uninstall_shortcut
from tlstudio.cli.similar import similar
from tlstudio.cli.training import train
from tlstudio.privacy import without_secrets

COMMANDS = {
    made.name or "": made
    for made in (
        new,
        import_data,
        train,
        queue,
        resume,
        attach,
        runs,
        evaluate,
        predict,
        export,
        wise_ft,
        soup,
        ensemble,
        prune,
        similar,
        label_next,
        label,
        continual,
        recommend,
        serve,
        options,
        plugins,
        backbones,
        models,
        demo,
        install_shortcut,
        uninstall_shortcut,
        selftest,
    )
}


_OPTION = re.compile(r"methods\.\w+\.\w+|(?:training|dataset|backbone|head|strategy)\.(?!name$)\w+")
"""Where in a recipe an option stands."""


class _Group(click.Group):
    """Lists the commands in the order of the work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_Group,
    commands=COMMANDS,
    epilog="\b\nExample:\n  tlstudio new birds\n  tlstudio import birds ~/photos --name photos\n"
    "  tlstudio train birds --dataset photos\n  tlstudio predict birds new.jpg",
)
@click.option(
    "--safe-mode",
    is_flag=True,
    expose_value=False,
    callback=lambda _context, _option, wanted: startup.enter_safe_mode(os.environ) if wanted else None,
    help="Load only the plugins that come with TL Studio, in the window or for a command.",
)
@click.version_option(__version__, message="TL Studio %(version)s")
def cli() -> None:
    """TL Studio: from a folder of your own data to a model you can trust.

    Without a command, or with a project folder alone, the window opens.
    """


def run(arguments: Sequence[str]) -> Outcome:
    """Run one command; every error is told here and becomes an exit code.

    Args:
        arguments: As after the program's name.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show must not stop the work
            stream.reconfigure(errors="backslashreplace")
    as_json = "--json" in arguments
    try:
        value = cli.main(list(arguments), prog_name="tlstudio", standalone_mode=False)
        return value if isinstance(value, Outcome) else Outcome(int(value or 0))
    except click.ClickException as refused:
        error = _with_its_place(refused)
        error.show()
        return _failed(as_json, WRONG_USE, {"error": error.format_message()})
    except (click.Abort, KeyboardInterrupt):
        return _cancelled(as_json)
    except BrokenPipeError:
        # Whoever read the output has gone; without this, Python complains again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Outcome(FAILED)
    except Exception as error:  # noqa: BLE001  the last place where a bug can be explained
        return _explain(error, arguments)


def _with_its_place(error: click.ClickException) -> click.ClickException:
    """Say how an option of the training is given to somebody who took it for one of the command."""
    if isinstance(error, click.NoSuchOption) and error.ctx is not None and error.ctx.info_name == "train":
        from tlstudio.engine.recipe import TrainingOptions

        name = error.option_name.lstrip("-").replace("-", "_")
        if name in TrainingOptions.model_fields:
            what = f"No such option '{error.option_name}': it is given as -o training.{name}=VALUE."
            return click.UsageError(what, ctx=error.ctx)
    return error


def _explain(error: Exception, arguments: Sequence[str]) -> Outcome:
    from tlstudio.api import ProblemsError, TLStudioError

    as_json = "--json" in arguments
    if isinstance(error, TLStudioError):
        problems = [
            {"where": problem.where, "what": problem.what, "remedy": problem.remedy}
            for problem in (error.problems if isinstance(error, ProblemsError) else ())
        ]
        click.echo(click.style("Error: ", fg="red", bold=True) + visible(str(error)), err=True)
        if how := _how_to_set(problems, arguments):
            click.echo(how, err=True)
        details = {"where": error.field} if error.field else {}
        return _failed(as_json, WRONG_USE, {"error": str(error), "problems": problems, **details})
    from tlstudio.data.prepare import Cancelled

    if isinstance(error, Cancelled):
        return _cancelled(as_json)
    click.echo(without_secrets("".join(traceback.format_exception(error))), err=True)
    click.echo(
        f"This is a bug in TL Studio {__version__}. Please report it with the lines above; your data is not affected.",
        err=True,
    )
    return _failed(as_json, FAILED, {"error": without_secrets(f"{type(error).__name__}: {error}"), "bug": True})


def _how_to_set(problems: Sequence[Mapping[str, str]], arguments: Sequence[str]) -> str:
    """Say how an option is given that has something against it and was not given."""
    for where, what in ((problem["where"], problem["what"]) for problem in problems):
        if _OPTION.fullmatch(where) and not what.endswith("no such option."):
            given = any(argument.startswith(f"{where}=") for argument in arguments)
            return "" if given else f"An option is given as -o {where}=VALUE; tlstudio options lists them."
    return ""


def _cancelled(as_json: bool) -> Outcome:
    click.echo("Cancelled.", err=True)
    return _failed(as_json, CANCELLED, {"error": "Cancelled."})


def _failed(as_json: bool, code: int, values: dict[str, object]) -> Outcome:
    if as_json:
        print_json(values)
    return Outcome(code)
