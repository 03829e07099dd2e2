"""The one error that users see, and how a command reports it."""

from __future__ import annotations

import errno
import io
import os
import sys
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import TracebackType

LONGEST_VALUE = 120  # characters of a found value that a message shows
LONGEST_PART = 400  # characters of any other part of a message
MOST_EXAMPLES = 5  # names that a message lists
JOINERS = "\u200c\u200d"  # without a shape of their own, but parts of Persian and Hindi words and of emoji
UNPRINTED = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories of controls, marks, half characters and line ends
REFUSALS = (  # of a disk
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)
NO_MEMORY = (  # as libraries say it
    *("allocate memory", "out of memory", "bad_alloc", "bad allocation"),
    *("can't start new thread", "failed to map segment"),
)


class InputError(ValueError):
    """A file, flag or value given by the user cannot be used.

    The message reads `{where}: {must} (got {got}). {fix}`, for example
    "--ood_threshold: val must have a validation run (got --select none). Add --select val."

    Args:
        must: what must hold: a clause with "must", without a full stop.
        where: the file, the line of a file, or the flag.
        got: the offending value; cut after 120 characters.
        fix: one or more full sentences that tell what to do.

    Examples:
        >>> print(InputError("labels must be whole numbers from 1 on", where="a.mat", got=0, fix="Add 1 if they start at 0."))
        a.mat: labels must be whole numbers from 1 on (got 0). Add 1 if they start at 0.
    """

    def __init__(self, must: str, *, where: object, got: object = None, fix: str):
        # Names out of a file may stand in any part.
        must, where = (shortened(escaped(str(part)), LONGEST_PART) for part in (must, where))
        got, fix = shortened(escaped(str(got)), LONGEST_VALUE), shortened(escaped(fix), 2 * LONGEST_PART)
        super().__init__(f"{where}: {must} (got {got}). {fix}")
        self.must, self.where, self.got, self.fix = must, where, got, fix

    def __reduce__(self) -> tuple[object, ...]:  # keyword-only arguments do not survive pickling between worker processes
        return _rebuild, (self.must, self.where, self.got, self.fix)


def _rebuild(must: str, where: object, got: object, fix: str) -> InputError:
    return InputError(must, where=where, got=got, fix=fix)


def escaped(text: str) -> str:
    r"""Return text with `\x1b` and the like for what would change a line or a terminal: marks of direction, controls.

    Characters of private use, and those that this Python's Unicode tables lack, stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if is_unprinted(c) else c for c in text)


def is_unprinted(char: str) -> bool:
    """Return whether a character changes a line or a terminal, or cannot be seen."""
    return unicodedata.category(char) in UNPRINTED and char not in JOINERS


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


@contextmanager
def readable(
    where: object,
    must: str,
    fix: str = "Restore the file, or make it again.",
    kinds: tuple[type[Exception], ...] = (Exception,),
) -> Iterator[None]:
    """Turn the errors of a decoder or of a disk inside the context into one InputError about `where`."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except kinds as error:
        raise InputError(must, where=where, got=getattr(error, "strerror", None) or first_line(error), fix=fix) from error


def refusal(path: object, error: OSError, must: str = "the file must be readable and writable") -> InputError:
    """Return what to say where a disk refuses `path`."""
    fix = "Free some space or choose another folder; files written before are untouched."
    return InputError(must, where=path, got=os.strerror(error.errno or 0), fix=fix)


def explained(error: BaseException | None) -> Exception | None:
    """Return an error that the user can fix: an input, a disk that refuses, too little memory, a loss that is not finite.

    Returns:
        None for bugs.
    """
    if isinstance(error, InputError | FloatingPointError):
        return error
    if isinstance(error, OSError) and error.errno in REFUSALS:
        return refusal(error.filename or "the disk", error)
    text = str(error).lower()
    if isinstance(error, MemoryError) or (isinstance(error, Exception) and any(words in text for words in NO_MEMORY)):
        fix = "Close other programs, lower --batch_size, or pass --memory GIB where the command has it."
        return InputError("there must be enough memory", where="this process", got=first_line(error), fix=fix)
    return None


class _Output(io.TextIOWrapper):
    """Standard output that ignores broken pipes, so that the command still ends its work."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._discard()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._discard()

    def _discard(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def prepare_output() -> None:
    """Let stdout and stderr write "?" for what their encoding lacks, and stdout go on when nobody reads it."""
    if sys.stdout is None:  # closed: no file opened later should get its number
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    elif sys.stdout is sys.__stdout__ and type(sys.stdout) is io.TextIOWrapper:
        old = sys.stdout
        sys.stdout = _Output(old.buffer, old.encoding, line_buffering=old.line_buffering, write_through=old.write_through)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def first_line(error: BaseException | None) -> str:
    """Return the first line of an error's message, or the name of its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class ExitStatus:
    """What a command ends with: inside the context an error of the user, or Ctrl-C, becomes one line on stderr.

    It can be entered several times, and keeps the code of the last error.

    Args:
        stopped: what to say after Ctrl-C, where the exception says nothing.

    Attributes:
        code: 0; 1 after what the user can fix; 130 after Ctrl-C.
    """

    def __init__(self, stopped: str = "Stopped."):
        self.code, self._stopped = 0, stopped

    def __enter__(self) -> ExitStatus:
        prepare_output()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if isinstance(error, KeyboardInterrupt):
            self.code, line = 130, str(error) or self._stopped
        elif (fixable := explained(error)) is not None:
            self.code, line = 1, f"error: {fixable}"
        else:
            return False
        print(line, file=sys.stderr)
        return True
