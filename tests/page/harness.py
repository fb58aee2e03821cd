"""What the tests of the page share: small sets, a state that `moeclip learn` makes of them, the server, and a browser."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "data/model.safetensors"
PATIENCE = 240  # seconds until something that must happen has not; a busy machine is slow


class Failure(AssertionError):
    pass


def wait(what, found, seconds=PATIENCE):
    """Until found() gives something; that. Errors of a page that is just changing count as not yet."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            value = found()
            if value:
                return value
        except Exception as error:  # noqa: BLE001: selenium's stale elements and lookups
            last = str(error).split("Stacktrace:")[0].strip()
        time.sleep(0.05)
    raise Failure(f"not within {seconds} s: {what}" + (f" ({last})" if last else ""))


class Server:
    """moeclip serve on a free port."""

    def __init__(self, moeclip, folder, state, token=None, root=None):
        self.log = open(Path(folder) / f"server-{uuid.uuid4().hex[:6]}.log", "w+")
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
        environment.pop("MOECLIP_TOKEN", None)
        if token:
            environment["MOECLIP_TOKEN"] = token
        command = [moeclip, "serve", "--model", MODEL, "--state", state, "--host", "127.0.0.1", "--port", "0"]
        if root:
            command += ["--root", root]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=environment, text=True)
        self.token = token
        self.url = self._address()

    def _address(self):
        for line in self.process.stdout:
            found = re.search(r"http://[^\s/]+", line)
            if found:
                return found.group(0)
        raise Failure(f"moeclip serve ended before it was ready: {self.errors()}")

    def errors(self):
        self.log.seek(0)
        return self.log.read()[-2000:]

    def stop(self):
        """Ends it as a user would. It must end well: a sanitizer's complaint is a failure."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
            raise Failure("moeclip serve did not end within 60 s of SIGTERM") from None
        finally:
            self.process.stdout.close()
        if code not in (0, 128 + 15, -15) or "Sanitizer" in self.errors():
            raise Failure(f"moeclip serve ended with {code}: {self.errors()}")

    def get(self, path):
        return json.load(urllib.request.urlopen(self._request(path), timeout=PATIENCE))

    def _request(self, path, data=None, kind=None):
        request = urllib.request.Request(self.url + path, data=data)
        if kind:
            request.add_header("Content-Type", kind)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        return request

    def classify(self, picture, **fields):
        """The API's answer for one picture, explained."""
        boundary = uuid.uuid4().hex
        parts = []
        for name, value in {"explain": "1", **fields}.items():
            parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{Path(picture).name}"\r\n'
                     f"Content-Type: image/png\r\n\r\n".encode() + Path(picture).read_bytes() + b"\r\n")
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        request = self._request("/v1/classify", body, f"multipart/form-data; boundary={boundary}")
        return json.load(urllib.request.urlopen(request, timeout=PATIENCE))["answers"][0]


