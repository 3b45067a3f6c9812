"""How fast the page of ``backprop-ref play`` trains while it draws, in Chromium.

    python bench/play.py [WORDS OF THE ADDRESS …]      default: data=xor data=digits

Frames a second are those of the browser, epochs those of the worker beside them. The milliseconds of a frame
are processor time of the page's main thread, so that a busy machine does not add to them: of a frame that moves, and of
one in which all that is written is new, of which there are at most four a second.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from backprop_ref.experiments.playing import page_of

SECONDS, FRAMES = 4, 60
COUNTED = """(seconds) => new Promise((resolve) => {
  const { training } = backpropRef.play.session;
  const [start, first] = [performance.now(), training.epoch];
  let frames = 0;
  const next = () => {
    const took = (performance.now() - start) / 1000;
    if (took < seconds) return (frames += 1), requestAnimationFrame(next);
    return resolve([frames / took, (training.epoch - first) / took]);
  };
  requestAnimationFrame(next);
})"""
DRAWN = """([frames, numbers]) => new Promise((resolve) => {
  const { play } = backpropRef;
  Object.defineProperty(play, "running", { get: () => true, configurable: true });
  const next = () => {
    if (frames-- === 0) return delete play.running, resolve();
    play.draw(numbers);
    if (numbers) play.words();
    return requestAnimationFrame(next);
  };
  next();
})"""


def measured(page, words):
    """Frames and epochs a second, and milliseconds of a frame without and with words."""
    page.goto("about:blank")
    page.goto(f"{page.file.as_uri()}#{words}")
    page.wait_for_selector("html[data-ready=yes]")
    train = page.locator('[data-part="train"]')
    train.click()
    page.wait_for_timeout(1000)
    speeds = page.evaluate(COUNTED, SECONDS)
    train.click()
    page.wait_for_function("() => !backpropRef.play.running")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent():
        found = session.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in found if each["name"] == "TaskDuration")

    for numbers in (False, True):
        before = spent()
        page.evaluate(DRAWN, [FRAMES, numbers])
        speeds.append(1000 * (spent() - before) / FRAMES)
    return speeds


def main():
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.file = Path(folder, "play.html")
        page.file.write_text(page_of(), encoding="utf-8")
        for words in sys.argv[1:] or ("data=xor", "data=digits"):
            frames, epochs, moving, written = measured(page, words)
            print(
                f"{words}: {frames:.0f} frames and {epochs:,.1f} epochs a second; "
                f"a frame {moving:.1f} ms, with words {written:.1f} ms"
            )
        browser.close()


if __name__ == "__main__":
    main()
