"""A real Chromium without a window, driven over the DevTools protocol through a pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium")

ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
PATIENCE = 60
"""Seconds that something may take to become true."""


class Browser:
    """One tab.

    Attributes:
        errors: what the console said of errors, and exceptions that nothing caught.
        requests: addresses that were asked for.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = os.fdopen(to_browser, "wb", 0), os.fdopen(from_browser, "rb", 0)
        self._buffer, self._number, self._session = b"", 0, None
        self._loads = 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; what happens meanwhile is noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            received = self._receive()
            if received.get("id") == self._number:
                assert "error" not in received, (method, received["error"])
                return received["result"]
            self._note(received)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = self._from.read(1 << 20)
            assert chunk, "Chromium has ended"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, about = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(about["exceptionDetails"].get("exception", about["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "assert", "warning"):
            self.errors.append(json.dumps(about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.errors.append(about["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loads += 1

    def open(self, path: Path, width: int = 1280, height: int = 900) -> None:
        """Open a file, as a user does."""
        self.resize(width, height)
        self._load("Page.navigate", url=path.resolve().as_uri())

    def resize(self, width: int = 1280, height: int = 900) -> None:
        """Change the size of the window."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def reload(self) -> None:
        self._load("Page.reload")

    def _load(self, method: str, **parameters: Any) -> None:
        """Call a method that loads a page, and wait for the page: until then the old one may
        answer.
        """
        loads = self._loads
        self.call(method, **parameters)
        while self._loads == loads:
            self._note(self._receive())

    def run(self, expression: str) -> Any:
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Wait until an expression becomes true, and return its value."""
        end = time.monotonic() + PATIENCE
        while not (value := self.run(expression)):
            assert time.monotonic() < end, f"{expression} did not become true; errors: {self.errors}"
            time.sleep(0.05)
        return value

    def text(self, selector: str) -> str:
        """The text that a user sees of an element."""
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def texts(self, selector: str) -> list[str]:
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.innerText)")

    def click(self, selector: str, text: str = "") -> None:
        """Click the first element that a selector finds, with this text in it."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})].find(one => one.innerText.includes({json.dumps(text)}))"
        place = self.run(
            f"(() => {{ const one = {found}; one.scrollIntoView({{block: 'center'}}); const box = one.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def choose(self, name: str, value: str) -> None:
        """Choose an option of a select element."""
        self.run(
            f"(() => {{ const one = document.querySelector('select[name={json.dumps(name)}]'); one.value = {json.dumps(value)};"
            " one.dispatchEvent(new Event('change', {bubbles: true})); return one.value; })()"
        )

    def type(self, text: str) -> None:
        """Type into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def key(self, key: str, code: int = 0) -> None:
        """Press a key and let it go."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        about = {"key": key, "windowsVirtualKeyCode": code or (ord(key.upper()) if len(key) == 1 else 0)}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def downloads_to(self, folder: Path) -> None:
        session, self._session = self._session, None  # a setting of the whole browser
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self._session = session

    def picture(self, path: Path) -> None:
        """Write what is seen to a PNG file."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        self._session = None
        self._to.write(json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser with an empty profile in a folder, without a network."""
    there, to_browser = os.pipe()
    from_browser, here = os.pipe()
    # The pipe's ends are the browser's file descriptors 3 and 4.
    script = f'exec "$0" "$@" 3<&{there} 4>&{here}'
    offline = ("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder}", "--window-size=1280,900")
    process = subprocess.Popen(
        ["bash", "-c", script, PROGRAM, *ARGUMENTS, *offline],
        pass_fds=(there, here),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(there)
    os.close(here)
    try:
        browser = Browser(to_browser, from_browser)
        yield browser
        browser.close()
        process.wait(20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