class Browser:
    """Headless Chromium on the page, with what the tests ask of it."""

    def __init__(self):
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                         "--disable-background-networking", "--disable-component-update", "--hide-scrollbars"):
            options.add_argument(argument)
        options.binary_location = shutil.which("chromium")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_script_timeout(PATIENCE)
        self.console, self.requests = [], []

    def quit(self):
        self.driver.quit()

    def cdp(self, command, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def one(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self, css):
        """Also of what is not in view."""
        return self.js("const e = document.querySelector(arguments[0]); return e && e.textContent.trim()", css)

    def texts(self, css):
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim())", css)

    def shown(self, css):
        return self.js("const e = document.querySelector(arguments[0]); return !!e && e.checkVisibility()", css)

    def look(self, width=1200, height=900, dark=False, calm=False):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.cdp("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"}])

    def open(self, url):
        self.driver.get(url)
        wait("the page knows the server", lambda: self.shown("#token-form") or "task" in self.text("#server-status"))

    def tab(self, name):
        self.one(f"#tab-{name}").click()
        wait(f"the view {name}", lambda: self.shown(f"#{name}"))

    def give(self, css, *paths):
        """Files for a file input, as if chosen in its dialog."""
        self.one(css).send_keys("\n".join(str(p) for p in paths))

    def drop(self, css, *paths):
        """A real drop of files or folders on an element."""
        self.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", css)
        box = self.js("""const r = document.querySelector(arguments[0]).getBoundingClientRect();
                         return [r.x + r.width / 2, r.y + r.height / 2]""", css)
        data = {"items": [], "files": [str(p) for p in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.cdp("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)

    def drain(self):
        """Keeps what the console and the network logs have had since the last time."""
        self.console += self.driver.get_log("browser")
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])


class Test:
    """A folder, the sets, a state, a server and a browser; collects what is wrong. Use as a context."""

    def __init__(self, moeclip, pictures):
        self.moeclip, self.wrong = moeclip, []
        self.folder = Path(tempfile.mkdtemp(prefix="moeclip-page-"))
        self.sets = self.folder / "sets"
        self.state = self.folder / "state.safetensors"
        self.servers, self.browser = [], None
        subprocess.run([pictures, self.sets], check=True)
        self._learn()

    def _learn(self):
        self.learn(self.state, "--iterations", "30", "--batch", "8", "--selector-iterations", "60", "--experts", "8",
                   "--bottleneck", "16", "--seed", "1", "--lr", "5e-3", "--warmup", "2")

    def learn(self, state, *options):
        command = [self.moeclip, "learn", "--model", MODEL, "--state", state, "--threads", "2", *options, self.sets / "colours",
                   self.sets / "stripes"]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
        if done.returncode:
            raise Failure(f"moeclip learn: {done.stderr[-2000:]}")

    def serve(self, of=None, **options):
        of = of or self.state
        state = self.folder / f"served-{len(self.servers)}.safetensors"
        shutil.copy(of, state)
        results = of.with_suffix(".results")
        if results.is_dir():
            shutil.copytree(results, state.with_suffix(".results"))
        server = Server(self.moeclip, self.folder, state, **options)
        self.servers.append(server)
        return server

    def check(self, condition, message):
        if not condition:
            print(f"FAILED: {message}", file=sys.stderr)
            self.wrong.append(message)
        return condition

    def same(self, is_, should, what):
        return self.check(is_ == should, f"{what}: {is_!r}, not {should!r}")

    def close_to(self, is_, should, within, what):
        return self.check(abs(is_ - should) <= within, f"{what}: {is_}, not {should} (within {within})")

    def part(self, function, *arguments):
        """A part of the test; what it throws is a failure, and the parts after it run all the same."""
        started = time.monotonic()
        try:
            function(*arguments)
        except Exception:  # noqa: BLE001
            self.check(False, f"{function.__name__}: {traceback.format_exc().split('Stacktrace:')[0].rstrip()}")
            if self.browser and os.environ.get("MOECLIP_PAGE_SHOTS"):
                self.browser.driver.save_screenshot(f"{os.environ['MOECLIP_PAGE_SHOTS']}/{function.__name__}.png")
        print(f"{function.__name__}: {time.monotonic() - started:.1f} s")

    def __enter__(self):
        self.browser = Browser()
        return self

    def __exit__(self, kind, *_):
        if self.browser:
            self.browser.quit()
        for server in self.servers:
            try:
                server.stop()
            except Failure as failure:
                self.check(False, str(failure))
        shutil.rmtree(self.folder, ignore_errors=True)
        return False


def main(run):
    """run(test) with the arguments that ctest gives: the program, and the tool that makes pictures."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} MOECLIP PICTURES")
    with Test(*(str(Path(a).resolve()) for a in sys.argv[1:])) as test:
        run(test)
    print(f"{len(test.wrong)} failures")
    sys.exit(1 if test.wrong else 0)
