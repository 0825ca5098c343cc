"""Experiments: every key of a file or of --set reaches the object it names, with its default where it is absent."""

import dataclasses
import functools
import inspect
import textwrap
import typing

import numpy as np
import pytest

from mpimasha.commands import cli
from mpimasha.compressors import COMPRESSORS
from mpimasha.errors import UserError
from mpimasha.experiment import config
from mpimasha.methods import METHODS
from mpimasha.methods.diana_og import DianaOG
from mpimasha.methods.masha1 import Masha1
from mpimasha.problems import PROBLEMS
from mpimasha.problems.bilinear import Bilinear
from mpimasha.problems.robust_regression import RobustRegression
from mpimasha.solver.stop import Stop

WHOLE = """
    workers = 7
    seed = 3
    wire = "float32"

    [problem]
    name = "bilinear"
    dim = 6
    kappa = 20
    heterogeneity = 0.25
    seed = 9

    [method]
    name = "masha1"
    gamma = "0.25/L"
    tau = 0.8
    reference = "previous"

    [compressor]
    up = "randk:3,sampling=uniform"

    [transport]
    name = "allgather"

    [stop]
    rounds = 50
    relative_error = 0
    residual = 1e-3
    gap = 1e-4
    seconds = 2.5

    [observe]
    every = 5
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(text, name="experiment.toml"):
    with open(name, "w") as file:
        file.write(textwrap.dedent(text))
    return name


def built(*argv):
    """The experiments a command line stands for."""
    return cli._experiments(cli.parse(list(argv)))


def only(*argv):
    experiment, = built("run", *argv)
    return experiment


# -- the file --------------------------------------------------------------------------------------


def test_every_key_of_a_file_reaches_the_object_it_names():
    e = only(write(WHOLE))
    problem, method = e.problem(), e.method()
    assert type(problem) is Bilinear and type(method) is Masha1
    assert (problem.workers, problem.dim, problem.kappa, problem.heterogeneity, problem.seed) == (7, 6, 20, 0.25, 9)
    assert (method._gamma, method._tau, method.reference) == ("0.25/L", 0.8, "previous")
    assert (method.compressor.name, method.compressor.k, method.compressor.sampling) == ("randk", 3, "uniform")
    assert (e.seed, e.wire, e.transport, e.every) == (3, "float32", "allgather", 5)
    assert e.stop == Stop(rounds=50, relative_error=0, residual=1e-3, gap=1e-4, seconds=2.5)


def test_every_table_may_be_left_out():
    e = only(write(""))
    assert (e.problem_class, e.method_class, e.seed, e.wire, e.transport, e.every) == (
        Bilinear, DianaOG, 0, None, "auto", "log")
    assert e.stop == Stop() and e.problem().workers == 10 and e.method().compressor.name == "absmax"
    assert e.method()._gamma == "adaptive"


def test_the_three_compressors_of_masha_have_keys_of_their_own():
    masha1 = functools.partial(only, "bilinear", "--method", "masha1", "--set")
    e = masha1("compressor.refresh=absmax:3,nearest", "--compressor", "absmax:1", "--server-compressor", "qsgd:3")
    assert e.method().compressors == "absmax:1 / qsgd:3 / absmax:3,nearest"
    assert masha1("compressor.refresh=sign").method().compressors == "randk:0.05 / - / sign"
    assert masha1("compressor.down=identity").method().compressors == "randk:0.05"
    assert only("bilinear", "--method", "eg", "--set", "compressor.down=identity").method().compressors == "identity"


def test_one_mask_for_all_is_a_key_of_the_table():
    e = only("bilinear", "--compressor", "randk:7", "--set", "compressor.mask=shared")
    assert e.method().compressor.additive and str(e.method().compressor) == "randk:7,mask=shared"
    assert not only("bilinear", "--compressor", "randk:7", "--set", "compressor.mask=own").method().compressor.additive


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_can_be_run_by_its_name(name):
    assert only(name).problem_class is PROBLEMS[name]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_can_be_chosen_by_its_name(name):
    assert only("bilinear", "--method", name).method_class is METHODS[name]


def test_a_regression_takes_its_own_keys():
    e = only(write("""
        workers = 4
        [problem]
        name = "robust_regression"
        data = "wine"
        loss = "square"
        standardise = false
        lam = 0.5
        beta = 2
        split = "sorted"
        radius = 0.25
        seed = 1
    """))
    p = e.problem()
    assert type(p) is RobustRegression
    assert (p.source, p.loss, p.lam, p.beta, p.split, p.radius, p.seed, p.workers) == (
        "wine", "square", 0.5, 2, "sorted", 0.25, 1, 4)


def test_a_problem_and_a_method_are_made_anew_each_time():
    e = only(write(WHOLE))
    assert e.method() is not e.method() and e.problem() is not e.problem()


# -- overrides -------------------------------------------------------------------------------------


def test_flags_override_the_file():
    e = only(write(WHOLE), "--workers", "9", "--seed", "4", "--wire", "float64", "--transport", "auto", "--compressor",
             "permk")
    assert (e.problem().workers, e.seed, e.wire, e.transport) == (9, 4, "float64", "auto")
    assert e.method().compressor.name == "permk" and e.method()._tau == 0.8


@pytest.mark.parametrize("setting, expected", [
    ("problem.dim=4", lambda e: e.problem().dim == 4), ("method.gamma=0.5", lambda e: e.method()._gamma == 0.5),
    ("method.gamma=2", lambda e: e.method()._gamma == 2), ("method.gamma=0.1/L",
                                                           lambda e: e.method()._gamma == "0.1/L"),
    ("method.gamma='0.1/L'", lambda e: e.method()._gamma == "0.1/L"), ("stop.rounds=7", lambda e: e.stop.rounds == 7),
    ("stop.residual=1e-5", lambda e: e.stop.residual == 1e-5), ("observe.every=log", lambda e: e.every == "log"),
    ("compressor.up=topk:2+0", None), ("compressor.up=qsgd:8,bucket=0", lambda e: e.method().compressor.levels == 8),
    ("method.tau=0", lambda e: e.method()._tau == 0), ("seed=12", lambda e: e.seed == 12),
    ("wire=float64", lambda e: e.wire == "float64"), ("workers=8", lambda e: e.problem().workers == 8)])
def test_set_takes_any_dotted_key(setting, expected):
    if expected is None:
        with pytest.raises(UserError, match="compressor.up"):
            only(write(WHOLE), "--set", setting)
    else:
        assert expected(only(write(WHOLE), "--set", setting))


def test_the_last_setting_wins():
    e = only("bilinear", "--workers", "3", "--set", "workers=4", "--set", "workers=5")
    assert e.problem().workers == 5


def test_a_new_method_drops_the_options_and_the_compressor_of_the_old_one():
    for name in ("og", "eg", "masha2"):
        e = only(write(WHOLE), "--method", name)
        assert e.method_class is METHODS[name] and e.method()._gamma == "theory"
    assert str(only(write(WHOLE), "--method", "masha2").method().compressor) == "topk:0.05"
    assert only(write(WHOLE), "--method", "masha1").method()._tau == 0.8


def test_a_new_method_drops_the_options_of_the_default_one_too():
    path = write("[method]\ntau = 0.9\n[compressor]\nup = 'randk:2'\n")
    e = only(path, "--method", "og")
    assert e.method_class is METHODS["og"]


def test_a_compressor_flag_holds_whatever_the_method_is_set_to():
    e = only(write(WHOLE), "--compressor", "topk:2", "--set", "method.name=masha2")
    assert str(e.method().compressor) == "topk:2"


def test_a_new_problem_drops_the_options_of_the_old_one():
    e = only(write(WHOLE), "--set", "problem.name=robust_regression")
    assert e.problem_class is RobustRegression and e.problem().lam == 0.1


@pytest.mark.parametrize("text, value", [("3", 3), ("3.5", 3.5), ("1e-3", 1e-3), ("true", True), ("'a b'", "a b"),
                                         ("abc", "abc"),
                                         ("0.25/L", "0.25/L"), ("[1, 2]", [1, 2]), ("", ""), ("a = b", "a = b"),
                                         ("1_000", 1000), ("0.25 / L", "0.25 / L"), ("-.1", "-.1")])
def test_the_value_of_a_setting_is_toml_or_else_text(text, value):
    assert config.scalar(text) == value and type(config.scalar(text)) is type(value)


def test_a_value_of_several_lines_is_never_taken_for_its_first():
    assert config.scalar("3\nworkers = 4") != 3


@pytest.mark.parametrize("value", ("nan", "inf"))
@pytest.mark.parametrize("problem, key", [
    ("bilinear", "problem.kappa"), ("bilinear", "problem.heterogeneity"), ("bilinear", "stop.rounds"),
    ("bilinear", "stop.seconds"), ("bilinear", "method.gamma"),
    ("robust_regression", "problem.lam"), ("robust_regression", "problem.beta"),
    ("robust_regression", "problem.radius")])
def test_nan_and_inf_of_toml_are_refused_by_every_key(problem, key, value):
    with pytest.raises(UserError, match=f"{key} = {value}"):
        e = only(problem, "--set", f"{key}={value}")
        e.problem(), e.method()


@pytest.mark.parametrize("value", ("nan", "inf"))
@pytest.mark.parametrize("method, key", [("masha1", "tau"), ("vr_masha1", "batch"), ("diana_og", "participation"),
                                         ("three_pillars", "inner"), ("local_eg", "steps")])
def test_nan_and_inf_of_toml_are_refused_by_every_key_of_a_method(method, key, value):
    with pytest.raises(UserError, match=f"method.{key} = {value}"):
        only("bilinear", "--method", method, "--set", f"method.{key}={value}").method()


# -- the wire --------------------------------------------------------------------------------------


def test_the_wire_may_stand_in_the_compressors_text():
    assert only("bilinear", "--compressor", "randk:0.1,wire=float32").wire == "float32"
    assert only("bilinear", "--compressor", "randk:0.1,wire=float32", "--wire", "float32").wire == "float32"
    assert only("bilinear", "--wire", "float32").wire == "float32"
    assert only("bilinear").wire is None


# -- comparisons -----------------------------------------------------------------------------------


COMPARE = """
    workers = 4
    [problem]
    dim = 5
    [stop]
    rounds = 10
    [[compare]]
    label = "a"
    [[compare]]
    label = "b"
    method.name = "og"
    [[compare]]
    label = "c"
    workers = 3
    [compare.method]
    tau = 0.9
    name = "masha1"
    gamma = 0.1
    [compare.compressor]
    up = "permk"
    [[compare]]
    [compare.problem]
    kappa = 7.0
