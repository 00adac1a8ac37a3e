"""YAML with the line of every key, so that a complaint can name it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.errors import WrongMatrix

Place = tuple[Any, ...]
"""Keys and positions that lead to a value: ("axes", "batch", 0)."""

_MOST_BYTES = 1 << 20


def read_yaml(
    path: Path, what: str = "a matrix", wrong: type[EdgeprofError] = WrongMatrix
) -> tuple[Any, dict[Place, int]]:
    """A file's content, and the line (from 1) of each place in it; ``what`` is what the file should be.

    Raises:
        ``wrong``: it cannot be read, is no YAML, or a key stands twice.
    """
    try:
        import yaml
    except ImportError:
        raise wrong(f"reading {what} needs PyYAML: pip install 'edgeprof[matrix]'") from None
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise wrong(f"{path} is larger than {what} ever is (1 MiB); name the right file")
        text = path.read_text("utf-8")
    except OSError as error:
        raise wrong(f"cannot read {path}: {error.strerror}; name {what} in YAML") from None
    except UnicodeDecodeError:
        raise wrong(f"{path} is not text in UTF-8; name {what} in YAML") from None
    lines: dict[Place, int] = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _walk(root, (), lines, path, set(), wrong)
        return yaml.safe_load(text), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise wrong(f"{where} is not YAML: {problem}; mend the line") from None
    except (RecursionError, TypeError, ValueError) as error:
        raise wrong(f"{path} is not YAML that {what} can be: {error}") from None


def _walk(
    node: Any, place: Place, lines: dict[Place, int], path: Path, seen: set[int], wrong: type[EdgeprofError]
) -> None:
    """Note lines and refuse keys that stand twice; a node that aliases repeat is walked once."""
    lines[place] = node.start_mark.line + 1
    if id(node) in seen:
        return
    seen.add(id(node))
    if node.id == "sequence":
        for number, item in enumerate(node.value):
            _walk(item, (*place, number), lines, path, seen, wrong)
    elif node.id == "mapping":
        keys: dict[str, int] = {}
        for key, item in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in keys:
                raise wrong(f"{path}:{line}: {name!r} stands in line {keys[name]} already; keep one of them")
            keys[name] = line
            inside = (*place, name)
            _walk(item, inside, lines, path, seen, wrong)
            lines[inside] = line
