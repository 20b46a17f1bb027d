"""Run a Python script with every network connection refused: python tests/offline.py SCRIPT [ARGUMENT...]"""

from __future__ import annotations

import runpy
import socket
import sys
from pathlib import Path
from typing import NoReturn


def refused(*arguments: object, **_: object) -> NoReturn:
    raise ConnectionError(f"this test has no network, and something asked for it: {arguments}")


if __name__ == "__main__":
    socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refused
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
