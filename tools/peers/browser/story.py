"""The recovery story in a browser: every page is looked at, a disk fails, another one takes its place.

Usage: story.py LINK STORE HEADSTACK PASSWORD [PICTURES]
LINK is what `headstack console open` printed for a store with an array r5 of d0.img to d2.img and further blank disks.
With PICTURES, a directory, pictures of the pages are left there, light, dark and as on a phone.
"""

import os
import subprocess
import sys
from urllib.parse import urlsplit

from chromium import Chromium

link, store, headstack, password = sys.argv[1:5]
pictures = sys.argv[5] if len(sys.argv) > 5 else None
base = "{0.scheme}://{0.netloc}".format(urlsplit(link))

TABS = [
    ("Global View", ["Logical Device Information", "Physical Device Information", "All arrays are well."]),
    ("Logical", ["Create Array", "Spare Pool", "Maintenance"]),
    ("Physical", ["LOCATION", "MODEL", "CAPACITY", "MAX FREE", "REVISION", "STATUS", "PCIE WIDTH", "PCIE SPEED", "Identify"]),
    ("SHI", ["Storage Health Inspector", "TBW", "Detail"]),
    ("Event", ["Download", "Clear", "Prev", "Next", "UserAction"]),
    ("Series", ["headstack.events", "Browse", "Create Snapshot"]),
    ("Tapes", ["Reels", "Catalogue", "Dumps that stopped"]),
    ("Lab", ["Inject", "Scenario", "Replay"]),
    ("Setting", ["System Setting", "Password Setting", "Webhook", "Users"]),
    ("Help", ["Levels", "States of an array", "States of a disk", "Critical – OCE/ORLM - rebuild", "Online Help"]),
]


def run(*words):
    """Runs a verb."""
    subprocess.run([headstack, *words], check=True, stdout=subprocess.DEVNULL)


def disk(number):
    return f"{store}/disks/d{number}.img"


def picture(browser, name):
    """Pictures of the page as it is."""
    if not pictures:
        return
    os.makedirs(pictures, exist_ok=True)
    for dark, width, height, kind in [(False, 1200, 800, "light"), (True, 1200, 800, "dark"), (False, 390, 844, "phone")]:
        browser.size(width, height, phone=kind == "phone")
        browser.dark(dark)
        browser.run("new Promise(done => setTimeout(done, 300))")
        browser.picture(os.path.join(pictures, f"{name}-{kind}.png"), whole=True)
    browser.size(1200, 800)


def shows(browser, texts):
    for text in texts:
        browser.wait(f"document.body.textContent.toLowerCase().includes({text.lower()!r})", f"the text {text!r}")


def every_page(browser):
    for tab, texts in TABS:
        browser.click(tab, within=".tabs a")
        shows(browser, texts)
        assert browser.run("document.querySelector('footer').innerText").startswith("Headstack "), tab
        picture(browser, tab.lower().replace(" ", "-"))
    browser.click("SHI", within=".tabs a")
    browser.click("Detail")
    shows(browser, ["S.M.A.R.T. attributes", "Data Units Written", "Total bytes written"])
    browser.wait("document.querySelector('[data-drawn] canvas')", "a plot of the history")
    picture(browser, "disk")
    browser.click("Series", within=".tabs a")
    browser.click("Browse")
    shows(browser, ["Entries"])
    browser.click("Logical", within=".tabs a")
    browser.click("Spare Pool")
    shows(browser, ["Available Disks"])
    picture(browser, "spares")
    browser.click("Logical", within=".tabs a")
    browser.click("Create Array")
    shows(browser, ["Initialization Method", "Cache Policy", "Block Size"])
    picture(browser, "create")
    browser.click("Logical", within=".tabs a")
    browser.click("Maintenance")
    browser.click("Expand / Migrate")
    shows(browser, ["More disks, another level or block size", "d4.img", "Larger disks"])
    picture(browser, "change")


def dump(browser):
    browser.click("Tapes", within=".tabs a")
    browser.run("window.same = true")
    browser.fill("q", "r5")
    run("sched", "add", "dump", f"{store}/arrays/r5.img", "-f", f"{store}/tapes/r5.tap", "--now", "--store", store)
    # Its end changes the reels and the catalogue of the page that is open.
    for place in ("#ended", "#reels", "#catalogue"):
        browser.wait(f"document.querySelector('{place}')?.textContent.includes('r5.tap')", f"the tape in {place}")
    assert browser.run("window.same && document.querySelector('#q').value") == "r5", "the page was loaded again"
    picture(browser, "dumped")


def story(browser):
    browser.click("Global View", within=".tabs a")
    browser.run("window.same = true")
    run("disk", "inject", disk(4), "slow:60")
    run("disk", "pull", disk(1))
    # Without a reload the page that is open shows it, at the top, with what to do.
    browser.wait_text("Critical – missing disk")
    shows(browser, ["Missing: d1.img", "What to do, step by step", "Back up the array now"])
    first = browser.run("document.querySelector('#live h1').nextElementSibling.className")
    assert "trouble-card" in first and "bad" in first, first
    assert browser.run("window.same"), "the page was loaded again"
    picture(browser, "critical")
    browser.click("Maintenance", within=".trouble-card a")
    shows(browser, ["Array Information", "Add Disk", "Delete"])
    assert "Rename" not in browser.run("document.querySelector('.maintenance').innerText")
    browser.click("Add Disk")
    browser.tick("disk", "d4.img")
    browser.click("Add Disk", within="button")
    browser.wait("document.querySelector('progress')", "the progress of the rebuild")
    shows(browser, ["Rebuilding", "%"])
    picture(browser, "rebuilding")
    run("disk", "heal", disk(4))
    browser.wait("document.querySelector('#live h1 .state').innerText === 'Normal'", "the array is Normal")
    browser.click("Global View", within=".tabs a")
    shows(browser, ["All arrays are well."])
    browser.click("Event", within=".tabs a")
    shows(browser, ["admin: add disk d4.img to array r5", "SpareActive"])


with Chromium(1200, 800) as browser:
    browser.go(link)
    browser.fill("password", password)
    browser.fill("confirm", password)
    browser.click("Submit")
    every_page(browser)
    dump(browser)
    story(browser)
    foreign = [url for url in browser.requests if not url.startswith((base, "data:", "about:"))]
    assert not foreign, foreign
    assert not browser.errors, browser.errors
    browser.click("Log out")
    browser.wait_text("Log in")
    print("ok")
