"""The recipe that is being put together on the Train page, and what the engine says of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QCoreApplication, QObject, QTimer, Signal, Slot

from tlstudio.api import Problem, ProblemsError, TLStudioError
from tlstudio.engine.recipe import Recipe, learned_from
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.candidates import Candidate, Kind, Situation, read_candidate
from tlstudio.gui.widgets.project_choice import ENDED_WELL
from tlstudio.gui.workers import Job, JobContext

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision
    from tlstudio.engine.preflight import Preflight
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project

_Outcome = tuple["Checked", bool, dict[str, dict[str, Any]]]
KINDS: tuple[Kind, ...] = ("backbone", "head", "strategy")
METHODS = "methods."
"""What the name of a section begins with that is a method."""

_CHECK_AFTER_MS = 250


@dataclass(frozen=True)
class Checked:
    """What was found out about a draft.

    Attributes:
        revision: The data.
        learned: The same with the train split that is really learned from.
        recipe: The whole recipe, or `None` where mistakes forbid it.
        preflight: What will happen; `None` as above, and while a run is under way.
        problems: Everything that forbids the start.
        facts: What is known of the chosen components, also where something else is wrong.
        command: The command line that does the same; ``""`` where mistakes forbid it.
        unfit: By the place of an option that names runs or data sets, why some cannot be named there.
        folds: A run for each of so many folds is meant, of which the recipe is the first; 0: one run.
    """

    revision: Revision | None = None
    learned: Revision | None = None
    recipe: Recipe | None = None
    preflight: Preflight | None = None
    problems: tuple[Problem, ...] = ()
    facts: Mapping[Kind, Candidate] = field(default_factory=dict)
    command: str = ""
    unfit: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    folds: int = 0

    @property
    def sentence(self) -> str:
        """What will happen, in each run where several are meant; ``""`` where it was not measured."""
        if self.preflight is None or not self.folds:
            return self.preflight.sentence if self.preflight is not None else ""
        each = QCoreApplication.translate("Checked", "{0} folds, each: {1}")
        return each.format(self.folds, self.preflight.sentence)

    @property
    def can_start(self) -> bool:
        """Whether nothing forbids the start."""
        return self.recipe is not None and not self.problems


class RecipeDraft(QObject):
    """Holds only what the user has said; everything else is what the engine recommends for the data.

    After each change the recipe is completed and checked off the window's thread, from the first `wake` on: the
    check imports torch, which nobody needs who only looks at data.

    Signals:
        changed(): Something was set; a check is on its way.
        looked(object, str): While the check of data goes on of which nothing was known: a `Checked` of what is known by
            now, and a sentence on what is done next.
        checked(object): A `Checked` of the draft as it is now.
    """

    changed = Signal()
    looked = Signal(object, str)
    checked = Signal(object)

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._values: dict[str, Any] = {}
        self._kind_of_data = ("", "")
        self.result = Checked()
        self.pending = False
        self._awake = False
        self._loaded = False  # and it is not known yet which of its settings are what is recommended anyway
        self._job: Job[_Outcome] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CHECK_AFTER_MS)
        self._timer.timeout.connect(self._check)

    @property
    def values(self) -> dict[str, Any]:
        """What has been said, in the shape of a recipe file."""
        return {
            key: {**part, "options": dict(part["options"])} if "options" in part else dict(part)
            for key, part in self._values.items()
        }

    @property
    def dataset(self) -> tuple[str, str]:
        """Name and revision of the data set; ``("", "")``: none."""
        part = self._values.get("dataset", {})
        return str(part.get("name", "")), str(part.get("revision", ""))

    @property
    def fresh(self) -> bool:
        """Whether nothing is known yet of the chosen data."""
        revision = self.result.revision
        return revision is None or (revision.dataset, revision.id) != self.dataset

    def wake(self) -> None:
        """Check from now on, and at once what was set before; does nothing the second time."""
        if not self._awake:
            self._awake = True
            if self.pending:
                self._timer.start()

    def look_again(self) -> None:
        """Check the whole of what was only read while a run was under way."""
        if self.result.recipe is not None and self.result.preflight is None:
            self._touch()

    def clear(self) -> None:
        """Forget everything."""
        self._values = {}
        self._kind_of_data = ("", "")
        self.result = Checked()
        self.pending = self._loaded = False
        self._timer.stop()
        self.checked.emit(self.result)

    def set_dataset(self, name: str, revision: str) -> None:
        """Choose the data."""
        if (name, revision) != self.dataset:
            self._values["dataset"] = {**self._values.get("dataset", {}), "name": name, "revision": revision}
            self._touch()

    def set_component(self, kind: Kind, name: str) -> None:
        """Choose a component; its options go back to what is recommended."""
        self._values[kind] = {"name": name, "options": {}}
        self._touch()

    def set_options(self, section: str, options: Mapping[str, Any]) -> None:
        """Set what the user has set of a section.

        Args:
            section: ``"dataset"``, ``"training"``, a kind of component, or ``"methods."`` with the name of one.
            options: The options that are the user's own.
        """
        if section == "training":
            self._values["training"] = dict(options)
        elif section == "dataset":
            (name, revision), before = self.dataset, self.options("dataset")
            part = {"name": name, "revision": revision, **options}
            if "fold" in before and before.get("folds") == options.get("folds"):
                part["fold"] = before["fold"]  # of a recipe that was loaded: other folds are all meant
            self._values["dataset"] = part
        elif section.startswith(METHODS):
            self._values["methods"] = {**self.methods, section.removeprefix(METHODS): dict(options)}
        else:
            part = self._values.setdefault(section, {"name": self.chosen(section), "options": {}})
            part["options"] = dict(options)
        self._touch()

    def options(self, section: str) -> dict[str, Any]:
        """What the user has set of a section; see `set_options`."""
        if section.startswith(METHODS):
            return dict(self.methods.get(section.removeprefix(METHODS), {}))
        part = self._values.get(section, {})
        if section == "dataset":
            return {name: value for name, value in part.items() if name not in ("name", "revision")}
        return dict(part if section == "training" else part.get("options", {}))

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """What the user has set of each chosen method, by name."""
        return {name: dict(options) for name, options in self._values.get("methods", {}).items()}

    def set_methods(self, names: Sequence[str]) -> None:
        """Choose methods; those that were chosen before keep their options."""
        if list(self.methods) != list(names):
            self._values["methods"] = {name: self.methods.get(name, {}) for name in names}
            self._touch()

    def chosen(self, kind: str) -> str:
        """Name of the chosen or recommended component of a kind; ``""``: not known yet."""
        part = self._values.get(kind)
        if part and part.get("name"):
            return str(part["name"])
        return next((fact.name for of, fact in self.result.facts.items() if of == kind), "")

    def load(self, values: Mapping[str, Any]) -> None:
        """Take over a recipe, or a part of one; the data set stays if it names none.

        Options that are what is recommended for its data and components are not said by the user: they follow when
        another component is chosen.

        Raises:
            TLStudioError: A part has not the shape that it has in a recipe.
        """
        fresh: dict[str, Any] = {}
        for key in ("dataset", *KINDS, "training", "methods"):
            part = values.get(key)
            if part is None:
                continue
            if not isinstance(part, Mapping):
                raise TLStudioError(f"'{key}' in the recipe must be a table of settings.")
            if key == "methods" and not all(isinstance(options, Mapping) for options in part.values()):
                raise TLStudioError("Each method in the recipe must be a table of options.")
            if key in KINDS:
                options = part.get("options", {})
                if not isinstance(options, Mapping) or not (part.get("name") or part.get("start_from")):
                    raise TLStudioError(f"'{key}' in the recipe needs a name and a table of options.")
                fresh[key] = {**part, "options": dict(options)}
            else:
                fresh[key] = dict(part)
        if "dataset" not in fresh and "dataset" in self._values:
            fresh["dataset"] = self._values["dataset"]
        self._values = fresh
        self._loaded = True
        self._kind_of_data = ("", "")
        self._touch()

    def set_backbone(self, part: Mapping[str, Any]) -> None:
        """Take a backbone as it stands in a recipe: with its options, or one that an earlier run has trained.

        Head and strategy are what is recommended for it: it may be of quite another kind than the one before.
        """
        for kind in KINDS:
            self._values.pop(kind, None)
        self._kind_of_data = ("", "")
        self._values["backbone"] = {**part, "options": dict(part.get("options", {}))}
        self._touch()

    @property
    def source(self) -> str:
        """The run or exported model that the backbone is taken from; ``""``: none."""
        return str(self._values.get("backbone", {}).get("start_from", ""))

    def situation(self) -> Situation | None:
        """What a picked component has to fit, or `None` while the data are not known."""
        revision = self.result.revision
        if revision is None:
            return None
        names = {kind: self.chosen(kind) for kind in KINDS}
        return Situation(revision.modality, revision.task, **names)

    def _touch(self) -> None:
        self.pending = True
        if self._awake:
            self._timer.start()
        self.changed.emit()

    @Slot()
    def _check(self) -> None:
        project, registry = self._state.project, self._state.registry
        name, revision_id = self.dataset
        if project is None or not name:
            return
        values, kind_of_data, loaded = self.values, self._kind_of_data, self._loaded
        # Measuring steps would take the cores from a run, and a window that closes would wait for it.
        measured = not (self._state.run_state.active or self._state.queue.on)
        values = {
            key: part for key, part in values.items() if key not in KINDS or part.get("name") or part.get("start_from")
        }

        data = values["dataset"]
        every_fold = int(data.get("folds") or 0) if not data.get("fold") else 0  # a recipe that was loaded may name one
        if every_fold:
            values["dataset"] = {**data, "fold": 1}
        seen: list[Checked] = []

        def work(context: JobContext) -> _Outcome:
            revision = project.dataset(name, revision_id)
            seen.append(Checked(revision, revision))
            first = self.tr("Loading the libraries and the models… This takes some seconds, once after each start.")
            context.progress(0, text=first)
            from tlstudio.engine.advise import complete, fill_in
            from tlstudio.engine.checking import check_folds
            from tlstudio.engine.method_choice import unfit_choices
            from tlstudio.engine.preflight import preflight
            from tlstudio.engine.said_again import command_line, own_settings

            now = (str(revision.modality), str(revision.task))
            # Components chosen for images say nothing of texts: with other data the choice starts anew.
            anew = kind_of_data not in (("", ""), now)
            said = {key: part for key, part in values.items() if not (anew and key in (*KINDS, "methods"))}
            unfit = unfit_choices(said, _offered(project), revision, registry) if said.get("methods") else {}
            try:
                recipe = complete(said, revision, registry)
                lacking = check_folds(recipe, revision) if every_fold else ()
            except ProblemsError as error:
                filled, _ = fill_in(said, revision, registry)
                facts = _facts_of({kind: str(filled[kind]["name"]) for kind in KINDS}, revision, registry)
                return Checked(revision, revision, problems=error.problems, facts=facts, unfit=unfit), anew, {}
            if context.cancelled():
                return Checked(), anew, {}
            facts = _facts_of({kind: getattr(recipe, kind).name for kind in KINDS}, revision, registry)
            learned = learned_from(recipe, revision)
            if measured:
                seen.append(Checked(revision, learned, recipe, facts=facts))
                context.progress(0, text=self.tr("Measuring a few steps with {0}…").format(facts["backbone"].title))
            flight = preflight(recipe, revision, registry, project_folder=project.folder) if measured else None
            if flight and lacking:
                flight = replace(flight, notes=tuple(dict.fromkeys((*lacking, *flight.notes))))
            command = command_line(
                recipe, project.folder, revision=revision, registry=registry, every_fold=every_fold > 0
            )
            problems = tuple(flight.problems) if flight else ()
            own = own_settings(recipe, revision, registry) if loaded else {}
            checked = Checked(revision, learned, recipe, flight, problems, facts, command, unfit, every_fold)
            return checked, anew, own

        title = self.tr("Looking at your data and the models on this machine")
        self._job = job = self._state.jobs.start(work, title, self._done, self._failed, key="recipe check")
        job.ended.connect(self._ended)
        job.changed.connect(lambda: self._tell(job, seen))

    def _tell(self, job: Job[_Outcome], seen: Sequence[Checked]) -> None:
        """Hand on what the check has found by now, where nothing is shown yet that it could take the place of."""
        outdated = job is not self._job or job.cancelling or self._timer.isActive()
        if seen and self.fresh and job.state == "running" and not outdated:
            self.looked.emit(seen[-1], job.text)

    def _done(self, outcome: _Outcome) -> None:
        result, anew, own = outcome
        if self._timer.isActive():
            return  # it has been changed meanwhile; the next check tells
        if anew:
            for key in (*KINDS, "methods"):
                self._values.pop(key, None)
        if own:
            self._loaded = False
            self._values |= {key: part for key, part in own.items() if key in self._values}
        if result.revision is not None:
            self._kind_of_data = (str(result.revision.modality), str(result.revision.task))
        self._finish(result)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, ProblemsError):
            problems = tuple(error.problems)
        elif isinstance(error, TLStudioError):
            problems = (Problem(error.field or self.tr("recipe"), error.what, error.remedy),)
        else:
            self._state.show_error(error)  # a bug: its dialog has the report, which says nothing to most people
            what = self.tr("Something went wrong inside the studio while this was checked.")
            problems = (Problem(self.tr("recipe"), what, self.tr("Change the last setting back, or choose another.")),)
        self._finish(self._refused(problems))

    def _ended(self, job: Job[_Outcome]) -> None:
        if job is self._job and job.state == "cancelled" and self.pending and not self._timer.isActive():
            # From the status bar: without a word the page would wait for ever.
            what = self.tr("The check was cancelled.")
            problem = Problem(self.tr("recipe"), what, self.tr("Change a setting, and it is checked again."))
            self._finish(self._refused((problem,)))

    def _refused(self, problems: tuple[Problem, ...]) -> Checked:
        return Checked(self.result.revision, self.result.learned, problems=problems, facts=self.result.facts)

    def _finish(self, result: Checked) -> None:
        self.pending = False
        self.result = result
        self.checked.emit(result)


def _offered(project: Project) -> dict[str, list[str]]:
    """List what the forms offer of a project, by what an option browses."""
    names = project.datasets()
    return {
        "run": [run.id for run in project.runs() if run.status in ENDED_WELL],
        "dataset": [f"{name}@{revision}" for name in names for revision in project.revisions(name)],
        "datasets": names,
    }


def _facts_of(names: Mapping[Kind, str], revision: Revision, registry: Registry) -> dict[Kind, Candidate]:
    """Read what is known of components by their names; nothing of those that are not there, which is told elsewhere."""
    chosen = (names["backbone"], names["head"], names["strategy"])
    situation = Situation(revision.modality, revision.task, *chosen)
    facts: dict[Kind, Candidate] = {}
    for kind, name in names.items():
        with contextlib.suppress(TLStudioError):
            found = getattr(registry, kind)(name)
            candidate = Candidate(found.name, found.title, found.description)
            facts[kind] = read_candidate(kind, candidate, registry, situation)
    return facts
