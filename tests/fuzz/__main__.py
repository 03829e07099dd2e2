"""The campaign on mutated files, as a table: PYTHONPATH=tests python -m fuzz --cases 10000 [READER ...].

Without readers it takes them all. Exit status 1 where a reader broke the contract.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from fuzz.campaign import case, run_cases
from fuzz.readers import READERS


def main() -> int:
    parser = argparse.ArgumentParser("fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(READERS))
    parser.add_argument("--cases", type=int, default=10_000, help="of each reader")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which a reader gets no further case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that broke the contract")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # other threads do not survive a fork
    print(
        "| reader | cases | read | refused | slow | violations | seconds |",
        "|---|---|---|---|---|---|---|",
        sep="\n",
        flush=True,
    )
    n_faults = 0
    for name in arguments.readers or READERS:
        with tempfile.TemporaryDirectory() as folder:
            reader, started = READERS[name](Path(folder)), time.monotonic()
            content = reader.path.read_bytes()
            reader.read()
            found = run_cases(reader, arguments.cases, arguments.seconds, arguments.seed)
            counts = f"{found.cases:,} | {found.read:,} | {found.refused:,} | {found.slow:,} | {len(found.faults):,}"
            print(f"| {name} | {counts} | {time.monotonic() - started:.0f} |", flush=True)
            for number, fault in found.faults.items():
                print(f"  {name}, case {number}: {fault}", file=sys.stderr, flush=True)
                if arguments.keep:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    kept = arguments.keep / f"{name.replace(' ', '_').replace('/', '_')}-{number}{reader.path.suffix}"
                    kept.write_bytes(case(reader, content, number, arguments.seed))
        n_faults += len(found.faults)
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
