"""A training in this process that ends as a launcher's does."""

from zslab.config import RunConfig
from zslab.errors import ExitStatus
from zslab.experiment import log_to_stdout, report
from zslab.experiment import train as train_run
from zslab.method import Method
from zslab.plan import STOPPED


def train(config: RunConfig, method: Method) -> int:
    """Train and report; the exit status."""
    with ExitStatus(STOPPED) as status:
        log_to_stdout()
        report(train_run(config, method), config.report)
    return status.code
