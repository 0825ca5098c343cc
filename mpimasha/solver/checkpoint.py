"""Checkpoints: a run on disk, whole or not at all, to go on from on any number of ranks.

A checkpoint is a folder ``checkpoints/round-000000000123`` of a run directory: ``shared.npz`` by rank 0, for each rank
``workers-000000-000004.npz`` with the state of workers 0 to 3, and, written last, ``complete.json`` with the SHA-256 of
the others.  Every file is written under another name, synced, renamed; the folder before is kept, older ones go.
"""

import hashlib
import json
import logging
import math
import re
import shutil
import sys
from pathlib import Path
from time import monotonic

import numpy as np

from mpimasha.errors import UserError
from mpimasha.files import replace_atomically, writing
from mpimasha.names import fits, shown
from mpimasha.solver import snapshot

CHANGEABLE = ("stop", "observe", "checkpoint", "transport")  # tables that do not change the rounds of a run
_FORMAT, _KEPT = 2, 2
_log = logging.getLogger("mpimasha")


class Checkpoints:
    """Those of one run directory.

    Parameters
    ----------
    folder : Path
        The run directory.
    identity : str
        Of the experiment: a checkpoint of another one is foreign.
    """

    def __init__(self, folder, identity):
        self.folder, self.identity = Path(folder) / "checkpoints", identity
        self._data = None

    # -- saving ------------------------------------------------------------------------------

    def save(self, run, notes):
        """Write the state of `run` after run.k rounds; collective.

        Parameters
        ----------
        notes : dict
            What the loop wants to know again, JSON.
        """
        where = self.folder / f"round-{run.k:012d}"
        digests = run.comm.gather_objects(run.comm.together(lambda: self._write_parts(run, where)))
        bills = run.comm.gather_objects((run.wire_bytes, run.ledger.seconds))
        if run.comm.rank == 0:
            record = {"format": _FORMAT, "identity": self.identity, "data": self._of_data(run), "round": run.k,
                      "ranks": run.comm.size, "bills": bills, "notes": notes,
                      "files": {name: digest for part in digests for name, digest in part.items()}}
            text = json.dumps(record, indent=2) + "\n"
        run.comm.together(lambda: self._complete(where, text) if run.comm.rank == 0 else None)

    def _write_parts(self, run, where):
        """{file of this rank: its digest}."""
        owned = run.fleet.owned
        files = {f"workers-{owned.start:06d}-{owned.stop:06d}.npz": {
            f"{name}/{m}": row for name, rows in snapshot.of_workers(run).items() for m, row in zip(owned, rows)}}
        if run.comm.rank == 0:
            files["shared.npz"] = snapshot.shared(run)
        with writing(self.folder):
            where.mkdir(parents=True, exist_ok=True)
            for name, arrays in files.items():
                replace_atomically(where / name, lambda file: np.savez(file, **arrays))
            return {name: _digest(where / name) for name in files}

    def _complete(self, where, text):
        with writing(self.folder):
            replace_atomically(where / "complete.json", lambda file: file.write(text.encode()))
            others = [other for other in sorted(self.folder.glob("round-*")) if other != where]
            kept = [other for other in others if other < where and (other / "complete.json").exists()][1 - _KEPT:]
            for other in others:  # later ones belong to a run that was taken up again before them
                if other not in kept:
                    shutil.rmtree(other, ignore_errors=True)

    # -- going on ----------------------------------------------------------------------------

    def restore(self, run):
        """Put the newest whole checkpoint into `run`, which has not started; its notes; collective.

        None if no checkpoint was ever completed: then the run begins anew.

        Raises
        ------
        UserError
            There were some, but none can be used.
        """
        comm = run.comm
        candidates = comm.broadcast_object(sorted(self.folder.glob("round-*"), reverse=True))
        if not comm.broadcast_object(any((where / "complete.json").exists() for where in candidates)):
            return None
        for where in candidates:
            found = _attempt(lambda: self._read(where, run))
            faults = [fault for _, fault in comm.gather_objects((None, found[1])) if fault]
            if not faults:
                record, common, own = found[0]
                snapshot.restore(run, common, own)
                run.resume_bill(*record["bills"][comm.rank if record["ranks"] == comm.size else 0])
                return record["notes"]
            if comm.rank == 0:
                _log.warning("checkpoint %s is not used: %s", where.name, faults[0])
        raise UserError(f"run directory {str(self.folder.parent)!r} holds no whole checkpoint to resume from: start "
                        f"the run anew in another folder")

    def _read(self, where, run):
        """(record, shared arrays, arrays of this rank's workers), or an exception that says what is wrong."""
        if not (where / "complete.json").exists():
            raise ValueError("it was never completed")
        record = json.loads((where / "complete.json").read_text(encoding="utf-8"))
        if record["format"] != _FORMAT or record["identity"] != self.identity:
            raise ValueError("it belongs to another experiment or version")
        if run.comm.rank == 0 and record["data"] != self._of_data(run):
            raise ValueError("the data of the problem have changed since")
        common, own = self._load(where, "shared.npz", record), {}
        for name in record["files"]:
            if name.startswith("workers-"):
                start, stop = map(int, name.removesuffix(".npz").split("-")[1:])
                if set(range(start, stop)) & set(run.fleet.owned):
                    own |= self._load(where, name, record)
        rows = {name: [own[f"{name}/{m}"] for m in run.fleet.owned] for name in snapshot.of_workers(run)}
        snapshot.check(run, common, rows)
        return record, common, rows

    def _of_data(self, run):
        """A digest of what the problem is, data included: files change under their names; None if it does not say."""
        if self._data is None:
            try:
                self._data = hashlib.sha256(run.problem.identity().encode()).hexdigest()
            except NotImplementedError:
                pass
        return self._data

    def _load(self, where, name, record):
        if _digest(where / name) != record["files"][name]:
            raise ValueError(f"{name} is damaged")
        with np.load(where / name) as arrays:
            return dict(arrays)


