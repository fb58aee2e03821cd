#!/usr/bin/env python3
"""Makes the pictures of docs/PAGE.md: the page on real pictures, with the real server.

  .deps/tests-venv/bin/python tests/page/screenshots.py MOECLIP [DATA] [OUT]

DATA (.data/demo): made by scripts/demo_data.py. The state with clothes and digits is made in runs/page and kept for the next
time; fabric is taught through the page. OUT (docs) gets page-*.png. They look best with the font Inter (Debian's fonts-inter).
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import MODEL, ROOT, Browser, Server, wait

RUNS = ROOT / "runs/page"
PICTURES_OF_A_CLASS = 60


def learned(moeclip, data):
    """The state with two domains; few steps, so that it takes minutes."""
    state = RUNS / "two.safetensors"
    if not state.exists():
        subprocess.run([moeclip, "learn", "--model", MODEL, "--state", state, "--template", "a picture of a {}",
                        "--iterations", "70", "--batch", "16", "--warmup", "8", "--max-test", "50", "--seed", "1",
                        "--lr", "5e-3", "--reference", data / "reference",
                        "--reference-iterations", "60", "--selector-iterations", "80",
                        "--heldout", f"objects={data / 'zeroshot/objects'}",
                        f"clothes={data / 'fashion-mnist'}", f"digits={data / 'digits/mnist_5k.csv.gz'}"], check=True)
    return state


def shoot(browser, path, most=1500):
    height = browser.js("return document.documentElement.scrollHeight")
    width = browser.js("return innerWidth")
    browser.cdp("Emulation.setDeviceMetricsOverride", width=width, height=min(height, most), deviceScaleFactor=1, mobile=False)
    browser.js("document.activeElement.blur(); scrollTo(0, 0)")
    time.sleep(0.5)
    browser.driver.save_screenshot(str(path))
    print(f"{path}: {path.stat().st_size // 1000} kB")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    moeclip = str(Path(sys.argv[1]).resolve())
    data = Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / ".data/demo").resolve()
    out = Path(sys.argv[3] if len(sys.argv) > 3 else ROOT / "docs").resolve()
    RUNS.mkdir(parents=True, exist_ok=True)
    state = learned(moeclip, data)
    pictures = RUNS / "pictures"
    subprocess.run([sys.executable, ROOT / "scripts/demo_pictures.py", data, pictures], check=True)
    with tempfile.TemporaryDirectory(prefix="moeclip-page-") as folder:
        served = Path(folder) / "state.safetensors"
        shutil.copy(state, served)
        shutil.copytree(state.with_suffix(".results"), served.with_suffix(".results"))
        fabric = Path(folder) / "fabric"
        for kind in sorted((data / "textiles").iterdir()):
            (fabric / kind.name).mkdir(parents=True)
            for path in sorted(kind.iterdir())[100:100 + PICTURES_OF_A_CLASS]:
                shutil.copy(path, fabric / kind.name)
        server = Server(moeclip, folder, served)
        browser = Browser()
        try:
            tour(browser, server, pictures, fabric, out)
        finally:
            browser.quit()
            server.stop()


def answered(browser, n):
    wait("answers", lambda: len(browser.all("#results .bars")) == n and not browser.all("#results [aria-busy=true]"), 240)


def tour(browser, server, pictures, fabric, out):
    browser.look(1180, 800)
    browser.open(server.url)
    browser.tab("teach")
    browser.drop("#folder-drop", fabric)
    wait("the folder", lambda: browser.shown("#source"))
    browser.js("document.querySelector('details:has(#iterations)').open = true")
    for name, value in (("iterations", "60"), ("batch", "16"), ("learning-rate", "0.005"),
                        ("teach-templates", "a picture of a {}")):
        browser.one(f"#{name}").send_keys(value)
    browser.one("#teach-button").click()
    wait("half of the training", lambda: browser.text(".job .phase") == "Training the experts" and
         float(browser.one(".job progress").get_attribute("value") or 0) > 45, 900)
    shoot(browser, out / "page-teach.png")
    wait("the end", lambda: browser.one(".job").get_attribute("data-state") == "done", 1800)

    browser.look(1180, 800)
    browser.tab("tasks")
    wait("the tasks", lambda: len(browser.all(".task")) == 3)
    shoot(browser, out / "page-tasks.png")

    browser.look(1180, 800)
    browser.tab("classify")
    browser.give("#pictures", pictures / "textile_with_a_global_defect.jpg", pictures / "digit_6.png")
    answered(browser, 2)
    browser.js("const d = document.querySelectorAll('.why'); d[0].open = true")
    shoot(browser, out / "page-classify.png")

    browser.look(1180, 800, dark=True)
    browser.one("#pictures-clear").click()
    browser.one("#label-input").send_keys("a cat, a rocket, a cup of coffee, a flag, a car,")
    browser.js("document.querySelector('details:has(#templates)').open = true")
    browser.one("#templates").send_keys("a picture of {}")
    browser.give("#pictures", pictures / "photo_of_a_cat.png")
    answered(browser, 1)
    shoot(browser, out / "page-dark.png")

    browser.look(360, 740)
    browser.one("#labels-clear").click()
    browser.one("#pictures-clear").click()
    browser.js("document.querySelector('details:has(#templates)').open = false")
    browser.give("#pictures", pictures / "digit_2.png")
    answered(browser, 1)
    shoot(browser, out / "page-narrow.png", 1600)


if __name__ == "__main__":
    main()
