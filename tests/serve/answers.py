"""What the server answers: the command line's numbers, explanations, features, tasks, pages, refusals."""
from common import *

prepare()
files = [(f"colours/{c}.png", read(f"{P}/colours/test/{c}/0.png")) for c in ("red", "green", "blue")]
files += [(f"stripes/{c}.png", read(f"{P}/stripes/test/{c}/0.png")) for c in ("across", "down")]
paths = [f"{P}/{n.split('/')[0]}/test/{n.split('/')[1][:-4]}/0.png" for n, _ in files]
large = picture(700, 411, 5, "JPEG", quality=90)
with open(T + "/large.jpg", "wb") as f:
    f.write(large)
files.append(("ünïcode ✓.jpg", large))
paths.append(T + "/large.jpg")


def by_command(*options):
    """What `moeclip classify --json` says, in the server's words."""
    out = run("classify", "--model", MODEL, "--state", STATE, "--json", "--threads", 1, *options, *paths)
    answers = [json.loads(line) for line in out.splitlines()]
    check("provenance" in answers[0], answers[0])
    del answers[0]["provenance"]
    for a, (name, _) in zip(answers, files):
        del a["image"]
        a["file"] = name
        for label in a["labels"]:
            label["name"] = label.pop("label")
    return answers


s = Server()

# the same numbers, whatever they are asked with
expected = by_command()
a = s.classify(files)
check(a.status == 200 and a.json["answers"] == expected, a.json, expected)
check({e["task"] for e in expected} == {"colours", None}, "both routes are taken", expected)
check(s.classify(files, top=2).json["answers"] == by_command("--top", 2))
check(s.classify(files, task="colours").json["answers"] == by_command("--task", "colours"))
check(s.classify(files, task="none").json["answers"] == by_command("--task", "none"))
labels = ["cat", "dog", "a,b", "grüner Hund", "red"]
with open(T + "/labels", "w") as f:
    f.write("\n".join(labels))
by_labels = by_command("--labels-file", T + "/labels", "--template", "a {}.", "--template", "one {}")
for _ in range(3):  # encoded, then from the cache; others in between
    a = s.classify(files, labels=json.dumps(labels), templates=json.dumps(["a {}.", "one {}"]))
    check(a.json["answers"] == by_labels, a.json)
    check(s.classify(files, labels='["cat", "dog"]').json["answers"] == by_command("--labels", "cat,dog"))
tight = Server("--label-cache", 0, "--data", T + "/tight")
check(tight.classify(files, labels=json.dumps(labels), templates=json.dumps(["a {}.", "one {}"])).json["answers"] == by_labels)
check(tight.stop() == 0)

# a raw body, with the fields in the query
for i, (name, data) in enumerate(files):
    kind = "image/jpeg" if name.endswith("jpg") else "image/png"
    a = s.ask("POST", "/v1/classify?top=1&task=none", data, {"Content-Type": kind})
    e = by_command("--top", 1, "--task", "none")[i]
    e["file"] = "body"
    check(a.status == 200 and near(a.json["answers"], [e]), a, e)

# a broken picture among others
a = s.classify([files[0], ("broken.png", files[0][1][:60]), ("text.txt", b"hello"), ("empty.png", b""), files[1]])
check(a.status == 200, a)
got = a.json["answers"]
check([("error" in g) for g in got] == [False, True, True, True, False], got)
check(near(got[0], expected[0]) and near(got[4], expected[1]))
check([g["file"] for g in got] == [files[0][0], "broken.png", "text.txt", "empty.png", files[1][0]])
check(s.classify([("text.txt", b"hello")]).json["answers"][0].keys() == {"file", "error"})

