"""What ended runs left on disk, by problem and label: what tables, figures and reports are made of."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

from mpimasha.errors import UserError
from mpimasha.experiment import results
from mpimasha.names import shown

_log = logging.getLogger("mpimasha")


@dataclass
class Study:
    """Runs that have ended.

    Attributes
    ----------
    groups : dict
        Label of a problem ("" where there is one) -> label -> list of Result, one a seed.
    documents : list of (Path, dict)
        The folders that were named, and their manifests.
    manifests : dict
        Label of a problem -> manifest of its first run.
    missing : int
        Runs that have not ended.
    """

    groups: dict = field(default_factory=dict)
    documents: list = field(default_factory=list)
    manifests: dict = field(default_factory=dict)
    missing: int = 0


def read(folders):
    """The `Study` in the folders of runs and comparisons; a label that stands in two gets the folder's name.

    Raises
    ------
    UserError
        A folder that is neither, that cannot be read, or in which no run has ended.
    """
    study, owners = Study(), {}
    for folder in map(Path, folders):
        study.documents.append((folder, _manifest(folder)))
        for run in _runs(folder):
            result, told = results.read(run), _manifest(run)
            if result is None:
                study.missing += 1
                continue
            on, label = told.get("on", ""), told["label"]
            if owners.setdefault((on, label), folder) != folder:
                label = f"{label} ({folder.name})"
            study.groups.setdefault(on, {}).setdefault(label, []).append(result)
            study.manifests.setdefault(on, told)
    if not study.groups:
        raise UserError(f"no run in {', '.join(shown(str(folder)) for folder in folders)} has ended: wait, or go on "
                        f"with mpimasha resume")
    if study.missing:
        _log.warning("%d runs have not ended and are left out", study.missing)
    return study


def _runs(folder):
    """The run directories in `folder`, in the order of the comparison."""
    found = [path.parent for path in folder.glob("**/manifest.json") if not results.is_comparison(path.parent)]
    return sorted(found, key=lambda run: (_manifest(run).get("place", 0), run))


def _manifest(folder):
    try:
        return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{shown(str(folder))} is no folder of a run or a comparison ({error}): give one, with its "
                        f"manifest.json") from None
