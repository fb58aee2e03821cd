#!/usr/bin/env python3
"""Whether everyone can use the page: names for screen readers, headings, contrast in both colour schemes, the keyboard alone,
narrow screens, reduced motion; and that it asks no other host and the console stays empty."""
from urllib.parse import urlsplit

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from harness import main, wait

CONTROLS = {"button", "textbox", "combobox", "spinbutton", "checkbox", "radio", "tab", "link", "tabpanel", "tablist",
            "progressbar", "ProgressIndicator", "img", "image", "region", "searchbox", "slider", "listbox"}

# Every piece of text that is in view, with the colours that it really has: [text, ratio, where].
CONTRAST = r"""
  const parse = (c) => {
    const n = c.match(/-?[\d.]+(e-?\d+)?%?/g).map((x) => (x.endsWith('%') ? parseFloat(x) / 100 : Number(x)));
    if (c.startsWith('color(')) return [n[0] * 255, n[1] * 255, n[2] * 255, n[3] ?? 1];
    return [n[0], n[1], n[2], n[3] ?? 1];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const background = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const c = parse(getComputedStyle(at).backgroundColor);
      if (c[3] > 0) layers.push(c);
      if (c[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const out = [];
  const add = (e, text, style, colour) => {
    let alpha = 1;
    for (let at = e; at; at = at.parentElement) alpha *= Number(getComputedStyle(at).opacity);
    const back = background(e), fore = parse(colour);
    fore[3] *= alpha;
    out.push([text.trim().slice(0, 40), ratio(over(fore, back), back),
      `${e.tagName.toLowerCase()}.${e.getAttribute('class') || e.id}`]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement;
    if (!node.textContent.trim() || !e.checkVisibility({visibilityProperty: true})) continue;
    if (e.closest('.hidden-text, script, noscript, option')) continue;
    const style = getComputedStyle(e);
    add(e, node.textContent, style, e instanceof SVGElement ? style.fill : style.color);
  }
  for (const e of document.querySelectorAll('input, textarea, select')) {
    if (!e.checkVisibility() || e.classList.contains('hidden-input')) continue;
    add(e, e.value || 'value', getComputedStyle(e), getComputedStyle(e).color);
    if (e.placeholder) add(e, e.placeholder, getComputedStyle(e), getComputedStyle(e, '::placeholder').color);
  }
  return out;
"""

FOCUS = """
  const e = document.activeElement;
  const chips = e.tagName === 'INPUT' && e.closest('.chips');
  const seen = e.classList.contains('hidden-input') ? e.nextElementSibling : chips || e;
  const s = getComputedStyle(seen), r = seen.getBoundingClientRect();
  return {id: e.id, tag: e.tagName, text: (e.textContent || '').trim().slice(0, 40),
          ring: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2,
          inView: r.width > 0 && r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth};
"""


def structure(test, where):
    b = test.browser
    doubles = b.js("""const n = {}; for (const e of document.querySelectorAll('[id]')) n[e.id] = (n[e.id] || 0) + 1;
                      return Object.keys(n).filter((k) => n[k] > 1)""")
    test.same(doubles, [], f"{where}: ids that occur twice")
    lost = b.js("""const all = [...document.querySelectorAll(
        '[aria-labelledby],[aria-describedby],[aria-controls],label[for]')];
      return all.flatMap((e) => ['aria-labelledby', 'aria-describedby', 'aria-controls', 'for']
        .flatMap((a) => (e.getAttribute(a) || '').split(' ').filter(Boolean)))
      .filter((id) => !document.getElementById(id))""")
    test.same(lost, [], f"{where}: ids that are referred to and not there")
    levels = b.js("""return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].filter((e) => e.checkVisibility())
      .map((e) => Number(e.tagName[1]))""")
    test.check(levels and levels[0] == 1 and levels.count(1) == 1, f"{where}: headings {levels}")
    test.check(all(b_ <= a + 1 for a, b_ in zip(levels, levels[1:])), f"{where}: a level of headings is left out: {levels}")
    bare = b.js("return [...document.querySelectorAll('img')].filter((e) => !e.hasAttribute('alt')).length")
    test.same(bare, 0, f"{where}: pictures without alt")
    wide = b.js("return [...document.querySelectorAll('[tabindex]')].filter((e) => e.tabIndex > 0).length")
    test.same(wide, 0, f"{where}: a tabindex above 0")


