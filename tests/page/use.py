#!/usr/bin/env python3
"""Using the page from end to end: classifying, why, the tasks, teaching with live progress,
cancelling, the token, a lost server."""
import json
import re
import zipfile

from selenium.webdriver.common.keys import Keys

from harness import main, wait

TOKEN = "a-token-for-the-test-of-the-page"


def number(text):
    return float(re.search(r"-?[0-9.]+(e-?[0-9]+)?", text.replace(",", "")).group(0))


def card(browser, name):
    """The index of a picture's card when it is answered, else None."""
    return browser.js("""
      const all = [...document.querySelectorAll('#results > li')];
      const at = all.findIndex((c) => c.querySelector('h3').textContent === arguments[0]);
      const done = at >= 0 && all[at].getAttribute('aria-busy') === 'false' && all[at].querySelector('.bars, .error');
      return done ? at : null""", name)


def answered(browser, name):
    at = wait(f"an answer for {name}", lambda: [card(browser, name)] if card(browser, name) is not None else None)[0]
    return f"#results > li:nth-child({at + 1})"


def compare(test, place, answer, what):
    """A card against the API's answer for the same picture."""
    b = test.browser
    test.same(b.texts(f"{place} .bar-name"), [label["name"] for label in answer["labels"]], f"{what}: labels")
    for text, label in zip(b.texts(f"{place} .bar-value"), answer["labels"]):
        test.close_to(number(text), 100 * label["probability"], 0.0501, f"{what}: probability of {label['name']}")
    test.same(b.text(f"{place} .who"), f"task {answer['task']}" if answer["task"] else "zero-shot", f"{what}: who answers")
    widths = b.js("return [...document.querySelectorAll(arguments[0])].map((e) => parseFloat(e.style.width))",
                  f"{place} .bar > span")
    for width, label in zip(widths, answer["labels"]):
        test.close_to(width, 100 * label["probability"], 0.1, f"{what}: bar of {label['name']}")


def start(test, server):
    b = test.browser
    b.look()
    b.open(server.url)
    b.js("window.stillTheSame = true")
    test.check("2 tasks" in b.text("#server-status"), f"the status: {b.text('#server-status')}")
    test.same(b.texts("#task option"), ["Automatic", "No task: zero-shot", "Task colours", "Task stripes"], "who may answer")


def own_labels(test, server):
    b, picture = test.browser, test.sets / "stripes/test/across/0.png"
    field = b.one("#label-input")
    field.send_keys("a red thing, a zebra,")
    field.send_keys("something striped", Keys.ENTER)
    test.same(b.texts("#label-list .chip > span"), ["a red thing", "a zebra", "something striped"], "chips")
    field.send_keys("a mistake", Keys.ENTER, Keys.BACKSPACE)
    b.js("""const data = new DataTransfer(); data.setData('text/plain', 'one\\ntwo; three');
            arguments[0].dispatchEvent(new ClipboardEvent('paste',
              {clipboardData: data, bubbles: true, cancelable: true}))""", field)
    test.same(b.texts("#label-list .chip > span")[3:], ["one", "two", "three"], "chips of pasted lines")
    for name in ("one", "two", "three"):
        b.one(f"button[aria-label='Remove the label {name}']").click()
    b.give("#pictures", picture)
    labels = ["a red thing", "a zebra", "something striped"]
    compare(test, answered(b, "0.png"), server.classify(picture, labels=json.dumps(labels)), "own labels")
    b.one("#labels-clear").click()
    test.check(b.shown("#stale"), "changed options: no note that the answers are older")
    b.one("#pictures-clear").click()
    test.check(b.shown("#results-empty"), "cleared, but not empty")


