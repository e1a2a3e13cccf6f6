"""First paint and transfer of the console's pages, with nothing in the browser's cache, beside a page that is nothing.

Usage: paint.py LINK LOADS [judge]
Prints a table: what the bare page of another server takes is the browser's own part, the answer is the console's. In an
empty tab the console's pages take longer, as the browser begins another process for what is isolated from other sites
(Cross-Origin-Opener-Policy); from one page to the next it does not. Loads take turns, so that all pages meet the same
machine. Exit code 1 where more than 200 KiB travel, and, with `judge`, where the median from page to page is over 100 ms
and more than 50 ms over the bare page's.
"""

import http.server
import statistics
import sys
import threading
from urllib.parse import urlsplit

from chromium import Chromium

PAINT_MAX_MS = 100
OVER_BARE_MAX_MS = 50
TRANSFER_MAX_BYTES = 200 << 10
BARE = b"<!doctype html><title>bare</title><p>A page."
# First paint, and how long the server took for the page itself, in milliseconds.
TIMES = """(() => {
    const page = performance.getEntriesByType('navigation')[0];
    const paint = performance.getEntriesByName('first-contentful-paint')[0];
    return [paint.startTime, page.responseEnd - page.requestStart];
})()"""


class Bare(http.server.BaseHTTPRequestHandler):
    """Answers everything with the bare page."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(BARE)))
        self.end_headers()
        self.wfile.write(BARE)

    def log_message(self, *_):
        pass


link, loads = sys.argv[1], int(sys.argv[2])
judged = "judge" in sys.argv[3:]
base = "{0.scheme}://{0.netloc}".format(urlsplit(link))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bare)
threading.Thread(target=server.serve_forever, daemon=True).start()
bare = f"http://127.0.0.1:{server.server_port}/"
# Each with a page of the same server to come from.
pages = {
    "a bare page": (bare, f"{bare}other"),
    "Global View": (f"{base}/", f"{base}/help"),
    "SHI, with a plot": (f"{base}/shi/disk/d0.img", f"{base}/help"),
}


def load(browser, origin, url):
    """Loads a page when another one has been; what it took."""
    browser.go(origin)
    browser.wait("!document.querySelector('[data-live]') || window.htmx")
    browser.bytes = 0
    browser.go(url)
    browser.wait("performance.getEntriesByName('first-contentful-paint').length")
    # What is asked for after the paint travels too.
    browser.wait("!document.querySelector('[data-live]') || window.htmx")
    return (*browser.run(TIMES), browser.bytes)


found = {name: [] for name in pages}
with Chromium() as browser:
    browser.go(link)
    browser.fill("password", "for a benchmark")
    browser.fill("confirm", "for a benchmark")
    browser.click("Submit")
    browser.call("Network.setCacheDisabled", cacheDisabled=True)
    for _ in range(loads):
        for name, (url, other) in pages.items():
            found[name].append((load(browser, "about:blank#", url), load(browser, other, url)))
print("| page | first paint in an empty tab | from another page | best | answer | transfer |")
print("|---|---|---|---|---|---|")
fits = []
floor = statistics.median(paint for _, (paint, *_) in found["a bare page"])
for name, turns in found.items():
    empty, turned = (statistics.median(turn[kind][0] for turn in turns) for kind in (0, 1))
    best = min(turn[1][0] for turn in turns)
    answer = statistics.median(turn[1][1] for turn in turns)
    size = max(turn[0][2] for turn in turns)
    times = " | ".join(f"{time:.0f} ms" for time in (empty, turned, best, answer))
    print(f"| {name} | {times} | {size / 1024:.0f} KiB |")
    quick = turned <= max(PAINT_MAX_MS, floor + OVER_BARE_MAX_MS)
    fits.append((quick or not judged) and size <= TRANSFER_MAX_BYTES)
sys.exit(0 if all(fits) else 1)