def names(test, where):
    nodes = test.browser.cdp("Accessibility.getFullAXTree")["nodes"]
    found = 0
    for node in nodes:
        role = node.get("role", {}).get("value")
        if node.get("ignored") or role not in CONTROLS:
            continue
        found += 1
        name = node.get("name", {}).get("value", "").strip()
        if not name and role in ("img", "image"):
            continue  # an empty alt: decoration; that there is one is checked elsewhere
        test.check(name, f"{where}: a {role} without a name: {node.get('properties')}")
    test.check(found > 5, f"{where}: the accessibility tree has only {found} controls")
    roles = [n.get("role", {}).get("value") for n in nodes if not n.get("ignored")]
    for landmark in ("banner", "main", "contentinfo", "tablist", "tabpanel"):
        test.check(landmark in roles, f"{where}: no {landmark}")


def contrast(test, where):
    for dark in (False, True):
        test.browser.look(dark=dark, calm=True)
        found = test.browser.js(CONTRAST)
        test.check(len(found) > 15, f"{where}: only {len(found)} texts in view")
        bad = {f"{text!r} {place}: {ratio:.2f}" for text, ratio, place in found if ratio < 4.5}
        test.same(sorted(bad), [], f"{where}, {'dark' if dark else 'light'}: contrast below 4.5")
    test.browser.look()


def narrow(test, where):
    b = test.browser
    b.look(width=320, height=640)
    wide = wait("a layout", lambda: [b.js("return document.documentElement.scrollWidth")])[0]
    out = b.js("""return [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() &&
      e.getBoundingClientRect().right > 321 && !e.closest('.scroll'))
      .map((e) => e.tagName + '.' + (e.getAttribute('class') || e.id)).slice(0, 5)""")
    test.check(wide <= 320, f"{where}: {wide} pixels wide on a screen of 320: {out}")
    small = b.js("""return [...document.querySelectorAll('button, .button, select, input:not(.hidden-input), summary')]
      .filter((e) => e.checkVisibility())
      .map((e) => [e.textContent.trim() || e.id, e.getBoundingClientRect()])
      .filter(([, r]) => r.height < 24 || r.width < 24).map(([t]) => t)""")
    test.same(small, [], f"{where}: targets smaller than 24 pixels")
    b.look()


def calm(test, where):
    test.browser.look(calm=True)
    moving = test.browser.js("""return [...document.querySelectorAll('*')].filter((e) => { const s = getComputedStyle(e);
      return s.animationName !== 'none' || s.transitionDuration.split(',').some((d) => parseFloat(d) > 0.01); }).length""")
    test.same(moving, 0, f"{where}: things that move although motion is to be reduced")
    test.browser.look()


def everything(test, where):
    structure(test, where)
    names(test, where)
    narrow(test, where)
    contrast(test, where)
    calm(test, where)


def press(b, *keys):
    ActionChains(b.driver).send_keys(*keys).perform()


def tab_to(test, accept, backwards=False, most=60):
    """Presses Tab until the focus is where it should be; each stop must show its focus."""
    b = test.browser
    for _ in range(most):
        if backwards:
            ActionChains(b.driver).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
        else:
            press(b, Keys.TAB)
        now = b.js(FOCUS)
        if now["tag"] in ("BODY", "HTML", "MAIN"):
            continue
        test.check(now["ring"], f"no visible focus on {now}")
        test.check(now["inView"], f"the focus is out of view on {now}")
        if accept(now):
            return now
    test.check(False, "the keyboard does not get there")
    return None


