"""Writes the reference of latlas' public names, from their docstrings, as HTML pages.

    python docs/reference.py FOLDER

It fails on whatever pdoc warns of, and on names in docstrings that lead nowhere. In single
backticks are names: of something in sight of the docstring (a parameter, a member, what its module
knows), or of something of latlas in full. What is no name stands in double ones.
"""

from __future__ import annotations

import builtins
import inspect
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pdoc
import pdoc.doc
import pdoc.extract
import pdoc.render

# A name, as pdoc makes a link of it; other text in single backticks holds spaces or signs.
_NAME = re.compile(r"(?<!`)`([A-Za-z_]\w*(?:\.\w+)*)(?:\(\))?`(?!`)")
_COMMAND = "latlas.__main__"  # importing it runs the command


def modules() -> dict[str, pdoc.doc.Module]:
    """Return the modules of latlas by name."""
    names = pdoc.extract.walk_specs(["latlas", f"!{_COMMAND}"])
    return {name: pdoc.doc.Module.from_name(name) for name in names}


def members(namespace: pdoc.doc.Namespace) -> Iterator[pdoc.doc.Doc]:
    """Yield what a module or a class defines itself, and what that defines."""
    yield namespace
    for one in namespace.own_members:
        if isinstance(one, pdoc.doc.Class):
            yield from members(one)
        else:
            yield one


def broken(module: pdoc.doc.Module, known: dict[str, pdoc.doc.Module]) -> Iterator[str]:
    """Yield the names in a module's docstrings that lead nowhere, with where they stand."""
    for one in members(module):
        for name in _NAME.findall(one.docstring):
            if not leads_somewhere(name, one, module, known):
                yield f"{one.fullname}: `{name}`"


def leads_somewhere(
    name: str, where: pdoc.doc.Doc, module: pdoc.doc.Module, known: dict[str, pdoc.doc.Module]
) -> bool:
    """Tell whether a name in the docstring of `where` is one of something."""
    if name == "latlas" or name.startswith("latlas."):
        return any(
            name == path or (name.startswith(f"{path}.") and known[path].get(name[len(path) + 1 :]))
            for path in known
        )
    if isinstance(where, pdoc.doc.Function) and name in where.signature.parameters:
        return True
    # Members of the class that it is in, of the module, and of whatever the module imports.
    *owners, _ = where.qualname.split(".") if where.qualname else [""]
    scopes = [".".join(owners[: i + 1]) for i in range(len(owners))] + [where.qualname]
    if any(module.get(f"{scope}.{name}" if scope else name) for scope in scopes):
        return True
    found: object = module.obj
    for part in name.split("."):
        following = getattr(found, part, None)
        if following is None and part not in getattr(found, "__annotations__", {}):
            return hasattr(builtins, name)
        found = following
    return True


def main(folder: Path) -> int:
    """Write the pages and say what is wrong with them; return the exit code."""
    warnings.filterwarnings("error", module=r"pdoc(\.|$)")
    pdoc.render.configure(docformat="google", footer_text="latlas", search=True)
    known = modules()
    problems = [text for module in known.values() for text in broken(module, known)]
    problems += [f"{name} has no docstring" for name in known if not known[name].docstring]
    if problems:
        print("\n".join(problems), f"{len(problems)} names lead nowhere", sep="\n", file=sys.stderr)
        return 1
    pdoc.pdoc(*known, output_directory=folder)
    print(f"{len(known)} modules in {folder / 'latlas.html'}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(inspect.cleandoc(__doc__))
    sys.exit(main(Path(sys.argv[1])))