# why
a = s.classify(files, explain=1)
for g, e in zip(a.json["answers"], expected):
    why = g.pop("explanation")
    check(g == e, g)
    check([x["task"] for x in why["errors"]] == ["colours"] and why["reference_error"] is None, why)
    check(abs(why["errors"][0]["error"] / why["errors"][0]["threshold"] - e["score"]) < 1e-5, why)
    gates = np.array(why["gates"])
    check(gates.shape == (2, 4), gates)
    check(np.allclose(gates.sum(1), 1 if e["task"] else 0, atol=1e-5) and ((gates > 0).sum(1) == (2 if e["task"] else 0)).all(), gates)

# features
a = s.post_form("/v1/embed/image", [("image", n, d) for n, d in files])
e = a.json["embeddings"]
values = np.array([x["values"] for x in e])
check(a.json["dim"] == 32 and values.shape == (6, 32) and np.allclose((values ** 2).sum(1), 1, atol=1e-5))
check([x["task"] for x in e] == [x["task"] for x in expected] and [x["file"] for x in e] == [n for n, _ in files])
none = np.array([x["values"] for x in s.post_form("/v1/embed/image", [("image", n, d) for n, d in files] + [("task", "none")]).json["embeddings"]])
check(not np.allclose(values[0], none[0]) and np.allclose(values[3], none[3], atol=1e-6))
t = s.post_json("/v1/embed/text", {"texts": ["a cat.", "a dog.", "a cat."]}).json
texts = np.array([x["values"] for x in t["embeddings"]])
check(np.allclose((texts ** 2).sum(1), 1, atol=1e-5) and np.allclose(texts[0], texts[2], atol=1e-6) and not np.allclose(texts[0], texts[1]))
check([x["text"] for x in t["embeddings"]] == ["a cat.", "a dog.", "a cat."])
# a picture's and the texts' features give the probabilities of classifying
two = s.classify(files[3:4], labels='["cat", "dog"]', templates='["a {}."]', task="none").json["answers"][0]["labels"]
cosines = dict(zip(("cat", "dog"), texts[:2] @ none[3]))
ratio = np.log(two[0]["probability"] / two[1]["probability"]) / (cosines[two[0]["name"]] - cosines[two[1]["name"]])
check(1 < ratio < 200, ratio)
other = np.array(s.post_json("/v1/embed/text", {"texts": ["a cat."], "task": "colours"}).json["embeddings"][0]["values"])
check(not np.allclose(other, texts[0]))

# many at once, with equal and different questions, get their own answers
wrong = []


def many(i):
    c = s.connect()
    for k in range(10 if QUICK else 40):
        j = (i + k) % len(files)
        top = 1 + i % 3
        body, headers = form([("image", *files[j]), ("top", top)])
        c.request("POST", "/v1/classify", body, headers)
        r = json.loads(c.getresponse().read())
        want = {**expected[j], "labels": expected[j]["labels"][:top]}
        if not near(r["answers"], [want]):
            wrong.append((r, want))
    c.close()


in_threads(8, many)
check(not wrong, wrong[:1])
check(soon(lambda: b"moeclip_request_memory_bytes 0" in s.get("/metrics").body), s.get("/metrics").body)
m = s.get("/metrics").body.decode()
total = sum(float(line.split()[-1]) for line in m.splitlines() if line.startswith('moeclip_requests_total{method="POST",path="/v1/classify"'))
check(total > 80, m)
check('moeclip_batch_pictures_bucket{le="+Inf"}' in m and "moeclip_queued 0" in m, m)
for line in m.splitlines():
    check(line.startswith("# ") or len(line.rsplit(" ", 1)) == 2 and float(line.rsplit(" ", 1)[1]) >= 0, line)

# tasks, health, pages
t = s.get("/v1/tasks").json
check(t["tasks"][0]["name"] == "colours" and t["tasks"][0]["classes"] == ["blue", "green", "red"], t)
check({(u["tower"], u["block"]) for u in t["tasks"][0]["expert_use"]} == {(w, b) for w in ("image", "text") for b in (0, 1)})
check(t["matrix"]["columns"] == ["colours"] and [r["after"] for r in t["matrix"]["rows"]] == ["colours"], t["matrix"])
with open(T + "/state.results/matrix.json") as f:
    accuracy = json.load(f)["rows"][1]["cells"]["colours"]["accuracy"]
