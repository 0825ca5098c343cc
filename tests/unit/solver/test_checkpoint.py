"""Checkpoints on disk: whole or not used, the previous one kept; spans and identities."""

import json
import os

import numpy as np
import pytest

import mpimasha as mm
from mpimasha.commands import cli
from mpimasha.errors import UserError
from mpimasha.mpi import launch
from mpimasha.solver import checkpoint
from mpimasha.solver.checkpoint import Checkpoints, Saving, identity, span
from mpimasha.solver.observers import Observer

METHOD = mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.8)
LAST, BEFORE = "round-000000000020", "round-000000000010"


class First(Observer):
    """The round a run begins with."""

    def start(self, run):
        self.k = run.k


def solved(folder=None, every=10, resume=False, rounds=25, name="id", dim=4, workers=3, method=METHOD):
    """(result, round it began with)."""
    first = First()
    saving = folder and Saving(Checkpoints(folder, name), every, resume)
    problem = mm.Bilinear(dim=dim, workers=workers)
    result = mm.solve(problem, method, saving=saving, observers=[first], reference=None,
                      stop=mm.Stop(rounds=rounds, relative_error=0))
    return result, first.k


@pytest.fixture
def folder(tmp_path):
    """With checkpoints of rounds 10 and 20."""
    solved(tmp_path)
    return tmp_path


@pytest.fixture
def warned(monkeypatch):
    said = []
    monkeypatch.setattr(checkpoint._log, "warning", lambda text, *values: said.append(text % values))
    return said


def names(folder):
    return sorted(os.listdir(folder / "checkpoints"))


# -- what is written -------------------------------------------------------------------------------


def test_a_checkpoint_is_three_files_and_the_two_newest_are_kept(folder):
    assert names(folder) == [BEFORE, LAST]
    assert sorted(os.listdir(folder / "checkpoints" / LAST)) == ["complete.json", "shared.npz",
                                                                 "workers-000000-000003.npz"]
    solved(folder, 10, resume=True, rounds=45)
    assert names(folder) == ["round-000000000030", "round-000000000040"]


@pytest.mark.parametrize("every, saved", [(0, []), (30, []), ("1h", []), (25, [25]), (12, [12, 24]), (1, [24, 25])])
def test_they_are_as_far_apart_as_was_asked(tmp_path, every, saved):
    solved(tmp_path, every)
    found = names(tmp_path) if saved else os.listdir(tmp_path)
    assert found == [f"round-{k:012d}" for k in saved]


def test_saving_changes_nothing(tmp_path):
    assert solved(tmp_path, 3)[0].z.tobytes() == solved()[0].z.tobytes()


def test_leftovers_of_later_rounds_go_and_no_whole_one_with_them(folder):
    """What a killed run was writing, or a damaged one that was passed over, stands in nobody's way."""
    for k in (21, 22, 23):
        (folder / "checkpoints" / f"round-{k:012d}").mkdir()
    (folder / "checkpoints" / "round-000000000015").mkdir()
    solved(folder, 1, resume=True, rounds=21)
    assert names(folder) == [LAST, "round-000000000021"]
    assert solved(folder, 0, resume=True)[1] == 21


# -- what is read ----------------------------------------------------------------------------------


def torn(path):
    path.write_bytes(path.read_bytes()[:-30])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def emptied(path):
    path.write_bytes(b"")


def listed(path):
    path.write_text("[]")


def of_another_format(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


def of_another_experiment(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"identity": "other"}))


