"""The documentation site: ``sphinx-build -W --keep-going -n docs docs/_build``."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import mpimasha  # noqa: E402
from reference import escaped  # noqa: E402

project = "mpimasha"
author = "mpimasha authors"
copyright = author
release = mpimasha.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc", "reference"]
exclude_patterns = ["_build"]
smartquotes = False
html_theme = "alabaster"
html_theme_options = {"page_width": "1400px", "body_max_width": "none", "code_font_size": "0.78em",  # tables are wide
                      "description": "Variational inequalities over MPI, in few bits"}
html_show_sourcelink = False

autodoc_typehints = "none"  # numpydoc's sections say them
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

_PAGE = re.compile(r"``docs/(\w+)\.rst``")


def _link(lines):
    """``docs/theory.rst``, as files and docstrings name a page, is a link on the site."""
    return [_PAGE.sub(r":doc:`\1`", line) for line in lines]


def _mend_docstring(app, what, name, obj, options, lines):
    lines[:] = _link(escaped(lines))


def _mend_page(app, docname, source):
    source[:] = _link(source)


def setup(app):
    app.connect("autodoc-process-docstring", _mend_docstring, priority=900)  # after numpydoc
    app.connect("source-read", _mend_page)
