"""`mpimasha report`: one self-contained page about a study: what was run, tables, figures, how to repeat it."""

import html
import io
import shlex
from collections import Counter
from pathlib import Path
from string import Template

from mpimasha.commands.plot import need_matplotlib
from mpimasha.commands.run import DONE, say
from mpimasha.errors import UserError
from mpimasha.experiment import study, toml
from mpimasha.files import replace_atomically, writing
from mpimasha.show import plotting, tables

_ENDS = {"converged": "reached the target", "rounds": "reached the limit of rounds", "diverged": "diverged",
         "seconds": "reached the limit of seconds", "stopped": "were stopped early"}


def execute(options, comm):
    """Write the page; one process does."""
    if comm.rank == 0:
        need_matplotlib()
        out = Path(options.out or Path(options.runs[0]) / "report.html")
        if options.out and not out.parent.is_dir():  # of the default's folder `study.read` says that it is not there
            raise UserError(f"--out {str(out)!r} is in no folder that exists: make it first")
        text = page(study.read(options.runs), options.title)
        with writing(out):
            replace_atomically(out, lambda file: file.write(text.encode(errors="surrogateescape")))
        say(options, f"report: {out}")
    return DONE


def page(found, title=None):
    """The HTML of a `Study`; nothing in it is loaded from elsewhere."""
    folder, manifest = found.documents[0]
    sections = [_section(on, results, found.manifests[on]) for on, results in found.groups.items()]
    return _PAGE.substitute(
        title=_e(title or _title(folder)), summary=_summary(found), sections="\n".join(sections),
        repeat=_repeat(found), facts=_facts(found), experiment=_experiments(found))


def _title(folder):
    return folder.resolve().name


def _summary(found):
    runs = [result for results in found.groups.values() for several in results.values() for result in several]
    ends = Counter(result.status for result in runs)
    said = ", ".join(f"{count} {_ENDS.get(status, status)}" for status, count in ends.most_common())
    missing = f"  {found.missing} more have not ended and are left out." if found.missing else ""
    seconds = sum(result.summary["seconds"] for result in runs)
    return f"{len(runs)} runs: {_e(said)}.  {tables.number(seconds)} seconds of stepping in all.{_e(missing)}"


def _section(on, results, manifest):
    """One problem: in words, table, figures."""
    first = next(iter(results.values()))[0]
    s = first.summary
    n = "" if first.z is None else f"n = {first.z.size}, "
    seeds = max(map(len, results.values()))
    words = (f"{s['problem']}, {n}{s['workers']} workers, {manifest['wire']} on the wire, "
             f"{seeds} seed{'s' * (seeds > 1)}")
    options = ", ".join(f"{key} = {value}" for key, value in manifest["experiment"].get("problem", {}).items()
                        if key != "name")
    header, rows, note = judged(results, manifest)
    figures = "\n".join(f"<figure>{_svg(results, **panel)}</figure>" for panel in _panels(first))
    return (f"<section><h2>{_e(on or s['problem'])}</h2><p>{_e(words)}{_e('; ' + options if options else '')}.</p>"
            f"{_table(header, rows)}<p class=note>{_e(note)}</p>{figures}</section>")


def judged(results, manifest):
    """(header, rows, a note on what the columns are) of the runs on one problem."""
    first = next(iter(results.values()))[0]
    if "robust_accuracy" in first.rows[-1]:
        return tables.training(results, manifest["experiment"].get("observe", {}).get("milestone", 0.5))
    target = min(manifest.get("targets", {}).values(), default=tables.MILESTONE)  # the default one included
    return tables.comparison(results, target)


def _panels(first):
    if "robust_accuracy" in first.rows[-1]:
        return [{"y": "robust_accuracy", "x": ("both", "rounds")}]
    return [{"x": ("up", "both")}, {"x": ("rounds", "calls")}]


def _svg(results, **panel):
    file = io.BytesIO()
    plotting.draw(results, [file], **panel)
    return "<svg" + file.getvalue().decode().partition("<svg")[2]  # without what is for a file of its own


