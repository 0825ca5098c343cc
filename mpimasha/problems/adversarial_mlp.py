"""Adversarial training of a multilayer perceptron."""

from mpimasha.data import images
from mpimasha.errors import UserError
from mpimasha.names import check_kinds, fits, shown
from mpimasha.networks.mlp import MLP
from mpimasha.problems.adversarial import Adversarial, check_precision


class AdversarialMLP(Adversarial):
    """Adversarial training of a multilayer perceptron on images.

    Parameters
    ----------
    data : str or (images, labels)
        "digits", an .npz file with arrays images and labels, an IDX file (MNIST's format), or arrays.
    hidden : list of int
        Widths of the hidden layers.
    split : {"even", "sorted"}
        How the images to train on are dealt to the workers; sorted by label, most workers see few classes.
    test, validation : float
        Parts of the images that are kept for the end, and to look at during training.
    perturbation : {"each", "universal", "pgd"}
        See `Adversarial`.
    norm, radius : {"linf", "l2"}, float
        Of the perturbations; pixels are in [0, 1].
    radius_warmup : int
        Rounds over which the radius grows from 0.  Outside the theorems.
    clip : bool
        Keep perturbed pixels in [0, 1].
    ascent : float
        Step size of the perturbations of "each".
    steps : int
        Of the ascent of "pgd".
    lam : float
        Adds lam/2 |theta|^2.
    precision : {"float32", "float64"}
    workers : int
    seed : int
        Of the parts; the weights begin at random by the run's seed.
    """

    name = "adversarial_mlp"

    def __init__(self, data: str | tuple = "digits", hidden: list | tuple = (64, 32), split: str = "even",
                 test: float = 0.2, validation: float = 0.2, perturbation: str = "each", norm: str = "linf",
                 radius: float = 0.15, radius_warmup: int = 0, clip: bool = False, ascent: float = 50.0,
                 steps: int = 5, lam: float = 0.0, precision: str = "float32", workers: int = 10, seed: int = 0):
        check_kinds(AdversarialMLP, "problem.", data=data, hidden=hidden)
        if not all(fits(width, int) and 1 <= width <= 10**6 for width in hidden):
            raise UserError(f"problem.hidden = {shown(hidden)} is no list of widths: use whole numbers of at least 1")
        hidden = [int(width) for width in hidden]
        pictures = images.load(data)
        network = MLP([pictures.X.shape[1], *hidden, int(pictures.y.max()) + 1], check_precision(precision))
        super().__init__(network, pictures, data=data, split=split, test=test, validation=validation,
                         perturbation=perturbation, norm=norm, radius=radius, radius_warmup=radius_warmup, clip=clip,
                         ascent=ascent, steps=steps, lam=lam, workers=workers, seed=seed)
