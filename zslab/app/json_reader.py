"""Values out of JSON that a stranger may have written: each has a type and a range, or the file is refused."""

from __future__ import annotations

from collections.abc import Collection

from zslab.errors import InputError, escaped

LARGEST_NUMBER = 1_000_000  # classes, attributes, units of a layer
LARGEST_NAME = 1000  # characters
EXPORT_AGAIN = "Export the model again with `zslab export RUN`, or copy the file again."


def contradiction(where: object, found: object, expected: object) -> InputError:
    """Return the refusal of a model file that is whole but cannot be meant as it is."""
    return InputError("the model file contradicts itself", where=where, found=found, expected=expected, fix=EXPORT_AGAIN)


class JsonReader:
    """The members of a JSON object.

    Args:
        content: what the file holds; must be an object.
        where: file and object, for messages: the member `name` is called "{where}{name}".
    """

    def __init__(self, content: object, where: str):
        if not isinstance(content, dict):
            raise contradiction(where.rstrip(" .,"), type(content).__name__, "a JSON object")
        self.where = where
        self.content: dict[str, object] = content

    def refused(self, name: str, expected: object, found: object = None) -> InputError:
        """Return the refusal of a member; `found` is its value unless given."""
        value = repr(self.content[name]) if name in self.content else "nothing"
        return contradiction(f"{self.where}{name}", value if found is None else found, expected)

    def integer(self, name: str, low: int = 1, high: int = LARGEST_NUMBER) -> int:
        """Return a whole number from low to high."""
        value = self.content.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.refused(name, f"a whole number from {low:,} to {high:,}")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """Return a finite number from low to high."""
        value = self.content.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:  # NaN compares false
            raise self.refused(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.content.get(name)
        if not isinstance(value, bool):
            raise self.refused(name, "true or false")
        return value

    def text(self, name: str, longest: int = LARGEST_NAME) -> str:
        """Return printable text."""
        value = self.content.get(name)
        if not isinstance(value, str) or len(value) > longest or value != escaped(value):
            raise self.refused(name, f"printable text of at most {longest} characters")
        return value

    def choice(self, name: str, allowed: Collection[str]) -> str:
        """Return one of the allowed texts."""
        value = self.content.get(name)
        if not isinstance(value, str) or value not in allowed:
            raise self.refused(name, " or ".join(sorted(allowed)))
        return value

    def names(self, name: str) -> list[str]:
        """Return printable names, each once, at least one."""
        values = self.items(name)
        if not 0 < len(values) <= LARGEST_NUMBER:
            raise self.refused(name, f"1 to {LARGEST_NUMBER:,} names", f"{len(values):,} names")
        printable = [value for value in values if isinstance(value, str) and value.strip() and value == escaped(value)]
        if len(printable) < len(values):
            wrong = next(value for value in values if value not in printable)
            raise self.refused(name, "printable names", repr(wrong))
        if len(set(printable)) < len(printable):
            raise self.refused(name, "every name once", "a name twice")
        return printable

    def items(self, name: str) -> list[object]:
        """Return a list."""
        value = self.content.get(name)
        if not isinstance(value, list):
            raise self.refused(name, "a list")
        return value

    def member(self, name: str) -> dict[str, object]:
        """Return an object."""
        value = self.content.get(name)
        if not isinstance(value, dict):
            raise self.refused(name, "an object")
        return value
