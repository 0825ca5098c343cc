"""The adversarial problems against an MLP in plain NumPy, differentiated by complex steps, and what they refuse."""

import math

import numpy as np
import pytest
from lanes import fast

import mpimasha as mm
from mpimasha import state
from mpimasha.data import images
from mpimasha.errors import UserError
from mpimasha.experiment import config
from mpimasha.methods import METHODS
from mpimasha.mpi.communicator import Communicator
from mpimasha.networks.attacks import PGD, Ball
from mpimasha.problems.adversarial_mlp import AdversarialMLP
from mpimasha.problems.adversarial_transformer import AdversarialTransformer

WORKERS, RADIUS, INPUTS, CLASSES = 4, 0.1, 16, 3
WIDTHS = (INPUTS, 8, CLASSES)


def pictures(count=60):
    """Images of 4 x 4 pixels, the brighter the higher their class; some pixels are at the ends."""
    rng, labels = np.random.default_rng(0), np.arange(count) % CLASSES
    return np.clip(0.7 * rng.random((count, 4, 4)) + 0.3 * labels[:, None, None] - 0.1, 0, 1), labels


def mlp(count=60, **options):
    return AdversarialMLP(**{"data": pictures(count), "hidden": [8], "radius": RADIUS, "precision": "float64",
                             "workers": WORKERS} | options)


def transformer(**options):
    return AdversarialTransformer(**{"data": pictures(), "patch": 2, "width": 4, "heads": 2, "layers": 1, "hidden": 5,
                                     "radius": RADIUS, "precision": "float64", "workers": WORKERS} | options)


def point(problem, seed=1):
    """A z with nothing at zero."""
    z = problem.start_of(seed) + 0.1 * np.random.default_rng(seed).standard_normal(problem.n)
    z[problem.network.n:] *= 0.3
    return z


def own(problem, worker, seed=2):
    return 0.05 * np.random.default_rng(seed).standard_normal(problem.local_size(worker))


# -- the oracle --------------------------------------------------------------------------------------


def logits(theta, X):
    start = 0
    for k, (fan, width) in enumerate(zip(WIDTHS, WIDTHS[1:])):
        if k:
            X = X / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))
        X = X @ theta[start:start + fan * width].reshape(fan, width) + theta[start + fan * width:][:width]
        start += (fan + 1) * width
    return X


def loss(theta, X, y):
    """Summed over the samples."""
    z = logits(theta, X)
    return np.sum(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y])


def derivative(function, x):
    """By complex steps, exact to rounding."""
    gradient, moved = np.empty(x.shape), x.astype(complex)
    for i in np.ndindex(x.shape):
        moved[i] += 1e-30j
        gradient[i] = function(moved).imag / 1e-30
        moved[i] = x[i]
    return gradient


def by_weights(theta, X, y):
    return derivative(lambda t: loss(t, X, y), theta)


def by_pixels(theta, X, y):
    return derivative(lambda x: loss(theta, x, y), X)


def project(delta, X, norm, clip):
    if norm == "l2":
        return delta * np.minimum(1, RADIUS / np.maximum(np.linalg.norm(delta, axis=1, keepdims=True), 1e-300))
    delta = np.clip(delta, -RADIUS, RADIUS)
    return np.clip(delta, -X, 1 - X) if clip else delta


def climbed(theta, X, y, steps, norm="linf", clip=False, delta=None):
    """Where projected ascent from `delta` or 0 ends."""
    delta = np.zeros_like(X) if delta is None else delta
    for _ in range(steps):
        g = by_pixels(theta, X + delta, y)
        up = g / np.linalg.norm(g, axis=1, keepdims=True) if norm == "l2" else np.sign(g)
        delta = project(delta + 2.5 * RADIUS / steps * up, X, norm, clip)
    return delta


def near(got, wanted, within=1e-12):
    assert np.abs(wanted).max() > 1e-3
    np.testing.assert_allclose(got, wanted, rtol=0, atol=within * max(1.0, np.abs(wanted).max()))


