"""Problems, methods and compressors of a user's own, from one file: ``--plugin my.py``."""

import hashlib
import importlib.machinery
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from mpimasha.compressors import COMPRESSORS
from mpimasha.compressors.base import Compressor
from mpimasha.errors import UserError
from mpimasha.methods import METHODS
from mpimasha.methods.base import Method
from mpimasha.names import shown
from mpimasha.problems import PROBLEMS
from mpimasha.problems.base import Problem

_KINDS = {"problem": (Problem, PROBLEMS), "method": (Method, METHODS), "compressor": (Compressor, COMPRESSORS)}
_PREFIX = "_mpimasha_plugin_"  # of the names of their modules; the SHA-256 of the file follows
_loaded = {}  # {SHA-256: _Plugin}


@dataclass(frozen=True)
class _Plugin:
    path: str
    classes: list  # of (registry, name)


def load(given, recorded=()):
    """Register what the files define; a file that was loaded before is left as it is.

    Parameters
    ----------
    given : list of str
        Paths, as the user wrote them.
    recorded : list of dict
        {"path", "sha256"} as `loaded` told them when a run was made.  A file of the same name among those given
        takes the place of the one recorded.

    Returns
    -------
    list of str
        A sentence for each file that is no longer as it was recorded.

    Raises
    ------
    UserError
        A file that is missing, fails or defines nothing, or a name that is taken.
    """
    for path in given:
        _load(path)
    changed, named = [], {Path(path).name: path for path in given}
    for entry in recorded:
        path = named.get(Path(entry["path"]).name, entry["path"])
        if not Path(path).exists():
            raise UserError(f"plugin {shown(path)}, which the run was made with, does not exist any more: put it "
                            f"back, or say with --plugin where it is now")
        if _load(path) != entry["sha256"]:
            changed.append(f"plugin {shown(path)} has changed since the run was made: what follows is computed by the "
                           f"new one")
    return changed


def loaded():
    """{"path", "sha256"} of every file loaded in this process, for a manifest."""
    return [{"path": plugin.path, "sha256": digest} for digest, plugin in _loaded.items()]


def check_same(comm):
    """Refuse files that are not the same on all ranks, as on hosts that do not share them; collective."""
    first, *others = comm.gather_objects([*_loaded])
    if any(digests != first for digests in others):
        raise UserError("the files of --plugin are not the same on all ranks: put them where every host sees them")


def _load(path):
    """Register what one file defines; the SHA-256 of its bytes."""
    try:
        source = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"--plugin {shown(path)} does not exist: give the path of a Python file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"--plugin {shown(path)} cannot be read ({error}): give the path of a Python file") from None
    digest, whole = hashlib.sha256(source).hexdigest(), str(Path(path).resolve())
    if digest in _loaded:
        return digest
    _forget(whole)
    module = _executed(source, _PREFIX + digest, whole, path)
    try:
        classes = _classes(module, path)
    except UserError:
        del sys.modules[module.__name__]
        raise
    for registry, cls in classes:
        registry[cls.name] = cls
        cls.origin = digest
    _loaded[digest] = _Plugin(whole, [(registry, cls.name) for registry, cls in classes])
    return digest


def _forget(whole):
    """Unregister what the file defined before it was edited."""
    for digest in [digest for digest, plugin in _loaded.items() if plugin.path == whole]:
        for registry, name in _loaded.pop(digest).classes:
            del registry[name]
        del sys.modules[_PREFIX + digest]


def _executed(source, name, whole, path):
    """The module that `source` makes: the very bytes that were hashed, and no compiled copy beside the file."""
    loader = importlib.machinery.SourceFileLoader(name, whole)
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, whole, loader=loader))
    sys.modules[name] = module  # where annotations and dataclasses look for it
    try:
        exec(compile(source, whole, "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, (Exception, SystemExit)):
            raise UserError(f"--plugin {shown(path)} fails at line {_line(error, whole)}: {type(error).__name__}: "
                            f"{error}") from error
        raise
    return module


def _line(error, whole):
    """The last line of the file that was reached, or that is no Python."""
    if isinstance(error, SyntaxError) and error.filename == whole:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == whole]
    return lines[-1] if lines else 1


def _classes(module, path):
    """[(registry, class)] of what a module defines, checked."""
    found, taken = [], {}
    for cls in vars(module).values():
        if not isinstance(cls, type) or cls.__module__ != module.__name__ or vars(cls).get("name") is None:
            continue
        for kind, (base, registry) in _KINDS.items():
            if issubclass(cls, base) and (registry, cls) not in found:
                _check_name(cls, kind, registry, taken, path)
                found.append((registry, cls))
    if not found:
        raise UserError(f"--plugin {shown(path)} defines no problem, method or compressor: write a subclass of "
                        f"mpimasha.Problem, Method or Compressor with a name of its own, as in name = \"mine\"")
    return found


def _check_name(cls, kind, registry, taken, path):
    name = cls.name
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(f"--plugin {shown(path)}: {cls.__name__}.name = {shown(name)} is no name: use letters, digits "
                        f"and underscores")
    if name in registry or taken.setdefault((kind, name), cls) is not cls:
        raise UserError(f"--plugin {shown(path)}: {cls.__name__}.name = {name!r} names a {kind} that exists already: "
                        f"choose another name")