check(t["matrix"]["rows"][0]["accuracy"] == [round(100 * accuracy, 2)], t["matrix"])
h = s.get("/healthz").json
version = run("--version").split()[1]
check(h == {"status": "ok", "version": version, "model": "clip.safetensors", "tasks": 1, "learning": False, "auth": False}, h)
check(s.get("/openapi.json").json["info"]["version"] == version)
a = s.get("/")
check(a.status == 200 and a.headers["Content-Type"] == "text/html; charset=utf-8" and b"<html" in a.body)
check("default-src 'self'" in a.headers["Content-Security-Policy"] and a.headers["X-Content-Type-Options"] == "nosniff")
check(s.get("/", headers={"If-None-Match": a.headers["ETag"]}).status == 304)
check(s.get("/assets/index.html").body == a.body and s.ask("HEAD", "/").body == b"")
for path in ("/assets/../serve.c", "/assets/%2e%2e/x", "/assets/", "/assets/none.js", "/v2", "/v1/jobs/1/x", "//", "/v1/jobs/99"):
    check(s.get(path).status == 404, path)

# requests that make no sense
image = [("image", *files[0])]
for parts, word in ((image + [("top", "0")], "top"), (image + [("top", "x")], "top"), (image + [("labels", "cat")], "labels"),
                    (image + [("labels", "[]")], "labels"), (image + [("labels", "[1]")], "labels"),
                    (image + [("labels", '["a"]'), ("templates", '["no braces"]')], "templates"),
                    (image + [("templates", '["a {}"]')], "templates"), (image + [("task", "nobody")], "nobody"),
                    (image + [("explain", "maybe")], "explain"), ([("other", "x.png", b"x")], "other"), ([("top", "1")], "picture")):
    a = s.post_form("/v1/classify", parts)
    check(a.status == 400 and word in a.json["error"]["message"] and a.json["error"]["code"] == "bad_request", parts[-1], a)
for body in ("", "{", "[]", '{"texts": []}', '{"texts": [1]}', '{"texts": ["a"], "task": "auto"}', '{"texts": ["a"], "x": 1}',
             '{"texts": ["\\u0000"]}', '{"texts": ["a"], "texts": ["b"]}', '{"texts": ["a"], "task": "nobody"}', "[" * 100000):
    a = s.ask("POST", "/v1/embed/text", body, {"Content-Type": "application/json"})
    check(a.status == 400 and a.json["error"]["message"], body[:50], a)
check(s.post_json("/v1/embed/text", {"texts": ["a"] * 257}).status == 400)
a = s.ask("PUT", "/v1/classify", b"x")
check(a.status == 405 and a.headers["Allow"] == "POST" and a.json["error"]["code"] == "method_not_allowed", a)
check(s.ask("DELETE", "/v1/jobs/1/events").headers["Allow"] == "GET, HEAD" and s.ask("OPTIONS", "/v1/classify").status == 405)
check(s.ask("POST", "/v1/classify", b"x", {"Content-Type": "text/plain"}).status == 415)
check(s.ask("POST", "/v1/classify", b"x=1", {"Content-Type": "application/x-www-form-urlencoded"}).status == 415)
check(s.ask("POST", "/v1/embed/text", b"{}", {"Content-Type": "text/plain"}).status == 415)
check(s.stop() == 0, s.log())
check(s.log() == "", s.log())

# a server that has learned nothing yet
s = Server(*SMALL, state=T + "/none.safetensors")
check(s.get("/v1/tasks").json == {"method": None, "tasks": [], "matrix": None} and s.get("/healthz").json["tasks"] == 0)
check(s.classify(files[:1]).status == 400 and s.classify(files[:1], labels='["red", "blue"]').status == 200)
check(s.stop(signal.SIGINT) == 0)
finish()
