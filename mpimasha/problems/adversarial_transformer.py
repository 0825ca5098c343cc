"""Adversarial training of a transformer encoder."""

from mpimasha.data import images
from mpimasha.errors import UserError
from mpimasha.names import check_kinds
from mpimasha.networks.transformer import Transformer
from mpimasha.problems.adversarial import Adversarial, check_precision
from mpimasha.problems.base import check


class AdversarialTransformer(Adversarial):
    """Adversarial training of a transformer encoder on square images, cut into patches.

    Parameters
    ----------
    patch, width, heads, layers, hidden : int
        Side of a patch; numbers of a token, a multiple of `heads`; blocks; numbers in a block's hidden layer.
    tied : bool
        One block's parameters for all layers, as in ALBERT.
    on : {"pixels", "embeddings"}
        What is perturbed, in training and by the attack that measures robust accuracy.
    data, split, test, validation, perturbation, norm, radius, radius_warmup, clip, ascent, steps, lam, precision, \
workers, seed
        As for `AdversarialMLP`.
    """

    name = "adversarial_transformer"
    where = ("pixels", "embeddings")

    def __init__(self, data: str | tuple = "digits", patch: int = 2, width: int = 32, heads: int = 4, layers: int = 2,
                 hidden: int = 64, tied: bool = False, split: str = "even", test: float = 0.2,
                 validation: float = 0.2, perturbation: str = "each", on: str = "pixels", norm: str = "linf",
                 radius: float = 0.15, radius_warmup: int = 0, clip: bool = False, ascent: float = 50.0,
                 steps: int = 5, lam: float = 0.0, precision: str = "float32", workers: int = 10, seed: int = 0):
        patch, width, heads, layers, hidden = check_kinds(
            AdversarialTransformer, "problem.", data=data, patch=patch, width=width, heads=heads, layers=layers,
            hidden=hidden, tied=tied)
        for key, value in (("patch", patch), ("width", width), ("heads", heads), ("layers", layers),
                           ("hidden", hidden)):
            check(f"problem.{key}", value, "a whole number from 1 to 10000", 1, 10_000)
        pictures = images.load(data)
        side, other = pictures.shape
        if side != other or side % patch:
            raise UserError(f"problem.patch = {patch} does not cut images of {side} x {other} pixels into squares: use "
                            f"square images and a divisor of their side")
        if width % heads:
            raise UserError(f"problem.heads = {heads} does not divide problem.width = {width}: use a divisor")
        network = Transformer(side, patch, width, heads, layers, hidden, int(pictures.y.max()) + 1,
                              check_precision(precision), tied)
        super().__init__(network, pictures, data=data, split=split, test=test, validation=validation,
                         perturbation=perturbation, on=on, norm=norm, radius=radius, radius_warmup=radius_warmup,
                         clip=clip, ascent=ascent, steps=steps, lam=lam, workers=workers, seed=seed)
