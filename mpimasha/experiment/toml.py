"""Writing TOML; the standard library only reads it."""

import json


def dumps(document, notes=None):
    """The text of `document`: plain keys, tables, then arrays of tables, whose own tables stand in a line.

    Parameters
    ----------
    document : dict
        Of an experiment file.
    notes : dict, optional
        {name of an array of tables: a comment to stand above each, or None}.
    """
    plain = {key: value for key, value in document.items() if not isinstance(value, dict) and not _blocks(value)}
    parts = [_lines(plain)]
    parts += [f"[{_key(key)}]\n" + _lines(value) for key, value in document.items() if isinstance(value, dict)]
    for key, value in document.items():
        if _blocks(value):
            for block, note in zip(value, (notes or {}).get(key) or [None] * len(value)):
                parts.append((f"# {note}\n" if note else "") + f"[[{_key(key)}]]\n" + _lines(block))
    return "\n".join(filter(None, parts))


def _blocks(value):
    return isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value)


def _lines(table):
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in table.items())


def _value(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _key(key):
    return key if key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key) else _text(key)


def _text(value):
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
