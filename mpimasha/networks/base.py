"""What a network is: losses of samples and their gradients, written by hand, on one flat parameter vector."""

import numpy as np


class Network:
    """Abstract base of the classifiers.

    The parameters are one vector theta (n,), so that they can be compressed and sent as they are; layers look at it
    through views.  Work space is allocated for the largest batch seen and used again.

    Attributes
    ----------
    n : int
        Number of parameters.
    dtype : numpy.dtype
        float32 or float64: of parameters, samples, gradients.
    inputs, classes : int
        Numbers in a sample (pixels, flat, row by row), and in its logits.
    embedding : int
        Numbers in an embedded sample; 0 for a network without an embedding.
    """

    n = inputs = classes = embedding = 0
    dtype = np.dtype(np.float32)

    def start(self, generator):
        """Random initial parameters, (n,).

        Parameters
        ----------
        generator : numpy.random.Generator
        """
        raise NotImplementedError(f"{type(self).__name__} has no initial parameters")

    def logits(self, theta, X, shift=None):
        """Logits of the samples, (b, classes); valid until the next call.

        Parameters
        ----------
        theta : (n,) array
        X : (b, inputs) array
        shift : (b, embedding) array, optional
            Added to the embedded samples.
        """
        raise NotImplementedError(f"{type(self).__name__} has no logits")

    def gradient(self, theta, X, y, scale=1.0, weights=None, inputs=None, shift=None, shifts=None):
        """Gradients of scale * sum_i l_i, l_i the cross-entropy of sample i; each is written where there is an array.

        Parameters
        ----------
        theta, X, shift
            As for `logits`.
        y : (b,) int64 array
            Classes.
        weights : (n,) array, optional
            d/d theta.
        inputs : (b, inputs) array, optional
            d/d X.
        shifts : (b, embedding) array, optional
            d/d shift, whether or not a shift was given.

        Returns
        -------
        float
            sum_i l_i, not scaled.
        """
        raise NotImplementedError(f"{type(self).__name__} has no gradient")
