"""The one error that users see, and how a command reports it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Collection

LONGEST_VALUE = 120  # characters of a found value that a message shows
MOST_EXAMPLES = 5  # names that a message lists


class InputError(ValueError):
    """A file, flag or value given by the user cannot be used.

    The message reads `{where}: {problem} (got {found}, expected {expected}). {fix}`, for example
    "--ood_threshold: 'val' needs a validation run (got --select none, expected --select val). Add --select val."

    Args:
        problem: a clause with a verb, without a full stop.
        where: the file, the line of a file, or the flag.
        found: the offending value; cut after 120 characters.
        expected: what would have been right.
        fix: one or more full sentences that tell what to do.
    """

    def __init__(self, problem: str, *, where: object, found: object, expected: object, fix: str):
        found = shortened(str(found), LONGEST_VALUE)
        super().__init__(f"{where}: {problem} (got {found}, expected {expected}). {fix}")
        self.problem, self.where, self.found, self.expected, self.fix = problem, where, found, expected, fix

    def __reduce__(
        self,
    ) -> tuple[object, ...]:  # keyword-only arguments do not survive the default pickling between worker processes
        fields = {"where": self.where, "found": self.found, "expected": self.expected, "fix": self.fix}
        return _rebuild, (self.problem, fields)


def _rebuild(problem: str, fields: dict[str, object]) -> InputError:
    where, found, expected = fields["where"], fields["found"], fields["expected"]
    return InputError(problem, where=where, found=found, expected=expected, fix=str(fields["fix"]))


def shortened(text: str, length: int) -> str:
    """Return `text`, with its middle replaced by " … " where it is longer than `length` characters."""
    if len(text) <= length:
        return text
    head = (length - 3) * 2 // 3
    return f"{text[:head]} … {text[len(text) - (length - 3 - head) :]}"


def examples(names: Collection[object], most: int = MOST_EXAMPLES) -> str:
    """Return the first names, comma separated, and how many more there are: "a, b … and 37 more"."""
    shown = ", ".join(shortened(str(name), LONGEST_VALUE // 2) for name in list(names)[:most])
    return f"{shown} … and {len(names) - most} more" if len(names) > most else shown


def replace_unprintable() -> None:
    """Let stdout and stderr write "?" for what their encoding lacks, such as "λ" on a Latin-1 terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def exit_status(work: Callable[[], int | None], stopped: str = "Stopped.") -> int:
    """Run a command and return its exit status.

    Returns:
        What `work` returns, or 0 for None; 1 after an InputError and 130 after Ctrl-C, each with one line on stderr.
    """
    replace_unprintable()
    try:
        return work() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
