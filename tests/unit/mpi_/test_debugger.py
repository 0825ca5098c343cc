"""A process that is being debugged knows it."""

import sys
import types

import pytest

from mpimasha.commands import cli
from mpimasha.mpi import debugger


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No debugger at all, whatever runs these tests; returns a stand-in for /proc/self/status."""
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nTracerPid:\t0\nUid:\t0\n")
    monkeypatch.setattr(debugger, "_STATUS", status)
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    monkeypatch.setattr(sys, "monitoring", types.SimpleNamespace(DEBUGGER_ID=0, get_tool=lambda tool: None),
                        raising=False)
    monkeypatch.delitem(sys.modules, "pydevd", raising=False)
    assert not debugger.present()
    return status


def test_pdb_sets_a_trace_function(alone, monkeypatch):
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    assert debugger.present()


def test_debuggers_register_as_monitoring_tools(alone, monkeypatch):
    monkeypatch.setattr(sys.monitoring, "get_tool", lambda tool: "pydevd" if tool == 0 else None)
    assert debugger.present()


def test_debugpy_and_pycharm_load_pydevd(alone, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydevd", types.ModuleType("pydevd"))
    assert debugger.present()


def test_gdb_traces_the_process(alone):
    alone.write_text(alone.read_text().replace("TracerPid:\t0", "TracerPid:\t4711"))
    assert debugger.present()


def test_without_proc_nothing_is_known_of_tracers(alone):
    alone.unlink()
    assert not debugger.present()


@pytest.mark.parametrize("command, plain, debugged", [
    (["run", "bilinear"], 300.0, 0), (["run", "bilinear", "--stall-after", "0"], 0, 0),
    (["compare", "x.toml", "--stall-after", "20.5"], 20.5, 20.5), (["resume", "run"], 300.0, 0),
    (["evaluate", "run"], 300.0, 0), (["doctor"], 0, 0), (["list"], 0, 0),
])
def test_under_a_debugger_ranks_wait_for_ever_unless_told_otherwise(alone, monkeypatch, command, plain, debugged):
    options = cli.parse(command)
    assert cli._patience(options) == plain
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    assert cli._patience(options) == debugged