def keyboard(test, server):
    b = test.browser
    b.look()
    b.open(server.url)
    wait("the tasks", lambda: "Task stripes" in b.texts("#task option"))
    press(b, Keys.TAB)
    test.same(b.js("return document.activeElement.className"), "skip", "the first stop")
    tab_to(test, lambda n: n["id"] == "tab-classify")
    for key, name in ((Keys.ARROW_RIGHT, "tasks"), (Keys.ARROW_RIGHT, "teach"), (Keys.ARROW_RIGHT, "classify"),
                      (Keys.ARROW_LEFT, "teach"), (Keys.HOME, "classify"), (Keys.END, "teach"), (Keys.HOME, "classify")):
        press(b, key)
        test.check(b.shown(f"#{name}"), f"an arrow key does not show {name}")
        test.same(b.js("return document.activeElement.id"), f"tab-{name}", "the focus in the tabs")
        test.same(b.texts("[role=tab][aria-selected=true]"), [b.text(f"#tab-{name}")], "the tab that is chosen")
        test.same(b.js("return document.querySelectorAll('[role=tabpanel]:not([hidden])').length"), 1, "panels in view")
        stops = b.js("return [...document.querySelectorAll('[role=tab]')].filter((t) => t.tabIndex === 0).length")
        test.same(stops, 1, "tabs in the tab order")
    tab_to(test, lambda n: n["id"] == "label-input")
    press(b, "red thing, green thing", Keys.ENTER, "blue thing", Keys.ENTER, "oops", Keys.ENTER, Keys.BACKSPACE)
    test.same(b.texts("#label-list .chip > span"), ["red thing", "green thing", "blue thing"], "labels by keyboard")
    tab_to(test, lambda n: n["id"] == "pictures", backwards=True)
    b.driver.switch_to.active_element.send_keys(str(test.sets / "colours/test/red/0.png"))
    wait("an answer", lambda: len(b.all("#results .bar-name")) == 3)
    wait("the answer is said", lambda: "1 picture classified" in b.text("#live"))
    tab_to(test, lambda n: n["id"] == "task")
    press(b, Keys.ARROW_DOWN)
    test.same(b.one("#task").get_attribute("value"), "none", "who answers, by keyboard")
    tab_to(test, lambda n: n["id"] == "classify-button")
    press(b, Keys.ENTER)
    wait("zero-shot", lambda: b.text("#results .who") == "zero-shot")
    tab_to(test, lambda n: n["text"] == "Why this answer")
    opened = b.js("return document.querySelector('.why').open")
    press(b, Keys.ENTER)
    test.check(b.js("return document.querySelector('.why').open") != opened, "Enter does not open or close the reasons")
    press(b, Keys.ENTER)
    tab_to(test, lambda n: n["text"] == "×", backwards=True)
    press(b, Keys.ENTER)
    test.same(len(b.all("#label-list .chip")), 2, "labels after one was removed")
    test.check(b.js("return document.activeElement.closest('#label-chips') !== null"), "the focus after a label was removed")
    for name in ("tasks", "teach"):
        b.one(f"#tab-{name}").send_keys(Keys.ENTER)
        for _ in range(12):
            press(b, Keys.TAB)
            now = b.js(FOCUS)
            good = now["tag"] in ("BODY", "HTML", "MAIN") or (now["ring"] and now["inView"])
            test.check(good, f"{name}: no visible focus on {now}")
    b.tab("classify")


def views(test, server):
    b = test.browser
    b.open(server.url)
    b.one("#label-input").send_keys("red thing,green thing,")
    broken = test.folder / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    b.give("#pictures", test.sets / "colours/test/red/1.png", broken, test.sets / "spots/few/1.png")
    wait("answers", lambda: len(b.all("#results .bars")) == 2 and len(b.all("#results .error")) == 1)
    b.js("document.querySelectorAll('#classify details').forEach((d) => { d.open = true })")
    b.one("#top").send_keys("9")
    everything(test, "classify")
    b.tab("tasks")
    wait("tasks", lambda: len(b.all(".task")) == 2)
    b.js("document.querySelectorAll('#tasks details').forEach((d) => { d.open = true })")
    everything(test, "tasks")
    b.tab("teach")
    b.give("#folder", test.sets / "spots")
    wait("the chosen folder", lambda: b.shown("#source"))
    b.js("document.querySelectorAll('#teach details').forEach((d) => { d.open = true })")
    b.one("#task-name").clear()
    b.one("#teach-button").click()
    everything(test, "teach, with complaints")
    b.one("#task-name").send_keys("spots")
    b.one("#iterations").send_keys("20000")
    b.one("#batch").send_keys("8")
    b.one("#teach-button").click()
    wait("it learns", lambda: b.one(".job").get_attribute("data-state") == "learning" and len(b.all(".job dd")) > 3)
    everything(test, "teach, learning")
    b.one(".job .danger").click()
    wait("it is cancelled", lambda: b.one(".job").get_attribute("data-state") == "cancelled")
    everything(test, "teach, cancelled")


def token(test):
    server = test.serve(token="a-token-for-the-test-of-the-page")
    test.browser.open(server.url)
    test.browser.drain()
    test.same([e["message"] for e in test.browser.console], [], "the console before a token is given")
    structure(test, "token")
    narrow(test, "token")


def quiet(test):
    b = test.browser
    b.drain()
    test.same([e["message"] for e in b.console], [], "the console")
    hosts = {urlsplit(s.url).netloc for s in test.servers}
    schemes = {"blob", "data", "chrome", "about"}
    strangers = [u for u in b.requests if urlsplit(u).scheme not in schemes and urlsplit(u).netloc not in hosts]
    test.same(strangers, [], "requests to other hosts")
    test.check(any("/v1/classify" in u for u in b.requests), "the log of requests is empty")


def run(test):
    server = test.serve()
    test.part(keyboard, test, server)
    test.part(views, test, server)
    test.part(token, test)
    test.part(quiet, test)


main(run)