def explained(test, server):
    b, picture = test.browser, test.sets / "colours/test/red/0.png"
    b.give("#pictures", picture)
    place, answer = answered(b, "0.png"), server.classify(picture)
    compare(test, place, answer, "a learned task")
    test.same(answer["task"], "colours", "the selector")
    why = answer["explanation"]
    test.check(b.shown(f"{place} .heat"), "the first picture's reasons are open")
    names = b.texts(f"{place} .errors > li .error-name")
    test.same([n.replace("answers", "") for n in names][:2], [e["task"] for e in why["errors"]], "tasks in the chart of errors")
    test.same([n for n in names if n.endswith("answers")], ["coloursanswers"], "the task that is marked")
    for row, error in zip(b.texts(f"{place} .error-value"), why["errors"]):
        shown, threshold = (float(x) for x in re.search(r"error (\S+), threshold ([^\s:]+)", row).groups())
        test.close_to(shown, error["error"], 0.006 * error["error"], f"error of {error['task']}")
        test.close_to(threshold, error["threshold"], 0.006 * error["threshold"], f"threshold of {error['task']}")
        verdict = "fits" if error["error"] <= error["threshold"] else "too far"
        test.same(row.rsplit(": ", 1)[1], verdict, f"verdict on {error['task']}")
    bars = b.js("""return [...document.querySelectorAll(arguments[0])].map((e) => [e.querySelector('.error-fill').style.width,
      e.querySelector('.threshold').style.left].map(parseFloat))""", f"{place} .error-bar:not(.free)")
    for (fill, mark), error in zip(bars, why["errors"]):
        test.check((fill <= mark) == (error["error"] <= error["threshold"]), f"the bar of {error['task']} is on the wrong side")
    cells = b.js("return [...document.querySelectorAll(arguments[0])].map((e) => parseFloat(e.style.getPropertyValue('--v')))",
                 f"{place} .heat > .heat-cell")
    gates = [g for row in why["gates"] for g in row]
    most = max(gates)
    test.same(len(cells), len(gates), "cells of the heat map")
    test.check(most > 0, "no expert fired for a learned picture")
    test.check(all(abs(c - 100 * g / most) < 0.1 for c, g in zip(cells, gates)), "the heat map does not show the gates")
    rows = b.texts(f"{place} .as-table td")
    fired = [sorted(e for e, g in enumerate(row) if g > 0) for row in why["gates"]]
    test.same([sorted(int(e) for e in re.findall(r"(\d+) \(", row)) for row in rows], fired, "the heat map's table")
    test.check("blocks by" in b.one(f"{place} .heat").get_attribute("aria-label"), "the heat map has no description")


def who_answers(test, server):
    b, picture = test.browser, test.sets / "colours/test/green/1.png"
    b.one("#pictures-clear").click()
    b.js("const s = document.querySelector('#task'); s.value = 'none'; s.dispatchEvent(new Event('input', {bubbles: true}))")
    b.drop("#picture-drop", picture)
    place = answered(b, "1.png")
    compare(test, place, server.classify(picture, task="none"), "zero-shot")
    test.check("uses no experts" in b.text(f"{place} .why"), "zero-shot says nothing of experts")
    b.js("const s = document.querySelector('#task'); s.value = 'stripes'; s.dispatchEvent(new Event('input', {bubbles: true}))")
    b.one("#classify-button").click()
    wait("the answer of the named task", lambda: b.text(f"{place} .who") == "task stripes")
    compare(test, place, server.classify(picture, task="stripes"), "a named task")
    b.js("const s = document.querySelector('#task'); s.value = 'auto'; s.dispatchEvent(new Event('input', {bubbles: true}))")
    b.one("#pictures-clear").click()
    broken = test.folder / "<b>broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    note = test.folder / "note.txt"
    note.write_text("not a picture")
    b.give("#pictures", picture, broken, note)
    compare(test, answered(b, "1.png"), server.classify(picture), "beside a broken picture")
    place = answered(b, "<b>broken.png")
    test.check(len(b.text(f"{place} .error") or "") > 10, "a broken picture has no error")
    test.same(b.js("return document.querySelectorAll('#results b').length"),
              b.js("return document.querySelectorAll('#results .who b').length"), "a file name became HTML")
    test.check("1 file left out" in b.text("#picture-error"), "nothing is said of a file that is no picture")
    b.one("#pictures-clear").click()
    b.one("#classify-button").click()
    test.same(b.text("#classify-error"), "Choose at least one picture first.", "nothing to classify")


def tasks(test, server):
    b, known = test.browser, server.get("/v1/tasks")
    b.tab("tasks")
    wait("the tasks", lambda: len(b.all(".task")) == len(known["tasks"]))
    for at, task in enumerate(known["tasks"], 1):
        place = f".task-list > li:nth-child({at})"
        test.same(b.text(f"{place} h3"), task["name"], "a task's name")
        test.same(b.texts(f"{place} .chip"), task["classes"], f"classes of {task['name']}")
        shown = dict(zip(b.texts(f"{place} dt"), b.texts(f"{place} dd")))
        test.same([shown["Pictures"], shown["Iterations"]], [f"{task['images']:,}", f"{task['iterations']:,}"],
                  f"numbers of {task['name']}")
        test.check(task["templates"][0] in b.text(f"{place} > .hint"), f"templates of {task['name']}")
    matrix = known["matrix"]
    if not test.check(matrix, "the server gives no accuracy matrix"):
        return
    test.same(b.texts(".matrix thead th")[1:], matrix["columns"], "columns of the matrix")
    test.same(b.texts(".matrix tbody th"), [row["after"] for row in matrix["rows"]], "rows of the matrix")
    shown = b.js("return [...document.querySelectorAll('.matrix td')].map((e) => parseFloat(e.textContent))")
    values = [v for row in matrix["rows"] for v in row["accuracy"]]
    test.check(len(shown) == len(values) and all(s is None if v is None else s is not None and abs(s - v) <= 0.0501
                                                 for s, v in zip(shown, values)), f"the matrix: {shown}, not {values}")
    test.same(len(b.all("#tasks .curve-place .series")), len(matrix["columns"]), "curves")
    label = b.one("#tasks .curves").get_attribute("aria-label")
    test.check(all(f"{c}:" in label for c in matrix["columns"]), f"the curves' description: {label}")
    use = known["tasks"][-1]["expert_use"]
    test.same(len(b.all("#tasks .heat > .heat-cell")), sum(len(u["counts"]) for u in use), "cells of the experts' use")
    test.same(len(b.all("#tasks .heat > .frozen")), sum(map(sum, (u["frozen"] for u in use))), "experts that are frozen")


