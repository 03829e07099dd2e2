"""A training in this process that ends as a launcher's does, and a line typed in a shell, in this process too."""

import runpy
import shlex
import sys
from pathlib import Path

import pytest

from zslab import cli
from zslab.config import RunConfig
from zslab.errors import ExitStatus
from zslab.experiment import log_to_stdout, report
from zslab.experiment import train as train_run
from zslab.method import Method
from zslab.plan import STOPPED, tree_modules


def train(config: RunConfig, method: Method) -> int:
    """Train and report; the exit status."""
    with ExitStatus(STOPPED) as status:
        log_to_stdout()
        report(train_run(config, method), config.report)
    return status.code


def typed(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a shell does with `zslab …`, `python SCRIPT …` or `python -c …`, and expect exit status 0."""
    program, *arguments = shlex.split(command)
    with monkeypatch.context() as patch:
        if program == "zslab":
            patch.setattr(sys, "argv", [program, *arguments])
            assert cli.main(arguments) == 0, command
        elif arguments[0] == "-c":
            exec(arguments[1], {})
        else:
            assert Path(program).name.startswith("python"), command
            patch.setattr(sys, "argv", arguments)
            script = Path(arguments[0]).resolve()
            with tree_modules(script.parents[1], script.parent), pytest.raises(SystemExit) as ended:
                runpy.run_path(arguments[0], run_name="__main__")
            assert ended.value.code == 0, command
