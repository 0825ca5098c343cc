"""What tests read from a run directory."""

import json

import numpy as np


def round_of(path):
    return int(path.name.removeprefix("round-"))


def whole(folder):
    """Rounds of the whole checkpoints."""
    return {round_of(path.parent) for path in (folder / "checkpoints").glob("round-*/complete.json")}


def content(folder):
    """(bytes of the arrays, rows) of an ended run, but for what depends on time and ranks."""
    with np.load(folder / "final.npz") as final:
        arrays = {name: final[name].tobytes() for name in final.files}
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return arrays, [{key: value for key, value in row.items() if key not in ("seconds", "wire_bytes")} for row in rows]


def ranks_of(folder):
    """Process ids of the ranks that work, or worked last, on the run."""
    told = json.loads((folder / "manifest.json").read_text())
    return [rank["pid"] for rank in (told.get("resumed") or [told])[-1]["ranks"]]