def options(b, iterations):
    b.js("document.querySelector('details:has(#iterations)').open = true")
    for name, value in (("iterations", iterations), ("batch", 8), ("learning-rate", 0.005)):
        b.js("document.getElementById(arguments[0]).value = ''", name)
        b.one(f"#{name}").send_keys(str(value))


def refused(test, server):
    b = test.browser
    b.tab("teach")
    b.one("#teach-button").click()
    test.check(b.shown("#name-error") and b.shown("#source-error"), "an empty form is not refused")
    b.drop("#folder-drop", test.sets / "spots/few")
    wait("the complaint of loose pictures", lambda: "subfolder" in (b.text("#source-error") or ""))
    b.one("#task-name").send_keys("colours")
    b.give("#folder", test.sets / "spots")
    wait("the chosen folder", lambda: b.shown("#source"))
    b.one("#teach-button").click()
    test.check("already" in b.text("#name-error"), "a name that is taken is not refused")
    test.same(b.one("#task-name").get_attribute("aria-invalid"), "true", "the name is not marked")
    options(b, 0)
    b.one("#teach-button").click()
    test.check("Iterations" in b.text("#teach-error"), "0 iterations are not refused")
    b.one("#task-name").clear()
    b.one("#source button.quiet").click()


def teach(test, server):
    b = test.browser
    b.drop("#folder-drop", test.sets / "spots")
    wait("the dropped folder", lambda: b.shown("#source"))
    n = len(list((test.sets / "spots").rglob("*.png")))
    test.check(f"2 classes, {n} pictures" in b.text("#source"), f"what was dropped: {b.text('#source')}")
    test.same(b.one("#task-name").get_attribute("value"), "spots", "the name that is suggested")
    options(b, 30)
    b.js("""window.seen = {states: new Set(), phases: new Set(), steps: new Set(), values: new Set(), points: 0};
      new MutationObserver(() => {
        const card = document.querySelector('.job');
        if (!card) return;
        seen.states.add(card.dataset.state);
        seen.phases.add(card.querySelector('.phase').textContent);
        seen.values.add(card.querySelector('progress').getAttribute('value'));
        for (const d of card.querySelectorAll('dt')) seen.steps.add(`${d.textContent}: ${d.nextSibling.textContent}`);
        const line = card.querySelector('polyline');
        if (line) seen.points = Math.max(seen.points, line.getAttribute('points').split(' ').length);
      }).observe(document.querySelector('#jobs'), {subtree: true, childList: true, attributes: true, characterData: true})""")
    b.one("#teach-button").click()
    wait("the task is learned", lambda: b.one(".job").get_attribute("data-state") == "done")
    seen = b.js("return Object.fromEntries(Object.entries(seen).map(([k, v]) => [k, v.size === undefined ? v : [...v]]))")
    test.check("learning" in seen["states"], f"states while learning: {seen['states']}")
    test.check(len([s for s in seen["steps"] if s.startswith("Step: ")]) >= 2, f"steps while learning: {seen['steps']}")
    for what in ("Loss: [0-9]", "Learning rate: [0-9]", "Pictures a second: [0-9]", "Waiting for pictures: [0-9]"):
        test.check(any(re.match(what, s) for s in seen["steps"]), f"no {what} while learning: {seen['steps']}")
    test.check(len(seen["values"]) >= 2, f"the bar stood still: {seen['values']}")
    test.check(seen["points"] >= 2, f"the curve stood still: {seen['points']}")
    wait("3 tasks in the head", lambda: b.text("#server-status").endswith("3 tasks · ready"))
    test.check("learned" in b.text("#live") or "learned" in b.text(".job .phase"), "nobody says that it is learned")
    test.check("Task spots" in b.texts("#task option"), "the new task cannot be chosen")
    b.tab("tasks")
    wait("the new task", lambda: "spots" in b.texts(".task h3"))
    picture = test.sets / "spots/many/3.png"
    b.tab("classify")
    b.one("#pictures-clear").click() if b.shown("#pictures-clear") else None
    b.give("#pictures", picture)
    place, answer = answered(b, "3.png"), server.classify(picture)
    compare(test, place, answer, "the new task")
    test.same(answer["task"], "spots", "who answers for a picture of the new task")
    test.check(b.js("return window.stillTheSame === true"), "the page was loaded again")