class Saving:
    """When a run writes checkpoints, and whether it begins with one; by default neither.

    Parameters
    ----------
    checkpoints : Checkpoints, optional
    every : int or str
        Rounds from one to the next, or a time as in "10min"; 0 for none but that of a run which is stopped early.
    resume : bool
        Begin with the newest.
    """

    def __init__(self, checkpoints=None, every=0, resume=False):
        self.checkpoints, self.resume = checkpoints, resume
        self._rounds, self._seconds = span(every) if checkpoints else (0, 0.0)
        self._after(0)

    def begin(self, run):
        """The notes of the checkpoint that `run` goes on from; None for a run from the start."""
        notes = self.checkpoints.restore(run) if self.resume else None
        if self.resume and notes is None and run.comm.rank == 0:
            _log.warning("there is no checkpoint yet: the run begins anew")
        self._after(run.k)
        return notes

    @property
    def timed(self):
        """Whether checkpoints are a time apart, not rounds."""
        return self._seconds > 0

    def due(self, k):
        """Whether to save after k rounds; where they are a time apart, ranks may disagree."""
        return k >= self.next_round or monotonic() >= self._next_time

    def save(self, run, notes):
        if self.checkpoints is not None:
            self.checkpoints.save(run, notes)
        self._after(run.k)

    def _after(self, k):
        self.next_round = k + self._rounds if self._rounds else sys.maxsize
        self._next_time = monotonic() + self._seconds if self._seconds else math.inf


_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def span(every):
    """(rounds, seconds) of ``checkpoint.every``, one of them 0."""
    if fits(every, int) and every >= 0:
        return int(every), 0.0
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|min|h)\s*", every) if isinstance(every, str) else None
    if match and float(match[1]) > 0:
        return 0, float(match[1]) * _UNITS[match[2]]
    raise UserError(f"checkpoint.every = {shown(every)} is no span: use a number of rounds, or a time such as '10min', "
                    f"'90s' or '2h', or 0 for none")


def identity(document):
    """Of an experiment, all but what does not change its rounds."""
    kept = {key: value for key, value in document.items() if key not in CHANGEABLE}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def _attempt(function):
    """(its result, None), or (None, what was wrong)."""
    try:
        return function(), None
    except ValueError as error:
        return None, str(error)
    except Exception as error:  # torn, foreign or missing files raise a dozen kinds
        return None, f"{type(error).__name__}: {error}"


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
