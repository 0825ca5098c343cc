"""A run directory: manifest, rows, final iterate."""

import json
import os
import platform
import socket
from datetime import datetime
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

import mpimasha
from mpimasha.errors import UserError
from mpimasha.experiment import plugins
from mpimasha.files import replace_atomically, writing
from mpimasha.mpi import library
from mpimasha.names import shown
from mpimasha.solver.observers import Observer, finite


class RunDirectory(Observer):
    """Writes manifest.json at the start, final.npz and summary.json at the end (rank 0).

    The folder is made when the first round is about to start: a mistake in the
    experiment leaves nothing behind.
    """

    def __init__(self, path, experiment, ranks, resume=False):
        self.path, self.experiment, self.ranks, self.resume = Path(path), experiment, ranks, resume

    def start(self, run):
        told = manifest(run, self.experiment, self.ranks)
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if self.resume:
                (self.path / "summary.json").unlink(missing_ok=True)  # of an earlier end: killed now, it has not ended
                first = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
                again = {key: told[key] for key in ("started", "versions", "mpi", "ranks", "slurm_job", "plugins")}
                again = [*first.get("resumed", []), {"round": run.k, **again}]
                told = first | {"experiment": told["experiment"], "targets": told["targets"], "resumed": again}
            write_json(self.path / "manifest.json", told)

    def finish(self, run, result):
        result.summary["out"] = str(self.path)
        arrays = {name: getattr(result, name) for name in ("z", "w", "average")}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        with writing(self.path):
            replace_atomically(self.path / "final.npz", lambda file: np.savez(file, **arrays))
            write_json(self.path / "summary.json", result.summary)


def document_of(folder):
    """(document, label) of the experiment in a run directory; the label is None if it is a comparison."""
    try:
        told = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
        if "comparison" in told:
            return dict(told["comparison"]), None
        return dict(told["experiment"]), told["label"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"run directory {shown(str(folder))} cannot be read ({error}): give the folder of a run, with "
                        f"its manifest.json") from None


def is_comparison(folder):
    """Whether the manifest in `folder` is that of a comparison, which has its runs in folders below."""
    try:
        return "comparison" in json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def plugins_of(folder, below=False):
    """What `plugins.loaded` told when the run, or those `below` it too, were made or last gone on with."""
    found = {}
    for path in sorted(Path(folder).glob("**/manifest.json" if below else "manifest.json")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            for entry in (told.get("resumed") or [told])[-1].get("plugins", []):
                found[str(entry["path"])] = {"path": str(entry["path"]), "sha256": entry["sha256"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # said of it by whoever needs the rest
    return list(found.values())


def announce(folder, document, resume=False):
    """Write the manifest of a comparison, before its first run, or its settings as they are now."""
    path = Path(folder) / "manifest.json"
    with writing(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = {"started": _now(), "versions": _versions(), "plugins": plugins.loaded()}
        first = json.loads(path.read_text(encoding="utf-8")) if resume else new
        write_json(path, first | {"comparison": document})


def read(folder):
    """The `Result` that a run left in its folder when it ended, however it did; None if it has not."""
    from mpimasha.solver.run import Result
    folder = Path(folder)
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
        with np.load(folder / "final.npz") as final:
            arrays = [final[name] if name in final.files else None for name in ("z", "w", "average")]
        return Result(summary["status"], rows, *arrays, summary)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise UserError(f"run directory {shown(str(folder))} cannot be read ({error}): move it away, and resume to run "
                        f"it anew") from None


def manifest(run, experiment, ranks):
    """Everything needed to repeat the run, and where it took place."""
    return {
        "experiment": experiment.document, "label": experiment.label, "on": experiment.on, "place": experiment.place,
        "seed": run.seed, "wire": run.wire.name,
        "workers": run.fleet.workers, "gamma": run.method.gamma, "tau": run.method.parameters["tau"],
        "targets": {name: getattr(run.stop, name) for name in run.stop.targets},
        "basis": run.method.basis, **{name: run.constants.known(name) for name in ("L", "mu", "L_rms")},
        "started": _now(), "versions": _versions(),
        "mpi": library.name(run.comm), "machine": platform.machine(),
        "ranks": [dict(zip(("rank", "host", "pid"), (r, *where))) for r, where in enumerate(ranks)],
        "slurm_job": os.environ.get("SLURM_JOB_ID"), "plugins": plugins.loaded(),
    }


def _now():
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _versions():
    import numba
    return {"mpimasha": mpimasha.__version__, "python": platform.python_version(), "numpy": np.__version__,
            "numba": numba.__version__}


def where():
    """(host, pid) of this rank."""
    return socket.gethostname(), os.getpid()


def default_folder(name):
    """runs/<name>-<time>, not existing yet."""
    base = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, count = base, 1
    while folder.exists():
        count += 1
        folder = base.with_name(f"{base.name}-{count}")
    return folder


def check_folder(path, shared=False):
    """Refuse a folder that holds something already, or that cannot be made.

    `shared`: another share of the comparison may just be writing its manifest there.
    """
    path = Path(path)
    try:
        entries = path.iterdir() if path.is_dir() else ()
        held = [entry for entry in entries if not (shared and entry.name.startswith("."))]
        if path.exists() and (not path.is_dir() or held):
            raise UserError(f"--out {str(path)!r} exists and is not an empty folder: give a new one, nothing is "
                            f"overwritten")
        parent = next(p for p in [path, *path.absolute().parents] if p.exists())
    except OSError as error:
        raise UserError(f"--out {shown(str(path))} cannot be made: {error.strerror}; give another folder") from None
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"--out {str(path)!r} cannot be made: {str(parent)!r} is not a writable folder; give another "
                        f"one")


def write_json(path, value):
    text = json.dumps(finite(value), indent=2, default=str) + "\n"
    replace_atomically(path, lambda file: file.write(text.encode()))
