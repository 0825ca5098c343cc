"""What the user got wrong: one sentence with key, value and what would be right; exit code 2; nothing written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lanes import fast

import mpimasha
from mpimasha.commands import cli
from mpimasha.errors import UserError
from mpimasha.mpi import environment
from mpimasha.mpi.launcher import launcher_words
from mpimasha.problems.policy_evaluation import PolicyEvaluation
from mpimasha.problems.robust_regression import RobustRegression

ROOT = Path(mpimasha.__file__).resolve().parent.parent
HUGE = "1" + "0" * 400
DIGITS = "9" * 5000


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def given(tmp_path):
    """Writes an input file outside the working folder; returns its path."""
    def write(name, content):
        path = tmp_path / name
        if isinstance(content, dict):
            np.savez(path, **content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)
    return write


def refused(*argv, words=(), ranks=1):
    """The sentence with which a command line is refused before anything runs."""
    with pytest.raises(UserError) as caught:
        cli.validate(cli.parse(list(argv)), ranks)
    return checked(str(caught.value), words)


def checked(sentence, words):
    assert sentence and "\n" not in sentence and "Traceback" not in sentence
    for word in words:
        assert word in sentence
    assert os.listdir() == []
    return sentence


def with_settings(problem, *settings):
    return ["run", problem, *(word for setting in settings for word in ("--set", setting))]


@pytest.mark.parametrize("text, words", [
    ('wire = "0.25/L"', ["wire = '0.25/L'", "float64"]), ('wire = "f8,("', ["wire = 'f8,('"]),
    ("seed = 0x" + "f" * 5000, ["seed = a number of thousands of digits", "1000 digits"]),
    ("seeds = [1, 0x" + "f" * 5000 + "]\n[[compare]]", ["thousands of digits", "1000 digits"]),
    ("seeds = [1, 1]\n[[compare]]", ["seeds = [1, 1]", "different"]),
    ("[[compare]]\neach = 3", ["compare.each = 3", "no table"]),
    ('[[compare]]\nmethod = "eg"\neach.workers = [3]', ["method = 'eg'", "[method]"])])
def test_values_no_key_can_take_are_one_sentence(text, words, given):
    command = "compare" if "[[compare]]" in text else "run"
    refused(command, given("e.toml", text + "\n"), words=words)


@pytest.mark.parametrize("key, meant", [("kappa", "problem.kappa"), ("gamma", "method.gamma"),
                                        ("rounds", "stop.rounds")])
def test_a_key_without_its_table_is_told_where_it_belongs(key, meant):
    refused("run", "bilinear", "--set", f"{key}=100", words=[f"unknown key {key}: did you mean", meant])


def test_a_launcher_with_an_open_quote_is_one_sentence():
    with pytest.raises(UserError) as caught:
        launcher_words('"unclosed')
    checked(str(caught.value), ["--launcher", "unclosed", "No closing quotation"])


@pytest.mark.parametrize("make, key", [(RobustRegression, "lam"), (RobustRegression, "beta"),
                                       (PolicyEvaluation, "ridge")])
def test_whole_numbers_beyond_64_bits_are_the_floats_they_stand_for(make, key):
    kept = getattr(make(**{key: 2**65}), key)
    assert type(kept) is float and kept == 2.0**65


# -- command lines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("argv, words", [
    ([], ["required", "--help"]), (["run"], ["EXPERIMENT", "--help"]), (["sing"], ["'sing'", "'run'"]),
    (["run", "bilinear", "--sing"], ["--sing"]), (["run", "bilinear", "--seed", "x"], ["--seed", "'x'"]),
    (["run", "bilinear", "--workers", "2.5"], ["--workers", "'2.5'"]), (["list", "songs"], ["'songs'", "'problems'"]),
    (["run", "bilinea"], ["'bilinea'", "did you mean 'bilinear'?"]), (["run", ""], ["''", "bilinear"]),
    (["run", "a\nb"], [".toml", "bilinear"]), (["compare", "bilinear"], ["[[compare]]"]),
    (["run", "bilinear", "--set", "seed"], ["--set seed", "KEY=VALUE"]),
    (["run", "bilinear", "--set", "=3"], ["KEY=VALUE"]),
    (["run", "bilinear", "--set", "a\nb"], ["KEY=VALUE"]), (["run", "bilinear", "--si\nng"], ["unrecognized"])])
def test_a_command_line_that_makes_no_sense(argv, words):
    refused(*argv, words=words)


@pytest.mark.parametrize("value", ["-1", "abc", "nan", "inf", "", "5 minutes"])
@pytest.mark.parametrize("command", [["run", "bilinear"], ["compare", "x.toml"], ["resume", "a"], ["evaluate", "a"]])
def test_a_patience_that_is_no_number_of_seconds(command, value):
    refused(*command, "--stall-after", value, words=["--stall-after", repr(value), "such as 300, or 0"])


@pytest.mark.parametrize("ranks, words", [(0, ["-n 0", "at least 1"]), (-2, ["-n -2"]),
                                          (4, ["4 ranks", "workers = 3"])])
def test_a_number_of_ranks_that_cannot_be(ranks, words):
    refused("run", "bilinear", "--workers", "3", ranks=ranks, words=words)


# -- keys of any table -----------------------------------------------------------------------------


UNKNOWN = [("sed=3", "sed"), ("problem.dimm=3", "problem.dimm"), ("problem.workers=3", "problem.workers"),
           ("method.gama=1", "method.gama"), ("method.up='randk'", "method.up"), ("compressor.upp=1", "compressor.upp"),
           ("transport.nam=1", "transport.nam"), ("stop.round=3", "stop.round"), ("observe.evry=3", "observe.evry"),
           ("song.every=3", "song"), ("a.b.c=3", "a.b"), ("problem.=3", "problem."), (".seed=3", "seed"),
           ("'a\nb'=3", "'a"), ("problem.a\nb=3", "problem.a")]


@pytest.mark.parametrize("setting, key", UNKNOWN)
def test_an_unknown_key(setting, key):
    refused(*with_settings("bilinear", setting), words=["unknown key", key])


@pytest.mark.parametrize("setting, nearest", [("problem.dimm=3", "dim"), ("method.gama=1", "gamma"), ("sed=3", "seed"),
                                              ("stop.round=3", "rounds"), ("compressor.upp=1", "up")])
def test_an_unknown_key_is_told_its_nearest_neighbour(setting, nearest):
    refused(*with_settings("bilinear", setting), words=[f"did you mean '{nearest}'?"])


@pytest.mark.parametrize("setting, remedy", [
    ("problem.name='bilinar'", "'bilinear'"), ("method.name='masha'", "'masha"),
    ("transport.name='algather'", "'allgather'"),
    ("compressor.up='randq'", "'randk'"), ("wire='float16'", "float64 or float32"),
    ("method.name='masha1' method.reference='old'", "new or previous")])
def test_an_unknown_name(setting, remedy):
    settings = setting.split()
    key, _, value = settings[-1].partition("=")
    refused(*with_settings("bilinear", *settings), words=[key, value, remedy])


KEYS = ["workers", "seed", "wire", "problem.name", "problem.dim", "problem.kappa", "problem.heterogeneity",
        "problem.seed",
        "method.name", "method.gamma", "method.tau", "method.reference", "compressor.up", "transport.name",
        "stop.rounds", "stop.relative_error", "stop.residual", "stop.gap", "stop.seconds", "observe.every"]


@pytest.mark.parametrize("value", ("[]", "{}", "[1, 'a']", "true", "1979-05-27", "07:32:00", "nan", "-inf", "-3",
                                   "'a\nb'", "'\\u0000'", '"""a\nb"""', "''", pytest.param("-" + HUGE, id="huge")))
@pytest.mark.parametrize("key", KEYS)
def test_any_key_refuses_any_value_of_a_wrong_kind(key, value):
    refused(*with_settings("bilinear", f"{key}={value}"), words=[key])


@pytest.mark.parametrize("key", ["problem.data", "problem.loss", "problem.standardise", "problem.lam", "problem.beta",
                                 "problem.split", "problem.radius", "problem.seed"])
@pytest.mark.parametrize("value", ("[]", "{}", "1979-05-27", "nan", "-inf", "-3", "'a\nb'", "''"))
def test_any_key_of_a_regression_refuses_any_value_of_a_wrong_kind(key, value):
    refused(*with_settings("robust_regression", f"{key}={value}"), words=[key])


@pytest.mark.parametrize("table", ("problem", "method", "compressor", "transport", "stop", "observe"))
@pytest.mark.parametrize("value", ("3", "'eg'", "[]", "true"))
def test_a_table_that_is_no_table(table, value):
    refused(*with_settings("bilinear", f"{table}={value}"), words=[table, "table", f"[{table}]"])


@pytest.mark.parametrize("setting, words", [
    ("workers=0", ["at least 1"]), ("problem.dim=0", ["at least 1"]), ("problem.kappa=0.5", ["at least 1"]),
    ("problem.kappa=inf", []), ("problem.heterogeneity=inf", []), ("problem.heterogeneity=1e+200", []),
    ("problem.heterogeneity=" + HUGE, []), ("problem.kappa=" + HUGE, []), ("problem.dim=1000000000000", []),
    (f"problem.dim={2**70}", []), ("workers=10000000000", []), (f"workers={2**70}", []), ("seed=-1", ["at least 0"]),
    ("method.gamma=0", ["'theory'", "0.25/L"]), ("method.gamma='0/L'", ["0.25/L"]), ("method.gamma='abc'", ["0.25/L"]),
    ("method.gamma=inf", []), ("method.gamma=" + HUGE, []), ("method.name=masha1 method.tau=1", ["not including 1"]),
    ("method.name=masha1 method.tau=-0.1", ["from 0"]),
    ("method.participation=-0.5", ["a fraction below 1"]), ("method.participation=1.5", ["whole number"]),
    ("method.participation=11", ["10 workers"]), ("method.name=vr_masha1 method.batch=-3", ["fraction"]),
    ("method.name=three_pillars method.inner=0", ["from 1"]), ("method.name=local_eg method.steps=0", ["from 1"]),
    ("stop.rounds=2.5", ["whole number"]), ("stop.rounds=inf", []), ("observe.every=0", ["at least 1"]),
    ("observe.every=2.5", ["'log'"]), ("seed=" + DIGITS, [])])
def test_a_value_out_of_range(setting, words):
    settings = setting.split()
    key, _, value = settings[-1].partition("=")
    refused(*with_settings("bilinear", *settings), words=[key, value[:3] if len(value) < 20 else "", *words])


def test_a_run_without_any_limit():
    refused(*with_settings("bilinear", "stop.rounds=0", "stop.relative_error=0"), words=["stop", "stop.rounds"])


# -- compressors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [
    "", "randk:nan", "randk:inf", "randk:-inf", "randk:0", "randk:-3", "randk:1.5", "randk:uniform", "randk:true",
    "randk:", "randk:0.05:3", "randk:0.05,", "randk:0.05,sampling", "randk:0.05,sampling=", "randk:0.05,sampling=5",
    "randk:0.05,smpling=uniform", "randk:0.05,indices=no", "randk:0.05,indices=7", "randk:0.05,k=7", "randk:1000",
    "randk:0.05,wire=float16", "randk:0.05,wire=", "randk:0.05,wire=float32,wire=float64", "randk;5", "RANDK", "topk",
    "topk:0",
    "qsgd:1e9", "qsgd:0", "qsgd:2.5", "qsgd:nan", "qsgd:inf", "qsgd:true", "qsgd:4,bucket=nan", "qsgd:4,bucket=inf",
    "qsgd:4,bucket=-1", "qsgd:4,bucket=2.5", "qsgd:4,bucket=word", "permk:3", "identity:2", "maxabs:3", "a\nb",
    "randk:0.05,a\nb=1", "natural:3", "absmax:0", "absmax:1,nearest", "sign", "natural+randk", "randk+", "rank:999"])
def test_a_compressor_that_does_not_exist_or_does_not_fit(text):
    refused("run", "bilinear", "--compressor", text, words=["compressor.up" if "float16" not in text else "wire"])


def test_a_compressor_that_its_method_cannot_use():
    refused("run", "bilinear", "--compressor", "topk:5", words=["compressor.up", "topk:5", "unbiased", "masha2"])
    for method in ("eg", "og"):
        refused("run", "bilinear", "--method", method, "--compressor", "randk:5", words=["randk:5", method, "identity"])


def test_more_coordinates_than_the_dimension_has():
    for method, text in (("masha1", "randk:9"), ("masha2", "topk:9")):
        refused("run", "bilinear", "--set", "problem.dim=4", "--method", method, "--compressor", text,
                words=[text, "n = 8", "up to 8"])


def test_two_wires_that_contradict_each_other():
    refused("run", "bilinear", "--compressor", "randk:5,wire=float32", "--wire", "float64",
            words=["compressor.up", "'float32'", "'float64'", "keep one"])


@pytest.mark.parametrize("settings, words", [
    (["compressor.down=topk:5"], ["compressor.down", "topk:5", "unbiased", "masha2"]),
    (["compressor.down=permk"], ["compressor.down", "permk", "one server"]),
    (["compressor.down=randk:101"], ["compressor.down", "randk:101", "100"]),
    (["method.name=masha1", "compressor.refresh=randk:101"], ["compressor.refresh", "randk:101", "100"]),
    (["compressor.refresh=sign"], ["compressor.refresh", "sign", "diana_og", "use masha1 or masha2"]),
    (["method.name=masha_diana", "compressor.down=qsgd:4"], ["compressor.down", "use diana_og or masha1 or masha2"]),
    (["compressor.refresh=randq"], ["compressor.refresh", "randq"]),
    (["method.name=eg", "compressor.down=qsgd:4"], ["compressor.down", "qsgd:4", "eg", "masha1"]),
    (["method.name=og", "compressor.refresh=sign"], ["compressor.refresh", "sign", "og"]),
    (["compressor.mask=shared"], ["compressor.mask", "'shared'", "compressor.up", "randk"]),
    (["compressor.up=qsgd:4", "compressor.mask=shared"], ["compressor.mask", "randk"]),
    (["compressor.up=randk:5", "compressor.mask=both"], ["mask", "both", "own or shared"]),
    (["compressor.up=randk:5,indices=true", "compressor.mask=shared"], ["mask", "indices = false"]),
    (["compressor.up=randk:5", "transport.name=allreduce"], ["transport.name", "'allreduce'", "randk:5", "auto"]),
    (["compressor.down=qsgd:4,wire=float32", "wire=float64"], ["compressor.down", "float32", "float64"])])
def test_compressors_of_server_and_refresh_that_do_not_fit(settings, words):
    options = [word for setting in settings for word in ("--set", setting)]
    refused("run", "bilinear", *options, words=words)


def test_a_transport_that_cannot_carry_the_compressor():
    refused("run", "bilinear", "--compressor", "randk:5", "--transport", "dense",
            words=["transport.name", "'dense'", "randk", "auto"])


# -- what fits alone but not together --------------------------------------------------------------


@pytest.mark.parametrize("method", ("masha1", "masha2"))
def test_theory_with_a_tau_that_it_does_not_cover(method):
    refused("run", "bilinear", "--method", method, "--set", "method.tau=0.1",
            words=["method.gamma", "method.tau", "1/3", "0.1"])


def test_a_prox_with_masha2():
    refused("run", "robust_regression", "--method", "masha2", "--set", "problem.radius=0.5",
            words=["masha2", "problem.radius = 0", "masha1"])


def test_a_radius_beyond_the_region_where_the_problem_is_monotone():
    refused(*with_settings("robust_regression", "problem.radius=5"), words=["problem.radius = 5", "1.414"])


def test_a_target_that_the_problem_has_no_measure_for():
    refused(*with_settings("robust_regression", "problem.radius=0.5", "stop.gap=1e-3"),
            words=["stop.gap", "stop.residual"])


# -- experiment files ------------------------------------------------------------------------------


@pytest.mark.parametrize("content, words", [
    ("a = = 3", ["not valid TOML", "line 1"]), ("[problem\n", ["not valid TOML"]), (b"\xff\xfe", ["cannot be read"]),
    ("seed = " + DIGITS, []), ("seed = " + "[" * 3000, []), ("seed = 3\nseed = 4", ["not valid TOML"]),
    ('"a\\nb" = 3', ["unknown key"]), ('[problem]\n"a\\nb" = 3', ["unknown key"]), ("[problem.name]", ["problem.name"]),
    ("problem = 'bilinear'", ["problem", "[problem]"]), ("[[problem]]", ["problem", "[problem]"])])
def test_an_experiment_file_with_a_mistake(given, content, words):
    refused("run", given("experiment.toml", content), words=words)


def test_an_experiment_file_that_is_missing_or_a_folder(tmp_path):
    refused("run", "nowhere.toml", words=["'nowhere.toml'", "does not exist"])
    (tmp_path / "folder.toml").mkdir()
    refused("run", str(tmp_path / "folder.toml"), words=["folder.toml", "cannot be read"])


@pytest.mark.parametrize("blocks, words", [
    ("", ["[[compare]]"]), ("compare = 3", ["[[compare]]"]), ("compare = []", ["[[compare]]"]),
    ("compare = [1, 2]", ["[[compare]]"]),
    ("[compare]\nlabel = 'a'", ["[[compare]]"]), ("[[compare]]\nlabel = 'a'\n[[compare]]\nlabel = 'a'",
                                                  ["label = 'a'"]),
    ("[[compare]]\n[[compare]]", ["label = 'diana_og'"]), ("[[compare]]\nmethod = 'eg'", ["method", "[method]"]),
    ("[[compare]]\nmethod = []", ["method"]), ("[[compare]]\nmethod.name = 3", ["method.name"]),
    ("[[compare]]\nfoo = 3", ["foo"]),
    ("[[compare]]\nlabel = 'a'\ncompare = 3", ["compare"]), ("[[compare]]\nlabel = 3", ["label"]),
    ("[[compare]]\nlabel = []", ["label"]),
    ("[[compare]]\nlabel = ''", ["label"]), ("[[compare]]\nlabel = 1979-05-27", ["label"]),
    ("[[compare]]\n[[compare]]\nlabel = 'b'\ncompressor.up = 'randk:999'", ["randk:999"]),
    ("[[compare]]\n[[compare]]\nlabel = 'b'\nmethod.tau = 0.1", ["method.tau"]),
    ("[[compare]]\n[[compare]]\nlabel = 'b'\ntransport.name = 'dense'", ["transport.name"])])
def test_comparisons_with_a_mistake_in_any_block(given, blocks, words):
    refused("compare", given("experiment.toml", blocks), words=words)


@pytest.mark.parametrize("labels", fast([["a/b", "a-b"], [".."], ["."], ["x" * 300], ["table.txt"],
                                        ["comparison.png"]], 0), ids=lambda labels: labels[0][:12])
def test_labels_that_make_no_folder_of_their_own_are_refused_or_get_one(given, tmp_path, labels):
    text = "[problem]\ndim = 2\n[stop]\nrounds = 2\n" + "".join(f"[[compare]]\nlabel = '{label}'\n" for label in labels)
    try:
        options = cli.parse(["compare", given("experiment.toml", text), "-q", "--out", str(tmp_path / "new" / "out")])
        cli.validate(options, 1)
    except UserError as error:
        checked(str(error), ["label"])
        return
    assert cli.execute(options, None) == 0
    assert os.listdir(tmp_path / "new") == ["out"]
    assert len(list((tmp_path / "new" / "out").glob("*/final.npz"))) == len(labels)


# -- data ------------------------------------------------------------------------------------------


X, Y = np.random.default_rng(0).standard_normal((12, 3)), np.arange(12) % 2


@pytest.mark.parametrize("arrays, words", [
    ({"X": X}, ["X and y"]), ({"y": Y}, ["X and y"]), ({"X": X, "y": Y[:5]}, ["(12, 3)", "(5,)"]),
    ({"X": X * np.nan, "y": Y}, ["finite"]),
    ({"X": X, "y": np.full(12, np.inf)}, ["finite"]), ({"X": X, "y": np.ones(12)}, ["1 class", "two"]),
    ({"X": X, "y": np.arange(12)}, ["12 class", "two"]), ({"X": X[:4], "y": Y[:4]}, ["workers = 10", "4 samples"])],
    ids=["no y", "no X", "lengths", "nan", "inf", "one class", "twelve classes", "few samples"])
def test_data_that_are_no_classification(given, arrays, words):
    path = given("set.npz", arrays)
    refused(*with_settings("robust_regression", f"problem.data={path}"), words=["problem.data", path, *words])


def test_data_that_are_missing_torn_or_unknown(given, tmp_path):
    whole = Path(given("whole.npz", {"X": X, "y": Y})).read_bytes()
    for name, content in (("torn.npz", whole[:len(whole) // 2]), ("empty.npz", b""), ("text.npz", "hello")):
        refused(*with_settings("robust_regression", f"problem.data={given(name, content)}"),
                words=["problem.data", name, "cannot be read"])
    refused(*with_settings("robust_regression", "problem.data=no.npz"),
            words=["problem.data", "'no.npz'", "does not exist"])
    refused(*with_settings("robust_regression", "problem.data=mnist"), words=["'mnist'", "breast_cancer", ".npz"])


@pytest.mark.parametrize("settings, words", [
    (["problem.data=iris"], ["'iris'", "3 classes"]), (["workers=1000"], ["workers = 1000", "569"]),
    (["problem.lam=0"], ["problem.lam = 0"]),
    (["problem.beta=-1"], ["problem.beta = -1"]), (["problem.lam=inf"], ["problem.lam"]),
    (["problem.beta=inf"], ["problem.beta"]),
    (["problem.lam=1e308"], ["problem.lam"]), (["problem.beta=1e-320"], ["problem.beta"]),
    (["problem.radius=true"], ["problem.radius"])])
def test_a_regression_that_cannot_be(settings, words):
    refused(*with_settings("robust_regression", *settings), words=words)


# -- the folder of the results ---------------------------------------------------------------------


def test_a_folder_that_holds_something_is_not_written_into(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    refused("run", "bilinear", "--out", str(tmp_path / "full"), words=["--out", "full", "not an empty folder"])
    refused("run", "bilinear", "--out", str(tmp_path / "full" / "thesis.tex"), words=["--out", "thesis.tex"])
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    refused("run", "bilinear", "--out", str(tmp_path / "file" / "below"), words=["--out", "file"])
    refused("run", "bilinear", "--out", str(tmp_path / ("x" * 300)), words=["--out"])


def test_the_default_folder_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "taken").mkdir()
    monkeypatch.chdir(tmp_path / "taken")
    Path("runs").write_text("x")
    with pytest.raises(UserError, match="runs"):
        cli.execute(cli.parse(["run", "bilinear", "-q", "--set", "problem.dim=2", "--set", "stop.rounds=2"]), None)


# -- in a process of its own -----------------------------------------------------------------------


@pytest.mark.parametrize("argv, words", [
    (["run", "bilinea"], ["bilinear"]), (["run", "bilinear", "--compressor", "randk:101"], ["randk:101"]),
    (["run", "bilinear", "--set", "method.tau=0.1"], ["method.tau"]), (["run", "bilinear", "--sing"], ["--sing"])])
@pytest.mark.launches
def test_a_mistake_is_one_line_on_standard_error_and_exit_code_2(argv, words):
    env = environment.clean_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "mpimasha", *argv], env=env, capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    prefix, sentence = done.stderr[:-1].split("mpimasha: error: ")
    assert prefix == "" and done.stderr.endswith("\n")
    checked(sentence, words)
