"""Elements of a page. Text is escaped by the serialiser: nothing here is glued from strings.

Names in tables, models and studies come from files, and files from anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from xml.etree import ElementTree as ET

Child = ET.Element | str | None

MAX_TEXT = 1000
"""Longer texts from files are cut."""

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def clean(text: str) -> str:
    """Return a text that may stand in a page: cut, and without what would garble it.

    Control characters, halves of surrogate pairs and marks that turn the direction of writing are
    replaced.

    >>> clean("a\\x00b\\u202ec")
    'a\ufffdb\ufffdc'
    """
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "…"
    return _UNPRINTABLE.sub("\ufffd", text)


def element(tag: str, *children: Child, **attributes: object) -> ET.Element:
    """Return an element.

    Args:
        tag: its name.
        children: elements and texts in order; None is left out.
        attributes: ``class_`` is ``class``, ``stroke_width`` is ``stroke-width``; None is left
            out, other values are written as text.

    >>> serialise(element("p", "1 < 2 ", element("b", "&"), class_='"x"'))
    '<p class="&quot;x&quot;">1 &lt; 2 <b>&amp;</b></p>'
    """
    found = ET.Element(tag)
    for name, value in attributes.items():
        if value is not None:
            found.set(name.rstrip("_").replace("_", "-"), clean(str(value)))
    append(found, *children)
    return found


def append(parent: ET.Element, *children: Child) -> ET.Element:
    """Append children to an element, and return it."""
    for child in children:
        if isinstance(child, ET.Element):
            parent.append(child)
        elif child is not None:
            text = clean(child)
            if len(parent):
                parent[-1].tail = (parent[-1].tail or "") + text
            else:
                parent.text = (parent.text or "") + text
    return parent


def serialise(found: ET.Element) -> str:
    """Return an element as HTML, which inside an SVG is well-formed XML too.

    The text of scripts and styles, which are ours, stays as it is; the library would write a ``<``
    of an attribute as it is too.
    """
    return "".join(_parts(found))


_VOID = ("meta",)
_VERBATIM = ("script", "style")


def _parts(found: ET.Element) -> Iterator[str]:
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in found.items())
    yield f"<{found.tag}{attributes}>"
    if found.tag not in _VOID:
        text = found.text or ""
        yield text if found.tag in _VERBATIM else escape(text, quote=False)
        for child in found:
            yield from _parts(child)
            yield escape(child.tail or "", quote=False)
        yield f"</{found.tag}>"