def evaluated(problem, worker, z, local=None, chosen=None):
    """(out, into) of the worker's operator, into buffers full of NaN."""
    out, into = np.full(problem.n, np.nan), np.full(problem.local_size(worker), np.nan)
    arguments = (z, out) if local is None else (z, out, local, into)
    if chosen is None:
        problem.operator(worker)(*arguments)
    else:
        problem.batch_operator(worker)(*arguments, np.asarray(chosen, np.uint32))
    return out, into


# -- operators ---------------------------------------------------------------------------------------

BATCHES = (None, [0], [1, 4, 8], list(range(9)))
SOME = pytest.mark.parametrize("chosen", BATCHES, ids=str)


@pytest.mark.parametrize("lam", (0.0, 0.3))
@SOME
def test_each_is_the_mean_over_the_weights_and_the_uphill_of_every_perturbation_of_its_own(chosen, lam):
    problem, worker = mlp(lam=lam), 2
    (X, y), theta, local = problem.shard(worker), point(problem), own(problem, worker)
    out, into = evaluated(problem, worker, theta, local, chosen)
    delta, rows = local.reshape(len(y), INPUTS), list(range(len(y))) if chosen is None else chosen
    moved = (X + delta)[rows], y[rows]
    near(out, by_weights(theta, *moved) / len(rows) + lam * theta)
    wanted = np.zeros_like(delta)
    wanted[rows] = -len(y) / len(rows) * by_pixels(theta, *moved)  # downhill of -loss; no 1/N, r/s in batches
    near(into, wanted.reshape(-1))


@pytest.mark.parametrize("lam", (0.0, 0.3))
@SOME
def test_universal_is_the_mean_over_the_weights_and_over_the_one_perturbation(chosen, lam):
    problem, worker = mlp(perturbation="universal", lam=lam), 1
    assert problem.n == problem.network.n + INPUTS and problem.local_size(worker) == 0
    (X, y), z = problem.shard(worker), point(problem)
    out, _ = evaluated(problem, worker, z, chosen=chosen)
    rows, theta, delta = list(range(len(y))) if chosen is None else chosen, z[:-INPUTS], z[-INPUTS:]
    near(out[:-INPUTS], by_weights(theta, X[rows] + delta, y[rows]) / len(rows) + lam * theta)
    near(out[-INPUTS:], -by_pixels(theta, X[rows] + delta, y[rows]).mean(axis=0))


@pytest.mark.parametrize("norm, clip, steps", [("linf", False, 1), ("linf", False, 4), ("linf", True, 3),
                                               ("l2", False, 3)])
@pytest.mark.parametrize("chosen", (None, [1, 4, 8]), ids=str)
def test_pgd_is_the_gradient_where_the_ascent_ends(norm, clip, steps, chosen):
    problem, worker = mlp(perturbation="pgd", norm=norm, clip=clip, steps=steps), 3
    assert problem.n == problem.network.n and problem.local_size(worker) == 0 and problem.local_step is None
    (X, y), theta = problem.shard(worker), point(problem)
    rows = list(range(len(y))) if chosen is None else chosen
    delta = climbed(theta, X[rows], y[rows], steps, norm, clip)
    out, _ = evaluated(problem, worker, theta, chosen=chosen)
    near(out, by_weights(theta, X[rows] + delta, y[rows]) / len(rows), within=1e-11)


@pytest.mark.parametrize("perturbation", fast(("each", "universal", "pgd"), "each"))
def test_a_shard_of_more_images_than_are_looked_at_at_once(perturbation):
    problem = mlp(560, workers=1, perturbation=perturbation, lam=0.1, steps=1)
    (X, y), z = problem.shard(0), point(problem)
    assert len(y) == 336 > 256
    theta, local = z[:problem.network.n], own(problem, 0)
    delta = {"each": local.reshape(-1, INPUTS), "universal": z[None, problem.network.n:],
             "pgd": np.zeros((1, INPUTS))}[perturbation]
    uphill = by_pixels(theta, X + delta, y)
    out, into = evaluated(problem, 0, z, local if perturbation == "each" else None)
    if perturbation == "pgd":
        delta = RADIUS * np.sign(uphill)
    near(out[:problem.network.n], by_weights(theta, X + delta, y) / len(y) + 0.1 * theta)
    if perturbation != "pgd":
        near(into if perturbation == "each" else out[-INPUTS:],
             -uphill.reshape(-1) if perturbation == "each" else -uphill.mean(axis=0))


