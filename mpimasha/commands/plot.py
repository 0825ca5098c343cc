"""`mpimasha plot`: figures of runs that have ended."""

import os
from pathlib import Path

from mpimasha.commands.run import DONE, say
from mpimasha.errors import UserError
from mpimasha.experiment import study
from mpimasha.files import writing
from mpimasha.names import nearest
from mpimasha.show import curves, plotting


def execute(options, comm):
    """Draw what the options ask for; one process does."""
    if comm.rank == 0:
        draw(options)
    return DONE


def draw(options):
    paths = [Path(path) for path in options.out or [Path(options.runs[0]) / "figure.png"]]
    for path in paths if options.out else ():  # of the default's folder `study.read` says that it is not there
        if path.suffix not in plotting.FORMATS or not path.parent.is_dir():
            raise UserError(f"--out {str(path)!r} " + ("is in no folder that exists: make it first" if path.suffix in
                            plotting.FORMATS else "has no ending that can be drawn: use .png, .pdf or .svg"))
    need_matplotlib()
    found = chosen(study.read(options.runs).groups, options.on, options.only)
    if len(found) > 1 and len(paths) > 1:
        raise UserError("--out names several files for several problems: choose one with --on, as in --on "
                        f"{next(iter(found))!r}")
    for on, results in found.items():
        own = [path.with_stem(f"{path.stem}-{file_name(on)}") if len(found) > 1 else path for path in paths]
        with writing(own[0]):
            plotting.draw(results, own, y=options.y, x=options.x, columns=options.columns, scale=options.scale,
                          title=options.title if options.title is not None else on or None)
        for path in own:
            say(options, f"plot: {path}")


def chosen(groups, on, only):
    """The problems and labels asked for; all of them where nothing is."""
    if on is not None and on not in groups:
        raise UserError(f"--on {on!r} is no problem of the study{nearest(on, groups)}")
    found = {name: results for name, results in groups.items() if on in (None, name)}
    known = {label for results in found.values() for label in results}
    for label in only or []:
        if label not in known:
            raise UserError(f"--only {label!r} is no label of the study{nearest(label, sorted(known))}")
    found = {name: {label: several for label, several in results.items() if not only or label in only}
             for name, results in found.items()}
    return {name: results for name, results in found.items() if results}


def need_matplotlib():
    if not plotting.available():
        raise UserError("plot needs matplotlib, which is not installed: pip install 'mpimasha[plot]'")


def file_name(label):
    """A label as part of a file's name: the same bytes in UTF-8, whatever the locale calls them."""
    return os.fsdecode("".join(c if c.isalnum() or c in "-_." else "-" for c in label).encode())


def add_arguments(command):
    add = command.add_argument
    add("runs", nargs="+", metavar="RUN_DIR", help="folders of runs and of comparisons")
    add("--y", choices=curves.MEASURES, default="error", help="default what the runs are judged by")
    add("--x", nargs="+", choices=list(curves.COSTS), default=["up", "both"], help="a panel each (default up both)")
    add("--columns", type=int, choices=[1, 2], default=2, help="of the page: 3.4 or 7 inches wide (default 2)")
    add("--scale", choices=["auto", "linear", "log"], default="auto", help="of the x axis")
    add("--on", metavar="LABEL", help="one problem of a study")
    add("--only", action="append", metavar="LABEL", help="one method; may be repeated")
    add("--title", help="default the label of the problem; '' for none")
    add("--out", action="append", metavar="FILE", help="ending in .png, .pdf or .svg; may be repeated (default "
        "RUN_DIR/figure.png)")
