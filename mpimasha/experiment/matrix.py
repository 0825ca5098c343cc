"""The runs of a comparison: [[compare]] blocks x their variants x [[problems]] x seeds, from one document."""

import itertools
from dataclasses import replace

from mpimasha import names
from mpimasha.errors import UserError
from mpimasha.experiment import config
from mpimasha.solver.run import check_seed

_BLOCKS, _LONGEST = ("compare", "problems"), 60


def experiments(document):
    """The `Experiment` of every run: problem by problem, block by block, variant by variant, seed by seed.

    A [[problems]] block changes the document first, then a [[compare]] block.  ``each`` in a block of either kind holds
    lists where a value would stand, and makes one variant of each combination; their values join the label.  ``on``
    names the problems that a [[compare]] block is for, one label or a list; all of them if it is left out.

    Parameters
    ----------
    document : dict
        Of an experiment file.

    Returns
    -------
    list of Experiment

    Raises
    ------
    UserError
    """
    repeated = seeds(document)
    found = [config.experiment(merged | {"seed": seed} if "seeds" in document else merged, label, on)
             for on, label, _, merged in cells(document) for seed in repeated]
    return [replace(experiment, place=place) for place, experiment in enumerate(found)]


def cells(document):
    """[(label of the problem, label, {dotted key: value} that the block sets, document of its runs)], seeds aside."""
    base = {key: value for key, value in document.items() if key not in (*_BLOCKS, "seeds")}
    problems, methods = _blocks(document, "problems"), _blocks(document, "compare")
    if not methods:
        raise UserError("compare needs at least one [[compare]] block, each with a label and the keys that differ")
    settings = [pair for block in problems for pair in _variants(block, "problems")] or [("", {})]
    _check_problems([name for name, _ in settings])
    for block in methods:
        _check_on(block, [name for name, _ in settings if name])
    found = []
    for name, changes in settings:
        for block in methods:
            if "on" not in block or name in _listed(block["on"]):
                for label, wishes in _variants(block, "compare"):
                    merged = config.overridden(config.overridden(base, changes), wishes)
                    found.append((name, label or config.experiment(merged).label, wishes, merged))
    _check_labels(found)
    return found


def seeds(document):
    """The seeds of a comparison: `seeds`, a list or how many from 0 on, or the one `seed`."""
    if "seeds" not in document:
        return [document.get("seed", 0)]
    given = document["seeds"]
    if "seed" in document:
        raise UserError(f"seed = {names.shown(document['seed'])} and seeds = {names.shown(given)}: keep one")
    if names.fits(given, int) and 1 <= given <= 10_000:
        return list(range(int(given)))
    if isinstance(given, list) and given:
        checked = [check_seed(seed) for seed in given]
        if len(set(checked)) == len(checked):
            return checked
    raise UserError(f"seeds = {names.shown(given)} is no list of seeds: use how many (at least 1) or different whole "
                    f"numbers")


def _blocks(document, kind):
    blocks = document.get(kind, [])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise UserError(f"{kind} = {names.shown(blocks)} is no list of blocks: write [[{kind}]] and its keys below")
    for block in blocks:
        config.check_block(block, kind, ["label", "each", *(["on"] if kind == "compare" else [])])
        label = block.get("label", kind)
        if not (isinstance(label, str) and 0 < len(label) <= _LONGEST and label.isprintable()):
            raise UserError(f"label = {names.shown(label)} of a [[{kind}]] block is no name: use a text of 1 to "
                            f"{_LONGEST} characters")
        seeds({key: value for key, value in (document | block).items() if key in ("seed", "seeds")})
    return blocks


def _variants(block, kind):
    """[(label, what the block changes)], one for each combination of the values in `each`."""
    own = {key: value for key, value in block.items() if key not in ("label", "each", "on")}
    each = block.get("each", {})
    if not isinstance(each, dict):
        raise UserError(f"{kind}.each = {names.shown(each)} is no table: give keys and the values to try, as in "
                        f"each.workers = [5, 10]")
    lists = config.flat(each)
    for key, values in lists.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{kind}.each.{key} = {names.shown(values)} is no list: give the values to try, as in "
                            f"[1, 2]")
    found = []
    for values in itertools.product(*lists.values()):
        label = block.get("label")
        if label is None and kind == "compare" and values:
            label = own.get("method", {}).get("name")
        parts = [*([label] if label is not None else []), *map(str, values)]
        found.append((", ".join(parts), config.flat(own) | dict(zip(lists, values))))
    return found


def _listed(on):
    return on if isinstance(on, list) else [on]


def _check_problems(labels):
    for label in labels if len(labels) > 1 else []:
        if not label or labels.count(label) > 1:
            raise UserError(f"label = {label!r} stands in more than one [[problems]] block: give each its own" if label
                            else "a [[problems]] block has no label: give each its own, as in label = \"10 workers\"")


def _check_on(block, known):
    for label in _listed(block.get("on", [])):
        if label not in known:
            raise UserError(f"on = {names.shown(label)} of a [[compare]] block is the label of no [[problems]] block"
                            + (names.nearest(label, known) if known else ": there is none"))


def _check_labels(found):
    taken = set()
    for on, label, *_ in found:
        if (on, label) in taken:
            raise UserError(f"label = {label!r} stands in more than one [[compare]] block"
                            f"{f' on {on!r}' * bool(on)}: give each its own")
        taken.add((on, label))
