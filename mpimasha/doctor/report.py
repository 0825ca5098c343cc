"""The report: findings as lines for a person, and as one object for a program."""

import textwrap

from mpimasha.doctor.finding import NOTE, PROBLEM, several

_WIDEST = 120
_LEVEL, _NAME = 9, 12  # columns


def text(findings, width=None, table=(), footnote=""):
    """The findings by section, and a sentence to end with.

    Parameters
    ----------
    findings : list of Finding
    width : int, optional
        Columns of the terminal; without one a finding is one line, however long, for `grep`.
    table : sequence of str
        Lines to stand below the last section as they are.
    footnote : str
        Stands below the table.
    """
    lines = []
    for section in dict.fromkeys(f.section for f in findings):
        lines += [section, *(line for f in findings if f.section == section for line in _lines(f, width)), ""]
    if table:
        lines += [*table, "", *textwrap.wrap(footnote, min(width or _WIDEST, _WIDEST)), ""]
    return "\n".join([*lines, summary(findings)]) + "\n"


def summary(findings):
    """2 notes, 1 problem."""
    notes, problems = (sum(f.level == level for f in findings) for level in (NOTE, PROBLEM))
    return f"{several(notes, 'note')}, {several(problems, 'problem')}."


def record(findings, **more):
    """What --json prints."""
    rows = [{"section": f.section, "name": f.name, "level": f.level, "value": f.value, "advice": f.advice or None}
            for f in findings]
    return {"findings": rows, "notes": sum(f.level == NOTE for f in findings),
            "problems": sum(f.level == PROBLEM for f in findings), **more}


def _lines(finding, width):
    head = f"  {finding.level:<{_LEVEL}}{finding.name:<{_NAME}}"
    if width is None:
        return [head + finding.value + (f" -> {finding.advice}" if finding.advice else "")]
    room, margin = min(width, _WIDEST), " " * len(head)
    lines = textwrap.wrap(finding.value, room, initial_indent=head, subsequent_indent=margin, break_on_hyphens=False)
    if finding.advice:
        lines += textwrap.wrap(finding.advice, room, initial_indent=f"{margin}-> ", subsequent_indent=f"{margin}   ",
                               break_on_hyphens=False)
    return lines