def without_files(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": {}}))


def replaced(change):
    """Arrays changed, with the digest that belongs to them."""
    def damage(path):
        with np.load(path) as old:
            arrays = dict(old)
        change(arrays)
        np.savez(path, **arrays)
        complete = path.parent / "complete.json"
        record = json.loads(complete.read_text())
        record["files"][path.name] = checkpoint._digest(path)
        complete.write_text(json.dumps(record))
    return damage


def _longer(name):
    return replaced(lambda arrays: arrays.update({name: np.zeros(len(arrays[name]) + 1)}))


def _single(name):
    return replaced(lambda arrays: arrays.update({name: arrays[name].astype(np.float32)}))


def _gone(name):
    return replaced(lambda arrays: arrays.pop(name))


WORKERS = "workers-000000-000003.npz"
DAMAGES = {
    "torn shared": ("shared.npz", torn), "flipped shared": ("shared.npz", flipped),
    "empty shared": ("shared.npz", emptied), "no shared": ("shared.npz", os.unlink),
    "torn workers": (WORKERS, torn), "flipped workers": (WORKERS, flipped), "no workers": (WORKERS, os.unlink),
    "not complete": ("complete.json", os.unlink), "cut complete": ("complete.json", torn),
    "empty complete": ("complete.json", emptied), "no record": ("complete.json", listed),
    "format": ("complete.json", of_another_format), "foreign": ("complete.json", of_another_experiment),
    "no files": ("complete.json", without_files),
    "longer z": ("shared.npz", _longer("method.z")), "single z": ("shared.npz", _single("method.z")),
    "no z": ("shared.npz", _gone("method.z")), "no ledger": ("shared.npz", _gone("ledger")),
    "longer row": (WORKERS, _longer("method.Fw_m/1")), "single row": (WORKERS, _single("method.Fw_m/1")),
    "no worker": (WORKERS, _gone("method.Fw_m/2")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over_with_a_warning(folder, warned, damage):
    file, spoil = DAMAGES[damage]
    spoil(folder / "checkpoints" / LAST / file)
    again, first = solved(folder, 0, resume=True)
    assert first == 10
    assert len(warned) == 1 and f"checkpoint {LAST} is not used: " in warned[0]
    assert again.z.tobytes() == solved()[0].z.tobytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_whole_one_a_sentence_says_so(folder, warned, damage):
    file, spoil = DAMAGES[damage]
    for name in (LAST, BEFORE):
        spoil(folder / "checkpoints" / name / file)
    if damage == "not complete":  # none ever was: the run begins anew
        assert solved(folder, 0, resume=True)[1] == 0
        return
    with pytest.raises(UserError, match="holds no whole checkpoint to resume from: start the run anew") as caught:
        solved(folder, 0, resume=True)
    assert str(folder) in str(caught.value)
    assert [LAST in warned[0], BEFORE in warned[1]] == [True, True]


@pytest.mark.parametrize("other", [{"dim": 5}, {"workers": 4}, {"name": "other"},
                                   {"method": mm.Masha2(mm.TopK(2), gamma=0.1)}, {"method": mm.Extragradient()}])
def test_those_of_another_experiment_are_not_used(folder, warned, other):
    with pytest.raises(UserError, match="no whole checkpoint"):
        solved(folder, 0, resume=True, **other)
    assert len(warned) == 2


@pytest.mark.parametrize("begun", [False, True])
def test_without_any_that_was_completed_a_run_begins_anew(tmp_path, warned, begun):
    if begun:  # and killed in the midst of its first
        (tmp_path / "checkpoints" / LAST).mkdir(parents=True)
        (tmp_path / "checkpoints" / LAST / "shared.npz").touch()
    again, first = solved(tmp_path, 10, resume=True)
    assert first == 0 and again.z.tobytes() == solved()[0].z.tobytes()
    assert warned == ["there is no checkpoint yet: the run begins anew"]
    assert names(tmp_path) == [BEFORE, LAST]


def test_restoring_is_all_or_nothing(folder, warned):
    """A state that does not fit leaves nothing in the run that it was tried on."""
    _longer("method.Fw_m/2")(folder / "checkpoints" / LAST / WORKERS)
    _longer("method.Fw_m/2")(folder / "checkpoints" / BEFORE / WORKERS)
    run = mm.Run(mm.Bilinear(dim=4, workers=3), METHOD)
    before = run.method.iterate.copy()
    with pytest.raises(UserError):
        Checkpoints(folder, "id").restore(run)
    assert run.k == 0 and run.method.iterate.tobytes() == before.tobytes()


# -- a disk that fails -----------------------------------------------------------------------------


@pytest.mark.parametrize("when", range(3))
def test_a_save_that_fails_half_way_leaves_the_previous_usable(folder, monkeypatch, when):
    written, real = [], checkpoint.replace_atomically

    def fail(path, write):
        if len(written) == when:
            raise OSError(28, "No space left on device")
        written.append(path)
        real(path, write)

    monkeypatch.setattr(checkpoint, "replace_atomically", fail)
    with pytest.raises(UserError, match="No space left on device.*make room"):
        solved(folder, 10, resume=True, rounds=45)
    monkeypatch.undo()
    assert names(folder) == [BEFORE, LAST, "round-000000000030"]
    again, first = solved(folder, 10, resume=True, rounds=45)
    assert first == 20 and names(folder) == ["round-000000000030", "round-000000000040"]
    assert again.z.tobytes() == solved(rounds=45)[0].z.tobytes()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        solved(tmp_path)


# -- spans and identities --------------------------------------------------------------------------


@pytest.mark.parametrize("every, wanted", [
    (0, (0, 0)), (1, (1, 0)), (700, (700, 0)), ("10min", (0, 600)), ("90s", (0, 90)), ("2h", (0, 7200)),
    ("0.5 h", (0, 1800)), (" 1.5min ", (0, 90)), (np.int64(3), (3, 0))])
def test_spans(every, wanted):
    assert span(every) == wanted


@pytest.mark.parametrize("every", [-1, 1.5, True, None, "", "10", "min", "10 days", "-1s", "0s", "0.0min", "1e3s",
                                   "10min later", "ten s", [1], "5\nx"])
def test_what_is_no_span_is_refused(every):
    with pytest.raises(UserError, match="^checkpoint.every = .* is no span: use a number of rounds, or a time"):
        span(every)


DOCUMENT = {"problem": {"name": "bilinear", "dim": 4}, "method": {"gamma": 0.1}, "compressor": {"up": "qsgd:4"},
            "workers": 3, "seed": 1, "wire": "float32", "stop": {"rounds": 5}, "observe": {"every": 3},
            "checkpoint": {"every": 7}, "transport": {"name": "star"}}


@pytest.mark.parametrize("key", DOCUMENT)
def test_an_identity_is_of_all_that_changes_the_rounds_and_of_nothing_else(key):
    without = {name: value for name, value in DOCUMENT.items() if name != key}
    other = DOCUMENT | {key: {"name": "other"} if isinstance(DOCUMENT[key], dict) else 9}
    same = key in ("stop", "observe", "checkpoint", "transport")
    assert [identity(DOCUMENT) == identity(changed) for changed in (without, other)] == [same, same]


def test_an_identity_outlives_the_manifest_and_does_not_know_the_order_of_keys():
    assert identity(json.loads(json.dumps(DOCUMENT))) == identity(dict(reversed(DOCUMENT.items()))) \
        == identity(DOCUMENT)


# -- on the command line ---------------------------------------------------------------------------


def command(*argv):
    return launch.guard(lambda: cli.execute(cli.parse(list(argv)), None), None)


@pytest.mark.parametrize("manifest", [None, "", "{", "[]", "3", '{"label": "x"}', '{"experiment": {}}',
                                      '{"experiment": {"seed": "x"}, "label": "x"}',
                                      '{"experiment": 3, "label": "x"}', "folder", "file"])
def test_resuming_what_is_no_run_is_a_sentence_and_code_2(tmp_path, capsys, monkeypatch, manifest):
    monkeypatch.chdir(tmp_path)
    if manifest == "file":
        (tmp_path / "here").touch()
    elif manifest is not None:
        (tmp_path / "here").mkdir()
        path = tmp_path / "here" / "manifest.json"
        path.mkdir() if manifest == "folder" else path.write_text(manifest)
    assert command("resume", "here") == 2
    said = capsys.readouterr().err
    assert said.startswith("mpimasha: error: ") and said.count("\n") == 1
    assert "here" in said or "seed" in said


def test_a_run_that_has_ended_stays_as_it_is_when_resumed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("run", "bilinear", "--set", "stop.rounds=5", "--set", "problem.dim=4", "--out", "here", "-q") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert command("resume", "here") == 0
    said = capsys.readouterr()
    assert "after 5 rounds" in said.out and "nothing to do: the run has ended" in said.err
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}


@pytest.mark.parametrize("value", ["-1", "1.5", "soon", "true"])
def test_a_bad_span_in_an_experiment_is_refused(value):
    with pytest.raises(UserError, match="checkpoint.every"):
        command_line = ["run", "bilinear", "--set", f"checkpoint.every={value}"]
        cli.validate(cli.parse(command_line), 1)