def _table(header, rows):
    numeric = tables.numeric_columns(header, rows)
    cells = "".join(f"<th{' class=n' * n}>{_e(cell)}</th>" for cell, n in zip(header, numeric))
    body = "".join("<tr>" + "".join(f"<td{' class=n' * n}>{_e(cell)}</td>" for cell, n in zip(row, numeric)) + "</tr>"
                   for row in rows)
    return f"<div class=wide><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"


def _repeat(found):
    """The commands that make the study and this page again."""
    lines = []
    for folder, manifest in found.documents:
        name = _title(folder)
        several = "comparison" in manifest
        files = [f"--plugin={plugin['path']}" for plugin in manifest.get("plugins", [])]
        lines += [f"# {name}.toml holds the experiment below",
                  shlex.join(["mpimasha", "compare" if several else "run", f"{name}.toml", *files, "--out",
                              f"runs/{name}"])]
    lines.append(shlex.join(["mpimasha", "report", *(f"runs/{_title(folder)}" for folder, _ in found.documents)]))
    return _e("\n".join(lines))


def _experiments(found):
    parts = []
    for folder, manifest in found.documents:
        heading = f"# {_title(folder)}.toml\n" if len(found.documents) > 1 else ""
        parts.append(heading + toml.dumps(manifest.get("comparison") or manifest.get("experiment") or {}))
    return _e("\n".join(parts))


def _facts(found):
    """When, where and by which versions."""
    rows = []
    for folder, manifest in found.documents:
        first = next(iter(found.manifests.values()))
        versions = ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items())
        hosts = sorted({rank["host"] for rank in first.get("ranks", [])})
        rows += [("study", _title(folder)), ("begun", manifest.get("started", "-")), ("versions", versions),
                 ("MPI", first.get("mpi", "-")), ("machine", f"{first.get('machine', '-')}, {', '.join(hosts)}"),
                 ("ranks of a run", str(len(first.get("ranks", [])) or "-"))]
    return "".join(f"<tr><th>{_e(name)}</th><td>{_e(str(value))}</td></tr>" for name, value in rows)


def _e(text):
    return html.escape(str(text))


def add_arguments(command):
    command.add_argument("runs", nargs="+", metavar="RUN_DIR", help="folders of runs and of comparisons")
    command.add_argument("--out", metavar="FILE.html", help="default RUN_DIR/report.html")
    command.add_argument("--title", help="default the folder's name")


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
body { font: 16px/1.5 Georgia, "Times New Roman", serif; color: #111 }
body { max-width: 74rem; margin: 2rem auto; padding: 0 1rem }
h1, h2, th { font-family: Helvetica, Arial, sans-serif } h1 { font-size: 1.7rem }
h2 { font-size: 1.25rem; margin-top: 2.2rem }
table { border-collapse: collapse; font: 12.5px/1.35 Helvetica, Arial, sans-serif; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .5rem; text-align: left; white-space: nowrap } thead th { border-bottom: 1.5px solid #111 }
tbody tr + tr td { border-top: 1px solid #ddd } .n { text-align: right } .wide { overflow-x: auto }
.note { font-size: .85rem; color: #444 } figure { margin: 1.2rem 0 }
figure svg { width: 100%; max-width: 48rem; height: auto }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: 12.5px; line-height: 1.4 }
.facts th { text-align: left; font-weight: 600; vertical-align: top }  .facts td { white-space: normal }
@page { size: A4; margin: 16mm }
@media print {
  body { font-size: 10pt; margin: 0; max-width: none; padding: 0 } table { font-size: 7pt }
  th, td { padding: .1rem .3rem }
  .wide { overflow: visible } figure, table { break-inside: avoid } h2 { break-after: avoid }
  section + section, .experiment { break-before: page }
  pre { white-space: pre-wrap; background: none; padding: 0; font-size: 7.5pt } .experiment + pre { column-count: 2 }
}
</style></head><body>
<h1>$title</h1>
<p>$summary</p>
$sections
<h2>To repeat it</h2>
<pre>$repeat</pre>
<table class="facts">$facts</table>
<h2 class="experiment">The experiment</h2>
<pre>$experiment</pre>
</body></html>
""")
