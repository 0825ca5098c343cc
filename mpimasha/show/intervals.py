"""Means over seeds and how sure they are."""

import math

# Student's t for 95 %, two-sided, by degrees of freedom
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
      2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)


def mean_and_interval(values):
    """(mean, half the width of its 95 % confidence interval); the latter None for one value.

    Student's t, so it takes the values for independent and normal.
    """
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return mean, None
    deviation = math.sqrt(math.fsum((value - mean)**2 for value in values) / (count - 1))
    t = _T[count - 2] if count - 2 < len(_T) else 1.95996 + 2.37227 / (count - 1) + 2.8225 / (count - 1)**2
    return mean, t * deviation / math.sqrt(count)


def shown(values, scale=1.0, digits=3):
    """"0.684 +- 0.012", or the one value."""
    mean, half = mean_and_interval(values)
    text = f"{scale * mean:.{digits}f}"
    return text if half is None else f"{text} ± {scale * half:.{digits}f}"
