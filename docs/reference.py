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
import pdoc.render

import latlas

# A name, as pdoc makes a link of it; other text in single backticks holds spaces or signs.
_NAME = re.compile(r"(?<!`)`([A-Za-z_]\w*(?:\.\w+)*)(?:\(\))?`(?!`)")


def module_names() -> list[str]:
    """Return the names of all modules; of a package with an ``__all__``, pdoc would leave some out.

    Without `latlas.__main__`, which is the command: importing it runs it.
    """
    found = []
    for root in map(Path, latlas.__path__):
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[-1] != "__main__":
                found.append(".".join(["latlas", *parts]).removesuffix(".__init__"))
    return sorted(found)


def members(namespace: pdoc.doc.Namespace) -> Iterator[pdoc.doc.Doc]:
    """Yield a module or a class, what it defines itself, and what that defines."""
    yield namespace
    for one in namespace.own_members:
        if isinstance(one, pdoc.doc.Class):
            yield from members(one)
        else:
            yield one


def broken(module: pdoc.doc.Module, known: dict[str, pdoc.doc.Module]) -> Iterator[str]:
    """Yield the names in a module's docstrings that lead nowhere, with where they stand."""
    source = inspect.getsource(module.obj)
    for one in members(module):
        if one.docstring.partition("\n")[0] not in source:
            continue  # what it says is of a base class or a decorator, of another package perhaps
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
    # Members of itself, of the classes that it is in, of its module, and of what that imports.
    scope = where.qualname
    while scope:
        owner = module.get(scope)
        if module.get(f"{scope}.{name}") or name in parameters(owner):
            return True
        scope = scope.rpartition(".")[0]
    first, *rest = name.split(".")
    if module.get(name) or hasattr(builtins, name):
        return True
    found = getattr(module.obj, first, None)
    for part in rest:
        if part in getattr(found, "__annotations__", {}) and part == rest[-1]:
            return True
        found = getattr(found, part, None)
    return found is not None


def parameters(one: pdoc.doc.Doc | None) -> set[str]:
    """Return the parameters of a function, or those that make a class."""
    made = one.get("__init__") if isinstance(one, pdoc.doc.Class) else one
    return set(made.signature.parameters) if isinstance(made, pdoc.doc.Function) else set()


def main(folder: Path) -> int:
    """Write the pages and say what is wrong with them; return the exit code."""
    for name in latlas.__all__:  # imported when they are asked for, which pdoc does not
        setattr(latlas, name, getattr(latlas, name))
    pdoc.render.configure(docformat="google", footer_text=f"latlas {latlas.__version__}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module=r"pdoc(\.|$)")
        # Every module is named here, and each package brings its modules once more.
        warnings.filterwarnings("ignore", "The module specification .* has already been added")
        # The fields of a NamedTuple are annotated in words, which pdoc reads in another module.
        warnings.filterwarnings("ignore", r"Error parsing type annotation ForwardRef.*__init__\.")
        # Python 3.11 has array[int] in annotations only.
        warnings.filterwarnings("ignore", r".* type 'array\.array' is not subscriptable")
        known = {name: pdoc.doc.Module.from_name(name) for name in module_names()}
        problems = [text for module in known.values() for text in broken(module, known)]
        problems += [f"{name} has no docstring" for name in known if not known[name].docstring]
        if not problems:
            pdoc.pdoc(*known, output_directory=folder)
    problems += [str(warning.message) for warning in caught]
    if problems:
        print(*problems, f"{len(problems)} problems", sep="\n", file=sys.stderr)
        return 1
    print(f"{len(known)} modules in {folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(inspect.cleandoc(__doc__))
    sys.exit(main(Path(sys.argv[1])))
