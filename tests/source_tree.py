"""What the project's own modules import, read from their syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("collectors", "workloads", "profiler", "dashboards", "kmodule")
"""The folders at the top that are imported as ``edgeprof.<folder>``."""


@dataclass(frozen=True)
class Import:
    """One imported module.  ``lazy``: inside a function.  ``typing_only``: under ``if TYPE_CHECKING``."""

    name: str
    line: int
    lazy: bool = False
    typing_only: bool = False


def project_modules() -> dict[str, Path]:
    """Every module of the project by its import name; packages by their ``__init__.py``."""
    found = {}
    for folder in ("edgeprof/cli", *FOLDERS):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found[module_name(path)] = path
    found["edgeprof"] = ROOT / "edgeprof/__init__.py"
    return found


def module_name(path: Path) -> str:
    """``collectors/block/parse.py`` -> ``edgeprof.collectors.block.parse``."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts if parts[0] == "edgeprof" else ["edgeprof", *parts])


def imports_of(
    source: str, name: str = "", is_package: bool = False, modules: Mapping[str, Path] | None = None
) -> list[Import]:
    """All imports in ``source``, the text of module ``name``, as absolute module names.

    ``from x import y`` counts as an import of ``x.y`` where that is one of ``modules``, else of ``x``.
    """
    known = modules or {}
    package = name if is_package else name.rpartition(".")[0]
    return list(_walk(ast.parse(source), package, known, lazy=False, typing_only=False))


def _walk(node: ast.AST, package: str, known: Mapping[str, Path], lazy: bool, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, lazy, typing_only)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parents = package.split(".")
                kept = parents[: len(parents) - child.level + 1]
                base = ".".join([*kept, base] if base else kept)
            for target in {f"{base}.{alias.name}" for alias in child.names}:
                yield Import(target if target in known else base, child.lineno, lazy, typing_only)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for statement in child.body:
                yield from _walk(ast.Module([statement], []), package, known, lazy, typing_only=True)
            for statement in child.orelse:
                yield from _walk(ast.Module([statement], []), package, known, lazy, typing_only)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _walk(child, package, known, lazy or inside, typing_only)


def project_imports(modules: Mapping[str, Path]) -> dict[str, list[Import]]:
    """Module name -> its imports, for all ``modules``."""
    return {
        name: imports_of(path.read_text(), name, path.name == "__init__.py", modules) for name, path in modules.items()
    }


def find_circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The nodes of one circle in a directed graph, the first one repeated at the end; empty when there is none."""
    done: set[str] = set()
    for start in sorted(graph):
        trail: list[str] = []
        stack = [(start, iter(sorted(graph[start])))]
        while stack:
            node, following = stack[-1]
            if node not in trail:
                trail.append(node)
            for target in following:
                if target in trail:
                    return [*trail[trail.index(target) :], target]
                if target in graph and target not in done:
                    stack.append((target, iter(sorted(graph[target]))))
                    break
            else:
                done.add(node)
                trail.pop()
                stack.pop()
    return []
