"""Start the evaluation of a batch again and again, and kill it at random moments (SIGKILL).

    killing.py BATCH FOLDER KILLS

Each kill comes when at most two more tasks (or blocks of a search) are finished, and then at a
random moment. Prints JSON: `kills`; how many tasks were `finished` after each; how many finished
tasks were `repeated`. Each evaluation is a fork of this process, in which the libraries are
imported once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from langmerge.live.family import Family


def parts(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("scores/**/tasks/*.json")}


def main() -> None:
    file, folder, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    moments, finished, repeated = random.Random(1), [], 0
    before: dict[Path, int] = {}
    for number in range(kills + 1):
        child = os.fork()
        if not child:
            Family(file, threads=1).run()
            os._exit(0)
        if number < kills:
            wanted = len(before) + moments.randrange(3)
            while len(parts(folder)) < wanted and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                time.sleep(0.02)
            time.sleep(moments.uniform(0, 0.3))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        now = parts(folder)
        # A search's blocks are gone when their documents are among those of a whole task.
        gone = {path for path in before if ".block-" in path.name and path not in now}
        repeated += sum(now.get(path) != written for path, written in before.items() if path not in gone)
        finished.append(len(now))
        before = now
    assert status == 0, status
    print(json.dumps({"kills": kills, "finished": finished, "repeated": repeated}))


if __name__ == "__main__":
    main()