@pytest.mark.parametrize("perturbation", ("each", "universal", "pgd"))
@pytest.mark.parametrize("make", (mlp, transformer))
def test_batches_of_a_partition_average_to_the_whole_operator(make, perturbation):
    problem, worker = make(perturbation=perturbation, lam=0.2), 1
    z, local = point(problem), own(problem, worker) if perturbation == "each" else None
    whole = evaluated(problem, worker, z, local)
    assert problem.components(worker) == 9 and problem.finite_sum
    parts = [evaluated(problem, worker, z, local, chosen) for chosen in ([0, 3, 7], [1, 2, 8], [4, 5, 6])]
    near(np.mean([out for out, _ in parts], axis=0), whole[0])
    if perturbation == "each":
        near(np.mean([into for _, into in parts], axis=0), whole[1])


@pytest.mark.parametrize("perturbation", ("each", "universal"))
@pytest.mark.parametrize("on", ("pixels", "embeddings"))
def test_the_operator_of_a_transformer_is_the_difference_of_its_own_loss(on, perturbation):
    problem, worker = transformer(on=on, perturbation=perturbation, lam=0.1), 0
    net, (X, y) = problem.network, problem.shard(0)
    assert problem.width == (16 if on == "pixels" else 4 * 4) and (net.tokens, net.width) == (4, 4)
    assert problem.n == net.n + (problem.width if perturbation == "universal" else 0)
    assert problem.local_size(worker) == (len(y) * problem.width if perturbation == "each" else 0)
    z, local = point(problem), own(problem, worker) if perturbation == "each" else None
    out, into = evaluated(problem, worker, z, local)

    def value(theta, delta):
        delta = np.ascontiguousarray(np.broadcast_to(delta.reshape(-1, problem.width), (len(y), problem.width)))
        summed = net.gradient(theta, X + delta, y) if on == "pixels" else net.gradient(theta, X, y, shift=delta)
        return summed / len(y) + 0.05 * theta @ theta

    theta, delta = z[:net.n].copy(), local if perturbation == "each" else z[net.n:].copy()
    rng, h = np.random.default_rng(3), 1e-5
    along = rng.standard_normal(net.n)
    slope = (value(theta + h * along, delta) - value(theta - h * along, delta)) / (2 * h)
    assert out[:net.n] @ along == pytest.approx(slope, rel=1e-6)
    along = rng.standard_normal(delta.shape)
    slope = (value(theta, delta + h * along) - value(theta, delta - h * along)) / (2 * h)
    downhill = into / len(y) if perturbation == "each" else out[net.n:]
    assert abs(slope) > 1e-3 and -downhill @ along == pytest.approx(slope, rel=1e-6)


# -- data and start ----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", (1, 4, 7))
@pytest.mark.parametrize("split", ("even", "sorted"))
def test_shards_share_the_training_images_out(split, workers):
    problem, parts = mlp(split=split, workers=workers), images.split(images.load(pictures()), 0)
    X, y = (np.concatenate(arrays) for arrays in zip(*map(problem.shard, range(workers))))
    order = np.argsort(parts.train[1], kind="stable") if split == "sorted" else np.arange(36)
    np.testing.assert_array_equal(X, parts.train[0][order])
    np.testing.assert_array_equal(y, parts.train[1][order])
    sizes = [len(problem.shard(m)[1]) for m in range(workers)]
    assert sum(sizes) == 36 and max(sizes) - min(sizes) <= 1 and sizes == list(map(problem.components, range(workers)))
    for name in ("validation", "test"):
        np.testing.assert_array_equal(problem.parts[name][0], getattr(parts, name)[0])


