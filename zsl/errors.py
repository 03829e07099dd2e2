"""The one error a user should ever see: what is wrong, where, what was found, what was expected, what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable


class InputError(ValueError):
    """A file, flag or value given by the user cannot be used.

    Args:
        what: one sentence fragment naming the problem, e.g. "features contain NaN".
        where: the file (and key) or flag it was found in.
        found: the offending value.
        expected: what would have been right.
        cure: an imperative sentence telling what to do next.
    """

    def __init__(self, what: str, *, where: object, found: object, expected: object, cure: str):
        super().__init__(f"{what} in {where}: found {found}; expected {expected}. {cure}")
        self.what, self.where, self.found, self.expected, self.cure = what, where, found, expected, cure

    def __reduce__(self):  # keyword-only arguments do not survive the default pickling between worker processes
        fields = dict(where=self.where, found=self.found, expected=self.expected, cure=self.cure)
        return _rebuild, (self.what, fields)


def exit_status(work: Callable[[], int | None], stopped: str = "Stopped.") -> int:
    """Does the work of a command and returns its exit status.

    Returns:
        What `work` returns, 0 if that is None; 1 after an InputError, 130 after Ctrl-C, each told in one line on stderr.
    """
    try:
        return work() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130


def _rebuild(what: str, fields: dict) -> InputError:
    return InputError(what, **fields)