"""


def test_blocks_override_any_table_and_leave_the_others_and_each_other_alone():
    a, b, c, d = built("compare", write(COMPARE))
    assert [e.label for e in (a, b, c, d)] == ["a", "b", "c", "diana_og"]
    assert [e.method_class.name for e in (a, b, c, d)] == ["diana_og", "og", "masha1", "diana_og"]
    assert [e.problem().workers for e in (a, b, c, d)] == [4, 4, 3, 4]
    assert [e.problem().kappa for e in (a, b, c, d)] == [100.0, 100.0, 100.0, 7.0]
    assert all(e.problem().dim == 5 and e.stop.rounds == 10 for e in (a, b, c, d))
    assert (c.method()._tau, c.method()._gamma, c.method().compressor.name) == (0.9, 0.1, "permk")
    assert a.method().compressor.name == "absmax" and a.method()._gamma == "adaptive"


def test_run_takes_the_document_without_its_blocks():
    e = only(write(COMPARE))
    assert e.label == "diana_og" and "compare" not in e.document


def test_a_block_may_change_the_method_of_the_document():
    one, two = built("compare", write(textwrap.dedent(WHOLE) + "[[compare]]\nlabel = 'og'\nmethod.name = 'og'\n"
                                      "[[compare]]\nlabel = 'same'\nmethod.name = 'masha1'\n"))
    assert one.method_class is METHODS["og"] and two.method()._tau == 0.8
    assert two.method().compressor.k == 3


@pytest.mark.parametrize("lines", [
    ["compressor.up = 'topk:3'", "method.name = 'masha2'"], ["method.name = 'masha2'", "compressor.up = 'topk:3'"]],
    ids=["compressor first", "method first"])
def test_the_order_of_the_keys_of_a_block_does_not_matter(lines):
    for document in ("", "[method]\nname = 'og'\n", "[compressor]\nup = 'randk:7'\n"):
        e, = built("compare", write(document + "[[compare]]\nlabel = 'a'\n" + "\n".join(lines)))
        assert (e.method_class.name, str(e.method().compressor)) == ("masha2", "topk:3")


def test_flags_override_every_block_beneath_their_own_keys():
    experiments = built("compare", write(COMPARE), "--seed", "5", "--set", "stop.rounds=3")
    assert all(e.seed == 5 and e.stop.rounds == 3 for e in experiments)


def test_the_document_of_an_experiment_is_what_it_was_built_from():
    e = only(write(WHOLE), "--set", "problem.dim=4")
    assert e.document["problem"]["dim"] == 4 and e.document["method"]["tau"] == 0.8
    again = config.experiment(e.document)
    assert again.problem_options == e.problem_options and again.stop == e.stop and again.document == e.document
    assert vars(again.method().compressor) == vars(e.method().compressor) and again.method()._tau == 0.8


def test_numbers_may_be_whole_where_any_number_is_taken():
    e = only("bilinear", "--set", "problem.kappa=10", "--set", "problem.heterogeneity=1", "--set", "stop.seconds=3")
    assert e.problem().mu == pytest.approx(0.1) and isinstance(e.problem().mu, float)
    assert np.isfinite(e.problem().L)


@pytest.mark.parametrize("key", ["workers", "seed", "stop.rounds", "observe.every", "checkpoint.every", "problem.dim",
                                 "problem.seed", "problem.samples", "method.warmup", "method.decay"])
def test_a_whole_number_may_be_written_with_an_exponent(key):
    written, plain = (dataclasses.replace(config.experiment(config.overridden({"method": {"name": "masha1"}},
                                                                             {key: value})), document={})
                      for value in (config.scalar("1e1"), 10))
    assert repr(written) == repr(plain)


@pytest.mark.parametrize("cls", [*PROBLEMS.values(), *METHODS.values(), *COMPRESSORS.values()], ids=lambda c: c.name)
def test_a_constructor_takes_a_whole_number_written_with_an_exponent(cls):
    hints = typing.get_type_hints(cls.__init__)
    whole = {key: parameter.default for key, parameter in inspect.signature(cls).parameters.items()
             if hints.get(key) is int and parameter.default is not parameter.empty}
    made = vars(cls(**{key: float(value) for key, value in whole.items()}))
    for key, value in whole.items():
        assert type(made.get(key, value)) is int
    for key in whole:
        with pytest.raises(UserError, match="1.5"):
            cls(**{key: 1.5})


@pytest.mark.parametrize("key", ["workers", "seed", "stop.rounds", "observe.every", "checkpoint.every", "problem.dim",
                                 "method.warmup"])
def test_a_number_that_is_not_whole_is_refused_by_a_key_of_whole_numbers(key):
    with pytest.raises(UserError, match=f"{key} = 1.5 "):
        config.experiment(config.overridden({"method": {"name": "masha1"}}, {key: 1.5}))
