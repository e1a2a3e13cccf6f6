"""A headless Chromium, driven through its debugging port: go to a page, click, type, look, take a picture.

A wait has a limit and looks at a condition; nothing sleeps for a fixed time. What a page logs as an error is kept, so that
a test can say that there was none. Needs Debian's packages chromium and python3-websocket.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request

import websocket

LIMIT_S = 180


class Failed(Exception):
    """What was waited for did not come."""


class Chromium:
    """One browser with one page; ends with the `with` block."""

    def __init__(self, width=1280, height=900):
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        self.number = 0
        self.errors = []
        self.requests = []
        self.bytes = 0
        self.process = subprocess.Popen(
            [
                shutil.which("chromium"), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
                "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*",
                f"--user-data-dir={self.profile}", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self.profile},
        )
        try:
            port = self._until(self._port, "the debugging port")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                page = next(target for target in json.load(answer) if target["type"] == "page")
            self.socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=LIMIT_S)
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
            self.size(width, height)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the browser and forgets its profile."""
        self.process.terminate()
        try:
            self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def _port(self):
        try:
            with open(os.path.join(self.profile, "DevToolsActivePort"), encoding="ascii") as file:
                return file.readline().strip()
        except FileNotFoundError:
            return None

    @staticmethod
    def _until(look, what):
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            found = look()
            if found:
                return found
            time.sleep(0.05)
        raise Failed(f"{what} did not come in {LIMIT_S} s")

    def call(self, method, **parameters):
        """Asks the browser for something and gives its answer."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                if "error" in message:
                    raise Failed(f"{method}: {message['error']['message']}")
                return message["result"]
            self._note(message)

    def _note(self, message):
        method, facts = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(facts["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.errors.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif method == "Network.loadingFinished":
            self.bytes += int(facts["encodedDataLength"])

    def size(self, width, height, phone=False, scale=1):
        """Gives the page another size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone)

    def dark(self, dark):
        """Prefers a dark page, or a light one."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def go(self, url):
        """Loads a page and waits until all of it is there."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'", url)

    def run(self, script):
        """The value of a script on the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise Failed(f"{script}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def wait(self, condition, what=None):
        """Waits until a condition holds on the page, which may be another page meanwhile."""

        def holds():
            try:
                return self.run(f"Boolean({condition})")
            except Failed:
                return False

        try:
            self._until(holds, what or condition)
        except Failed as failed:
            raise Failed(f"{failed}; the page {self.run('location.href')} says: {self.text()[:2000]}") from None

    def wait_text(self, text):
        """Waits until the page shows a text."""
        self.wait(f"document.body.innerText.includes({json.dumps(text)})", f"the text {text!r}")

    def text(self):
        """All text of the page."""
        return self.run("document.body ? document.body.innerText : ''") or ""

    def _found(self, words, within="a, button"):
        find = (f"[...document.querySelectorAll({json.dumps(within)})].find(e => e.innerText.trim() === {json.dumps(words)}"
                " && e.getClientRects().length)")
        self.wait(find, f"{words!r}")
        return find

    def click(self, words, within="a, button"):
        """Clicks a link or a button by its words and waits for the page that follows."""
        find = self._found(words, within)
        self.run("window.before = true")
        self.run(f"{find}.click()")
        self.wait("window.before === undefined && document.readyState === 'complete'", f"a page after {words!r}")

    def fill(self, name, value):
        """Sets a field of a form."""
        field = f"document.querySelector('[name=\"{name}\"]')"
        self.wait(field, f"the field {name}")
        self.run(f"(f => {{ f.value = {json.dumps(value)}; f.dispatchEvent(new Event('change', {{bubbles: true}})); }})({field})")

    def tick(self, name, value):
        """Ticks a box or chooses one of several."""
        self.run(f"document.querySelector('[name=\"{name}\"][value=\"{value}\"]').click()")

    def picture(self, path, whole=False):
        """Takes a picture of what is seen, or of the whole page."""
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(image["data"]))
