"""Names written beside the lines they belong to, where there is room."""

import numpy as np

_POSITIONS, _POINTS = 24, 400  # tried along a line; samples of a line that must not run through a name
_GAP = 4.0  # pixels between line and name
_CROSSED = 40  # samples that a name may lie on or close to: about one steep line that passes through
_CLOSE = 6.0  # pixels within which another line makes it doubtful whose name it is


def place(axis, lines, renderer):
    """Write each line's label beside it, in its colour; False, and nothing written, if one finds no place.

    Every position along the line, on either side, is tried: a name must stay inside the axes and off the other names,
    and of the places left takes the one that the fewest lines run through.

    Parameters
    ----------
    axis : matplotlib Axes
        Laid out: its limits are final.
    lines : list of matplotlib Line2D
    renderer : matplotlib renderer
    """
    paths = [_sampled(axis, line) for line in lines]
    inside, taken, written = axis.get_window_extent(renderer), [], []
    for i in sorted(range(len(lines)), key=lambda i: len(paths[i])):
        text = axis.text(0, 0, lines[i].get_label(), color=lines[i].get_color(), fontsize="small", transform=None,
                         clip_on=False, zorder=5, bbox={"facecolor": "white", "alpha": 0.8, "pad": 0.4, "lw": 0})
        written.append(text)
        size = text.get_window_extent(renderer)
        best = min(_places(paths[i], size.width, size.height), default=None,
                   key=lambda box: _cost(box, i, paths, inside, taken))
        if best is None or _cost(best, i, paths, inside, taken) > _CROSSED:
            for text in written:
                text.remove()
            return False
        taken.append(best)
        text.set_position(axis.transAxes.inverted().transform(best[:2]))
        text.set_transform(axis.transAxes)
    return True


def _sampled(axis, line):
    """Points of the line in pixels, evenly spaced along it."""
    points = axis.transData.transform(np.column_stack(line.get_data()))
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2:
        return points
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = np.linspace(0, along[-1], _POINTS)
    return np.column_stack([np.interp(at, along, points[:, i]) for i in (0, 1)])


def _places(path, width, height):
    """(left, bottom, right, top) of a name beside points of the line."""
    for x, y in path[:: max(1, len(path) // _POSITIONS)][::-1]:
        for left in (x + _GAP, x - _GAP - width):
            for bottom in (y - height / 2, y + _GAP, y - _GAP - height):
                yield left, bottom, left + width, bottom + height


def _cost(box, i, paths, inside, taken):
    left, bottom, right, top = box
    if left < inside.x0 + 3 or right > inside.x1 or bottom < inside.y0 + 3 or top > inside.y1:  # not on the axes
        return np.inf
    if any(left < r + 2 and l < right + 2 and bottom < t + 1 and b < top + 1 for l, b, r, t in taken):
        return np.inf
    return sum(_within(path, box, 0) + (_within(path, box, _CLOSE) if j != i else 0) for j, path in enumerate(paths))


def _within(path, box, margin):
    """How many samples of a line lie in the box, or so close to it."""
    if not len(path):
        return 0
    left, bottom, right, top = box
    return int(((path[:, 0] > left - margin) & (path[:, 0] < right + margin) & (path[:, 1] > bottom - margin)
                & (path[:, 1] < top + margin)).sum())