@pytest.mark.parametrize("perturbation", ("each", "universal"))
def test_weights_begin_at_random_by_the_seed_of_the_run_without_perturbation(perturbation):
    problem = mlp(perturbation=perturbation)
    starts = [problem.start_of(seed) for seed in (0, 1, 1)]
    assert starts[1].tobytes() == starts[2].tobytes() != starts[0].tobytes()
    assert not starts[0][problem.network.n:].any() and starts[0][:problem.network.n].any()
    run = mm.Run(problem, mm.Masha1(gamma=0.1, tau=0.5), seed=1)
    run.start()
    assert run.method.iterate.tobytes() == starts[1].tobytes()
    assert not state.buffers(run.method)["z"][problem.network.n:].any()


# -- the ball ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("warmup", (0, 4))
@pytest.mark.parametrize("norm, clip", [("linf", False), ("linf", True), ("l2", False)])
def test_perturbations_of_workers_stay_in_the_ball_of_the_round(norm, clip, warmup):
    problem = mlp(norm=norm, clip=clip, radius_warmup=warmup, ascent=100.0)
    run = mm.Run(problem, mm.Masha2(mm.TopK(9), gamma=0.02, tau=0.5, batch=4))
    run.start()
    for k in range(7):
        run.step()
        radius = RADIUS * (min(1, (k + 1) / warmup) if warmup else 1)
        for name in ("z", "zhalf"):
            delta = state.buffers(run.method)[name][problem.n:].reshape(36, INPUTS)
            sizes = np.linalg.norm(delta, axis=1) if norm == "l2" else np.abs(delta).max(axis=1)
            assert 0.5 * radius < sizes.max() <= radius * (1 + 1e-14)
            if clip:
                assert (problem.X + delta).min() >= 0 and (problem.X + delta).max() <= 1 + 1e-15


@pytest.mark.parametrize("warmup", (0, 4))
def test_the_universal_perturbation_stays_in_the_box_of_the_round(warmup):
    problem = mlp(perturbation="universal", radius_warmup=warmup)
    run = mm.Run(problem, mm.Masha1(mm.RandK(0.5), gamma=5.0, tau=0.5))
    run.start()
    for k in range(7):
        run.step()
        radius = RADIUS * (min(1, (k + 1) / warmup) if warmup else 1)
        assert 0.5 * radius < np.abs(run.method.iterate[-INPUTS:]).max() <= radius
        assert np.abs(run.method.iterate[:-INPUTS]).max() > RADIUS  # weights are free


def test_the_ascent_of_pgd_takes_the_radius_of_the_round():
    problem = mlp(perturbation="pgd", steps=1, radius_warmup=4)
    (X, y), theta = problem.shard(0), point(problem)
    for k, part in ((0, 0.25), (2, 0.75), (9, 1.0), (None, 1.0)):
        problem.at_round(k)
        delta = part * RADIUS * np.sign(by_pixels(theta, X, y))
        near(evaluated(problem, 0, theta)[0], by_weights(theta, X + delta, y) / len(y))


# -- scores ------------------------------------------------------------------------------------------


