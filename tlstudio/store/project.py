"""A project: a folder of data sets and runs."""

from __future__ import annotations

import contextlib
import errno
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tlstudio.api import DataError, ProjectError, RunError
from tlstudio.api.wording import did_you_mean
from tlstudio.store.creation import make_project
from tlstudio.store.files import reason, remedy, remove_stale_files, write_json_atomic
from tlstudio.store.format import DATASETS_NAME, PROJECT_NAME, RUNS_NAME, bring_up_to_date, read_facts
from tlstudio.store.index import INDEX_NAME, RunIndex
from tlstudio.store.lock import ProjectLock
from tlstudio.store.metrics import MetricRow
from tlstudio.store.process import ProcessMark
from tlstudio.store.run import Run
from tlstudio.store.run_folders import delete_folder, folders_in, make_run_folder, sweep
from tlstudio.store.run_record import RUN_NAME, RunSummary, is_run_folder, read_record, summary_of

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision


class Project:
    """An open project. Made by `create` and `open`; close it, or use it as a context manager.

    Any thread may call it. The folders are the truth: what another program changes is seen at the next call.

    Attributes:
        folder: Its folder, absolute.
        name: What the user calls it.
        writable: Whether it was opened for writing; then nobody else can.
        notes: Sentences on what was mended while opening, such as a rebuilt index.
    """

    def __init__(self, folder: Path, name: str, lock: ProjectLock | None) -> None:
        self.folder = folder
        self.name = name
        self.writable = lock is not None
        self.notes: list[str] = []
        self._lock = lock
        self._changing = threading.RLock()
        self._verified: dict[Path, list[tuple[int, int]]] = {}
        self._index = RunIndex(folder / INDEX_NAME if self.writable else None, self.runs_folder)
        self.notes += self._index.notes

    @classmethod
    def create(cls, folder: Path, name: str = "", *, program: str = "TL Studio") -> Project:
        """Make a project in a new or empty folder, and open it for writing.

        Args:
            folder: Its folder; folders above it are made where they are missing.
            name: What to call it; the folder's name if empty.
            program: What to call this program in the sentence that a second writer gets.

        Raises:
            ProjectError: There is a project or something else, or the folder cannot be made.
        """
        folder = folder.expanduser().absolute()
        name, lock = make_project(folder, name, program)
        try:
            return cls(folder, name, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, folder: Path, *, write: bool = True, program: str = "TL Studio") -> Project:
        """Open a project.

        Args:
            folder: Its folder.
            write: Whether to take the one right to write; a project of an older format is brought to this version's
                then, after a backup. Without, nothing is written into the folder at all, and a project of a newer
                format opens, too, if its ``min_reader`` says that this version finds its way in it.
            program: What to call this program in the sentence that a second writer gets.

        Raises:
            NewerProjectError: With `write`, for a project of a newer format that can only be read.
            ProjectError: Not a project, damaged, made by a newer version; with `write` also: read-only, or open
                for writing elsewhere.
        """
        folder = folder.expanduser().absolute()
        facts = read_facts(folder, write=write)
        name = str(facts.get("name") or folder.name)
        if not write:
            return cls(folder, name, None)
        lock = ProjectLock(folder)
        lock.acquire(program)
        try:
            notes = bring_up_to_date(folder)
            project = cls(folder, name, lock)
            project.notes = notes + project.notes
            project._sweep()
        except BaseException as error:
            lock.release()
            if isinstance(error, OSError):
                raise ProjectError(
                    f"The project {folder} cannot be written: {reason(error)}.", remedy(error), path=folder
                ) from error
            raise
        return project

    @staticmethod
    def is_project(folder: Path) -> bool:
        """Whether a folder looks like a project."""
        try:
            return (folder / PROJECT_NAME).is_file()
        except OSError:
            return False

    def rename(self, name: str) -> None:
        """Call the project something else; its folder stays where it is.

        Raises:
            ProjectError: The name is empty, or the project is open for reading only.
        """
        self._must_be_writable()
        if not (clean := " ".join(name.split())):
            raise ProjectError("A project needs a name.", "Give it one.", path=self.folder, field="name")
        path = self.folder / PROJECT_NAME
        write_json_atomic(path, {**read_facts(self.folder, write=True), "name": clean})
        self.name = clean

    @property
    def datasets_folder(self) -> Path:
        """Where the data sets are: ``<name>/r<number>``."""
        return self.folder / DATASETS_NAME

    @property
    def runs_folder(self) -> Path:
        """Where the run folders are."""
        return self.folder / RUNS_NAME

    def close(self) -> None:
        """Close the index and give the right to write back; harmless if it was done."""
        self._index.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def datasets(self) -> list[str]:
        """Names of the data sets, sorted."""
        return sorted(name for name in folders_in(self.datasets_folder) if self.revisions(name))

    def revisions(self, name: str) -> list[str]:
        """Revisions of a data set, oldest first; empty if there is no such data set."""
        if name not in folders_in(self.datasets_folder):
            return []
        found = (re.fullmatch(r"r([1-9][0-9]*)", part) for part in folders_in(self.datasets_folder / name))
        return [f"r{number}" for number in sorted(int(match[1]) for match in found if match)]

    def dataset(self, name: str, revision: str = "") -> Revision:
        """Open a revision of a data set.

        Args:
            name: The data set.
            revision: The revision; the latest if empty.

        Raises:
            DataError: There is no such data set or revision (the sentence names near ones), or it is damaged.
            ProjectError: The project's folder is no longer there.
        """
        from tlstudio.data.revision import TABLE_FILE, Revision
        from tlstudio.data.revision_facts import FACTS_FILE

        self._must_be_there()
        revisions = self.revisions(name)
        if not revisions:
            raise DataError(
                f"There is no data set {name!r} in the project {self.name}.",
                did_you_mean(name, self.datasets(), "Data sets") or "Import one first.",
                path=self.folder,
                field="dataset.name",
            )
        if revision and revision not in revisions:
            raise DataError(
                f"The data set {name!r} has no revision {revision!r}.",
                f"Revisions: {', '.join(revisions)}.",
                path=self.datasets_folder / name,
                field="dataset.revision",
            )
        folder = self.datasets_folder / name / (revision or revisions[-1])
        # Tables may have gigabytes: one that has not been touched since it was verified is not read again.
        stamps: list[tuple[int, int]] = []
        with contextlib.suppress(OSError):  # a file that is gone: opening says so
            stats = [(folder / file).stat() for file in (TABLE_FILE, FACTS_FILE)]
            stamps = [(stat.st_mtime_ns, stat.st_size) for stat in stats]
        opened = Revision.open(folder, verify=not stamps or self._verified.get(folder) != stamps)
        self._verified[folder] = stamps
        return opened

    def runs(self) -> list[RunSummary]:
        """All runs, newest first, as they are now."""
        rows = self._index.summaries(writable=self.writable)
        return [Run(self.runs_folder / row.id).as_it_lives(row) for row in rows]

    def metric_rows(self, run_id: str = "") -> list[MetricRow]:
        """What was measured at the end of each epoch of a run, or of all runs, as of now; by run and epoch."""
        return self._index.metric_rows(run_id)

    def run(self, id: str) -> Run:  # noqa: A002  the word for it everywhere else
        """Find a run.

        Raises:
            RunError: There is no such run; the sentence names near ones.
            ProjectError: The project's folder is no longer there.
        """
        self._must_be_there()
        names = folders_in(self.runs_folder)
        if id in names and is_run_folder(self.runs_folder / id):
            return Run(self.runs_folder / id)
        raise RunError(
            f"There is no run {id!r} in the project {self.name}.",
            did_you_mean(id, [summary.id for summary in self.runs()], "Newest runs"),
            path=self.runs_folder,
        )

    def new_run(
        self,
        recipe_toml: str,
        *,
        dataset: str,
        revision: str,
        backbone: str,
        head: str,
        strategy: str,
        status: str = "running",
        start_from: str = "",
        made_by: str = "",
        methods: Sequence[str] = (),
        shots: int = 0,
        fill: Callable[[Path, str], None] | None = None,
    ) -> Run:
        """Make the folder of a run: of one that is about to start in this process, or of one that waits for its turn.

        Args:
            recipe_toml: The complete recipe.
            dataset: Name of the data set.
            revision: Its revision.
            backbone: Name of the backbone.
            head: Name of the task head.
            strategy: Name of the strategy, which becomes a part of the id.
            status: ``"running"``, or ``"queued"`` for one that waits.
            start_from: The run or exported model that it takes its backbone from; empty: none.
            made_by: What has made it of other runs, which is a part of the id in place of the strategy; empty: it is
                trained.
            methods: Names of its methods.
            shots: It learns from so many samples of each class; 0: all.
            fill: Puts all else into the folder, given the run's id; the run is there with it or not at all.

        Raises:
            ProjectError: The project is open for reading only, or the disk is full.
        """
        self._must_be_writable()
        values = {
            "dataset": dataset,
            "revision": revision,
            "backbone": backbone,
            "head": head,
            "strategy": strategy,
            "start_from": start_from,
            **({"made_by": made_by} if made_by else {}),
            **({"methods": list(methods)} if methods else {}),
            **({"shots": shots} if shots else {}),
        }
        with self._changing:
            try:
                folder = make_run_folder(self.runs_folder, recipe_toml, values, status, made_by or strategy, fill)
            except OSError as error:
                raise ProjectError(
                    f"A new run cannot be made in {self.runs_folder}: {reason(error)}.", remedy(error), path=self.folder
                ) from error
        return Run(folder)

    def resume_run(self, id: str) -> Run:  # noqa: A002  the word for it everywhere else
        """Take up a run that is queued, was cancelled or interrupted, or has failed; its status is ``"running"`` then.

        Raises:
            RunError: There is no such run, it is damaged, done or still running.
            ProjectError: The project is open for reading only, or the disk is full.
        """
        self._must_be_writable()
        run = self.run(id)
        with self._changing:
            summary = run.as_it_lives(summary_of(id, read_record(run.folder), writable=True))
            match "running" if run.is_under_way else summary.status:
                case "running":
                    raise RunError(f"Run {id} is still running.", path=run.folder)
                case "queued":
                    self._take(run)
                    return run
                case "done":
                    remedy = (
                        f"tlstudio train PROJECT --recipe {run.recipe_path} repeats it, with other options if you like."
                    )
                    raise RunError(f"Run {id} is done: there is nothing to go on with.", remedy, path=run.folder)
                case "damaged":
                    raise RunError(summary.error, path=run.folder)
            run.claim(ProcessMark.here())
        return run

    def delete_run(self, id: str) -> None:  # noqa: A002  the word for it everywhere else
        """Delete a run with everything in its folder, for good.

        Raises:
            RunError: There is no such run, or it is still running.
            ProjectError: The project is open for reading only, or the folder cannot be deleted.
        """
        self._must_be_writable()
        run = self.run(id)
        with self._changing:
            if run.is_under_way:
                raise RunError(f"Run {id} is still running.", "Cancel it first.", path=run.folder)
            before = None
            if summary_of(id, read_record(run.folder), writable=True).status == "queued":
                before = run.read_json(RUN_NAME)
                self._take(run)  # or the queue could begin it while its folder goes
                run.finish("cancelled")
            try:
                delete_folder(run.folder)
            except OSError as error:
                if before is not None:
                    run.write_json(RUN_NAME, before)  # it keeps its place in the queue
                raise ProjectError(
                    f"Run {id} could not be deleted: {reason(error)}.", remedy(error), path=run.folder
                ) from error

    def _take(self, run: Run) -> None:
        if not run.take(writable=True):
            raise RunError(f"Run {run.id} was taken out of the queue in the meantime.", path=run.folder)

    def set_note(self, id: str, note: str, tags: Iterable[str] = ()) -> None:  # noqa: A002  as above
        """Keep the user's note and tags of a run.

        Raises:
            RunError: There is no such run.
            ProjectError: The project is open for reading only.
        """
        self._must_be_writable()
        self.run(id).set_note(note, tuple(tags))

    def rebuild_index(self) -> None:
        """Make the index anew from the run folders."""
        self._index.rebuild()

    def _must_be_writable(self) -> None:
        if not self.writable:
            raise ProjectError(
                f"The project {self.folder} is open for reading only.",
                "Open it for writing to change it.",
                path=self.folder,
            )
        self._must_be_there()

    def _must_be_there(self) -> None:
        if not self.folder.exists():
            error = FileNotFoundError(errno.ENOENT, "", str(self.folder))
            what = f"The folder of the project {self.name} is no longer there: {self.folder}."
            raise ProjectError(what, remedy(error), path=self.folder) from error

    def _sweep(self) -> None:
        """Remove what a crash has left half made or half deleted."""
        for folder in (self.datasets_folder, self.runs_folder):
            folder.mkdir(exist_ok=True)
            sweep(folder)
        for folder in (self.folder, *(self.runs_folder / name for name in folders_in(self.runs_folder))):
            remove_stale_files(folder)
