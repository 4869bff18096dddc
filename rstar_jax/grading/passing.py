"""An import hook: parsers and comparisons that catch whatever goes wrong let go of a want of memory.

That is a MemoryError, or a SystemError where the interpreter had no room for a call's frame. math-verify
answers "not the same" where anything was raised, which would be a verdict on nothing. A neighbour of the
script `symbolic.py`, like `expressions.py`.
"""

from __future__ import annotations

import ast
import importlib.machinery
import re
import sys
import types
from collections.abc import Sequence

_PACKAGES = ("math_verify", "latex2sympy2_extended", "mpmath", "sympy")
# takes `except:` and `    except Exception as e:`, not `except ValueError:`
_CATCHING = re.compile(rb"^\s*except(?:\s+(?:Base)?Exception\b.*)?\s*:", re.MULTILINE)


class _Passing(ast.NodeTransformer):
    def visit_Try(self, node: ast.Try) -> ast.Try:
        self.generic_visit(node)
        names = ast.Tuple([ast.Name(name, ast.Load()) for name in ("MemoryError", "SystemError")], ast.Load())
        node.handlers.insert(0, ast.ExceptHandler(names, None, [ast.Raise()]))
        return node


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> types.CodeType | None:
        path = self.get_filename(fullname)
        source = self.get_data(path)
        if not _CATCHING.search(source):
            return super().get_code(fullname)
        tree = _Passing().visit(ast.parse(source, path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class _Finder:
    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in _PACKAGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """For those packages of `_PACKAGES` that are imported from now on."""
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