def cancelled(test, server):
    b = test.browser
    archive = test.folder / "more stripes.zip"
    with zipfile.ZipFile(archive, "w") as z:
        for path in sorted((test.sets / "stripes").rglob("*.png")):
            z.write(path, path.relative_to(test.sets / "stripes"))
    before = [t["name"] for t in server.get("/v1/tasks")["tasks"]]
    b.tab("teach")
    b.give("#archive", archive)
    wait("the chosen archive", lambda: "more stripes.zip" in b.text("#source"))
    test.same(b.one("#task-name").get_attribute("value"), "more stripes", "the name that is suggested")
    options(b, 20000)
    b.one("#teach-button").click()
    wait("it learns", lambda: b.one(".job").get_attribute("data-state") == "learning" and "Loss" in b.text(".job"))
    # The page can be left and opened again: the job is found.
    b.open(server.url + "/#/teach")
    b.driver.refresh()
    wait("the job after a reload", lambda: b.one(".job").get_attribute("data-state") == "learning")
    b.one(".job .danger").click()
    wait("it is cancelled", lambda: b.one(".job").get_attribute("data-state") == "cancelled")
    test.same([t["name"] for t in server.get("/v1/tasks")["tasks"]], before, "tasks after the cancelled one")
    test.check("as it was" in b.text(".job .phase"), f"what a cancelled job says: {b.text('.job .phase')}")


def token(test):
    server = test.serve(token=TOKEN)
    b = test.browser
    b.open(server.url)
    test.check(b.shown("#token-form") and not b.shown("#classify"), "no token is asked for")
    b.one("#token").send_keys("not-the-token-of-this-server", Keys.ENTER)
    wait("a wrong token is refused", lambda: "does not know" in (b.text("#token-error") or ""))
    b.one("#token").clear()
    b.one("#token").send_keys(TOKEN, Keys.ENTER)
    wait("the token is taken", lambda: b.shown("#classify") and "Task stripes" in b.texts("#task option"))
    b.open(server.url)
    wait("the token is kept", lambda: b.shown("#classify") and "Task stripes" in b.texts("#task option"))
    picture = test.sets / "colours/test/blue/0.png"
    b.give("#pictures", picture)
    compare(test, answered(b, "0.png"), server.classify(picture), "with a token")
    b.one("#forget-token").click()
    test.check(b.shown("#token-form") and b.js("return sessionStorage.length") == 0, "the token is not forgotten")


def without_experts(test):
    """A state that learn makes when nothing says how to train."""
    b, picture, state = test.browser, test.sets / "colours/test/red/0.png", test.folder / "analytic.safetensors"
    test.learn(state)
    server = test.serve(of=state)
    b.open(server.url)
    b.give("#pictures", picture)
    place, answer = answered(b, "0.png"), server.classify(picture)
    compare(test, place, answer, "the analytic method")
    test.same(answer["task"], "colours", "who taught the first label")
    why = b.text(f"{place} .why")
    test.check("Regression" in why and "first label is of colours" in why, f"the analytic method's reason: {why}")
    test.check("experts" not in why and not b.all(f"{place} .heat"), f"experts of a method without: {why}")
    b.js("const s = document.querySelector('#task'); s.value = 'stripes'; s.dispatchEvent(new Event('input', {bubbles: true}))")
    b.one("#classify-button").click()
    wait("the named task's reason", lambda: "You chose the task stripes" in b.text(f"{place} .why"))
    server.stop()


def lost(test, server):
    b = test.browser
    b.open(server.url)
    server.stop()
    b.give("#pictures", test.sets / "colours/test/blue/0.png")
    wait("the server is missed", lambda: "does not answer" in (b.text("#classify-error") or ""))
    test.same(b.text("#classify-button"), "Classify", "the button after a failure")


def run(test):
    server = test.serve()
    for part in (start, own_labels, explained, who_answers, tasks, refused, teach, cancelled):
        test.part(part, test, server)
    test.browser.drain()
    test.same([e["message"] for e in test.browser.console if "401" not in e["message"]], [], "the console")
    test.part(token, test)
    test.part(without_experts, test)
    test.part(lost, test, server)


main(run)
