"""First paint and transfer of the console's pages, with nothing in the browser's cache, beside a page that is nothing.

Usage: paint.py LINK LOADS [judge]
Prints a table: what the bare page of another server takes is the browser's own part, the answer is the console's. Loads
take turns, so that all pages meet the same machine. Exit code 1 where more than 200 KiB travel, and, with `judge`, where
the median is over 100 ms and more than 50 ms over the bare page's.
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
pages = {
    "a bare page": f"http://127.0.0.1:{server.server_port}/",
    "Global View": f"{base}/",
    "SHI, with a plot": f"{base}/shi/disk/d0.img",
}
found = {name: [] for name in pages}
with Chromium() as browser:
    browser.go(link)
    browser.fill("password", "for a benchmark")
    browser.fill("confirm", "for a benchmark")
    browser.click("Submit")
    browser.call("Network.setCacheDisabled", cacheDisabled=True)
    for _ in range(loads):
        for name, url in pages.items():
            browser.go("about:blank#")
            browser.bytes = 0
            browser.go(url)
            browser.wait("performance.getEntriesByName('first-contentful-paint').length")
            # What is asked for after the paint travels too.
            browser.wait("!document.querySelector('[data-live]') || window.htmx")
            found[name].append((*browser.run(TIMES), browser.bytes))
print("| page | first paint, median | best | answer | transfer |")
print("|---|---|---|---|---|")
fits = []
bare = statistics.median(paint for paint, *_ in found["a bare page"])
for name, loads in found.items():
    paints, answers, sizes = zip(*loads)
    middle, size = statistics.median(paints), max(sizes)
    print(f"| {name} | {middle:.0f} ms | {min(paints):.0f} ms | {statistics.median(answers):.0f} ms | {size / 1024:.0f} KiB |")
    quick = middle <= max(PAINT_MAX_MS, bare + OVER_BARE_MAX_MS)
    fits.append((quick or not judged) and 0 < size <= TRANSFER_MAX_BYTES)
sys.exit(0 if all(fits) else 1)