class OneOf:
    """A rank that hears only itself."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size

    def gather_objects(self, value):
        return [value]


def somewhat_trained(**options):
    """(problem, z) that gets some images right and is fooled on some."""
    problem = mlp(**options)
    run = mm.Run(problem, mm.SGDA(gamma=0.5))
    run.start()
    for _ in range(30):
        run.step()
    return problem, run.method.iterate.copy()


@pytest.mark.parametrize("norm, clip", [("linf", False), ("linf", True), ("l2", False)])
@pytest.mark.parametrize("part", ("validation", "test"))
def test_accuracies_are_a_direct_count(norm, clip, part):
    problem, theta = somewhat_trained(norm=norm, clip=clip)
    (X, y), attack = problem.parts[part], PGD(3, problem.ball)
    delta = project(attack.start(5, len(y), INPUTS, np.float64), X, norm, clip)
    delta = climbed(theta, X, y, 3, norm, clip, delta)
    wanted = [np.mean(logits(theta, x).argmax(axis=1) == y) for x in (X, X + delta)]
    assert problem.examine(theta, part, attack, 5, Communicator()) == tuple(wanted)


def test_scores_do_not_depend_on_the_number_of_ranks():
    problem, theta = somewhat_trained(count=700)  # 140 images to validate on: three chunks
    whole = problem.scores(theta, Communicator())
    assert 0 < whole["robust_accuracy"] < whole["accuracy"]
    for size in (1, 2, 3, 5):
        counts = [problem.scores(theta, OneOf(rank, size)) for rank in range(size)]
        for key, value in whole.items():
            assert sum(round(140 * part[key]) for part in counts) == round(140 * value)
    assert size > 3 and counts[-1] == {"accuracy": 0, "robust_accuracy": 0}


@pytest.mark.ranks(2)
def test_scores_are_the_same_on_every_rank(comm):
    problem, theta = somewhat_trained(count=700)
    alone = problem.scores(theta, Communicator())
    assert comm.allgather(problem.scores(theta, Communicator(comm))) == [alone] * comm.size


def test_scores_are_those_of_20_steps_in_the_whole_ball_from_seed_0():
    problem, theta = somewhat_trained(radius_warmup=50)
    problem.at_round(1)
    clean, robust = problem.examine(theta, "validation", PGD(20, Ball(RADIUS)), 0, Communicator())
    assert problem.scores(theta, Communicator()) == {"accuracy": clean, "robust_accuracy": robust}


def test_rows_hold_scores_and_neither_error_nor_residual():
    result = mm.solve(mlp(), mm.SGDA(gamma=0.1), stop=mm.Stop(rounds=4), every=2)
    assert [row["round"] for row in result.rows] == [0, 2, 4]
    for row in result.rows:
        assert row["relative_error"] is row["residual"] is row["gap"] is None
        assert 0 <= row["robust_accuracy"] <= row["accuracy"] <= 1
    assert result.summary["accuracy"] == result.rows[-1]["accuracy"] and result.status == "rounds"
    assert result.summary["robust_accuracy"] == result.rows[-1]["robust_accuracy"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("gamma", (1e20, 1e200))
@pytest.mark.parametrize("precision", ("float32", "float64"))
@pytest.mark.parametrize("make", (mlp, transformer))
def test_a_run_that_diverges_says_so_and_warns_of_nothing(make, precision, gamma):
    result = mm.solve(make(precision=precision), mm.SGDA(gamma=gamma), stop=mm.Stop(rounds=30))
    assert result.status == "diverged"


# -- mistakes ----------------------------------------------------------------------------------------


def refused(make, words):
    with pytest.raises(UserError) as caught:
        make()
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("options, words", [
    ({"hidden": [0]}, ["problem.hidden = [0]"]), ({"hidden": ["8"]}, ["problem.hidden"]),
    ({"hidden": 8}, ["problem.hidden = 8", "a list"]), ({"hidden": [True]}, ["problem.hidden"]),
    ({"hidden": [2.5]}, ["problem.hidden"]), ({"split": "odd"}, ["problem.split = 'odd'", "even"]),
    ({"perturbation": "all"}, ["problem.perturbation = 'all'", "each"]), ({"norm": "l1"}, ["problem.norm = 'l1'"]),
    ({"radius": 0.0}, ["problem.radius = 0.0", "above 0"]), ({"radius": "x"}, ["problem.radius = 'x'"]),
    ({"radius_warmup": -1}, ["problem.radius_warmup = -1"]), ({"clip": 1}, ["problem.clip = 1"]),
    ({"clip": True, "norm": "l2"}, ["problem.clip = True", "linf"]),
    ({"perturbation": "universal", "norm": "l2"}, ["problem.norm = 'l2'", "universal"]),
    ({"ascent": 0.0}, ["problem.ascent = 0.0"]), ({"steps": 0}, ["problem.steps = 0"]),
    ({"lam": -1.0}, ["problem.lam"]),
    ({"precision": "float16"}, ["problem.precision = 'float16'"]), ({"seed": -1}, ["problem.seed = -1"]),
    ({"workers": 37}, ["workers = 37", "36"]), ({"workers": 0}, ["workers = 0"]),
    ({"test": 0.0}, ["problem.test = 0.0"]),
    ({"validation": 1.5}, ["problem.validation = 1.5"]), ({"data": "nothing"}, ["problem.data = 'nothing'"]),
    ({"data": "nothing.npz"}, ["problem.data = 'nothing.npz'", "does not exist"]), ({"data": 3}, ["problem.data = 3"])])
def test_what_makes_no_problem_is_refused(options, words):
    refused(lambda: mlp(**options), words)


@pytest.mark.parametrize("options, words", [
    ({"patch": 3}, ["problem.patch = 3", "4 x 4"]), ({"patch": 0}, ["problem.patch = 0"]),
    ({"patch": 2.5}, ["problem.patch = 2.5"]), ({"heads": 3}, ["problem.heads = 3", "problem.width"]),
    ({"layers": 0}, ["problem.layers = 0"]), ({"hidden": 0}, ["problem.hidden = 0"]),
    ({"tied": 1}, ["problem.tied = 1"]),
    ({"on": "tokens"}, ["problem.on = 'tokens'", "embeddings"]),
    ({"on": "embeddings", "clip": True}, ["problem.clip = True", "pixels"])])
def test_what_makes_no_transformer_is_refused(options, words):
    refused(lambda: transformer(**options), words)


def test_images_that_are_not_square_have_no_patches():
    X, y = pictures()
    refused(lambda: transformer(data=(X[:, :, :2].copy(), y)), ["problem.patch", "4 x 2", "square"])
    assert mlp(data=(X[:, :, :2].copy(), y)).network.inputs == 8


def of_name(name, **options):
    tau = {"tau": 0.5} if METHODS[name].takes("tau") else {}
    return METHODS[name](**{"gamma": 0.1} | tau | options)


def solved(problem, method, **stop):
    return mm.solve(problem, method, stop=mm.Stop(**{"rounds": 2} | stop))


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.trains])
def test_methods_without_variables_of_workers_are_refused(name):
    refused(lambda: solved(mlp(), of_name(name)), ["method.name", name, "one worker", "masha1"])
    if METHODS[name].takes_prox:
        assert solved(mlp(perturbation="pgd"), of_name(name)).status == "rounds"


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.takes_prox])
def test_a_universal_perturbation_needs_a_prox(name):
    refused(lambda: solved(mlp(perturbation="universal"), of_name(name)), ["method.name", name, "prox", "masha1"])


@pytest.mark.parametrize("name, gamma", [
    ("masha1", "theory"), ("masha2", "theory"), ("sgda", "theory"), ("eg", "theory"), ("diana_og", "theory"),
    ("diana_og", "safe"), ("masha1", "0.25/L"), ("sgda", "0.25/L"), ("diana_og", "1/L")])
@pytest.mark.parametrize("perturbation", ("each", "universal", "pgd"))
def test_step_sizes_must_be_numbers(name, gamma, perturbation):
    if perturbation == "universal" and not METHODS[name].takes_prox:
        pytest.skip("refused for its prox")
    refused(lambda: solved(mlp(perturbation=perturbation), of_name(name, gamma=gamma)), ["method.gamma", "number"])


@pytest.mark.parametrize("target", ("relative_error", "residual", "gap"))
def test_no_target_but_rounds_and_seconds(target):
    refused(lambda: solved(mlp(), mm.SGDA(gamma=0.1), **{target: 1e-3}), [f"stop.{target}", "stop.rounds"])


@pytest.mark.parametrize("table, words", [
    ({"name": "adversarial_mlp", "patch": 2}, ["problem.patch", "adversarial_transformer"]),
    ({"name": "adversarial_mlp", "hidden": 3}, ["problem.hidden = 3", "a list"]),
    ({"name": "adversarial_transformer", "hidden": [3]}, ["problem.hidden = [3]"]),
    ({"name": "adversarial_mpl"}, ["did you mean 'adversarial_mlp'?"])])
def test_a_file_is_checked_before_the_problem_is_made(table, words):
    refused(lambda: config.experiment({"problem": table, "method": {"name": "sgda", "gamma": 0.1}}), words)
