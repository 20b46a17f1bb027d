"""Run a Python script with every network connection refused.

    python -P tests/support/offline.py SCRIPT [ARGUMENT...]

-P keeps this folder out of the script's imports.
"""

from __future__ import annotations

import runpy
import socket
import sys
from typing import NoReturn


def refused(*arguments: object, **_: object) -> NoReturn:
    raise ConnectionError(f"this test has no network, and something asked for it: {arguments}")


if __name__ == "__main__":
    socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refused
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
