"""Read millions of damaged headers of weight files, and say how many were refused.

    TMPDIR=/dev/shm PYTHONPATH=tests envs/run python tests/benchmarks/fuzz_headers.py 10_000_000

In memory, since a disk writes each of the files. A header that is neither refused nor read as what
it says ends it, with the seed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from support.headers import read_damaged

AT_ONCE = 10_000
"""Headers per seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int, help="how many headers")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    options = parser.parse_args()
    refused, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for seed in tqdm(range(options.seed, options.seed + options.number // AT_ONCE)):
            try:
                refused += read_damaged(Path(folder) / "model.safetensors", seed, AT_ONCE)
            except BaseException:
                print(f"seed {seed}", file=sys.stderr)
                raise
    print(f"{options.number:,} headers: {refused:,} refused, the others read; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
