"""Learning while answering: uploads of all kinds, below the root, events, cancelling, atomic visibility, the matrix."""
from common import *

prepare()
spots = list(tree(P + "/spots"))
stripes = list(tree(P + "/stripes"))
red = ("red.png", read(P + "/colours/test/red/0.png"))
root = T + "/root"
shutil.copytree(P + "/stripes", root + "/inner/stripes")
for unused in ("train/down/phone.HEIC", "train/loose.png", "train/down/notes.txt"):
    with open(f"{root}/inner/stripes/{unused}", "wb") as f:
        f.write(b"x")
s = Server("--root", root, *SMALL, "--eval-images", 10)


def watch(id):
    """The events of a job until the stream ends."""
    c = s.connect()
    c.request("GET", f"/v1/jobs/{id}/events")
    r = c.getresponse()
    check(r.status == 200 and r.headers["Content-Type"] == "text/event-stream")
    text = r.read().decode()
    c.close()
    events = []
    for block in text.split("\n\n"):
        if block.startswith("event: "):
            kind, data = block.split("\n", 1)
            events.append((kind[7:], json.loads(data[len("data: "):])["job"]))
        else:
            check(block in ("", ": ping"), block)
    return events


# below the root, watched to the end, while others ask: a request sees the tasks of before or of after
before = s.classify([red]).json["answers"]
seen, wrong, stop = set(), [], threading.Event()


def ask_on(i):
    c = s.connect()
    body, headers = form([("image", *red), ("explain", "1")])
    while not stop.is_set():
        c.request("POST", "/v1/classify", body, headers)
        r = c.getresponse()
        a = json.loads(r.read())
        if r.status != 200:
            wrong.append(a)
            continue
        why = a["answers"][0]["explanation"]
        seen.add(tuple(e["task"] for e in why["errors"]))
        c.request("GET", "/v1/tasks")
        t = json.loads(c.getresponse().read())
        names = [x["name"] for x in t["tasks"]]
        # the experts' use belongs to the last task alone
        if names not in (["colours"], ["colours", "lines"]) or [x["expert_use"] is None for x in t["tasks"]] != [True] * (len(names) - 1) + [False]:
            wrong.append(t)
    c.close()


asking = [threading.Thread(target=ask_on, args=(i,)) for i in range(4)]
for t in asking:
    t.start()
STEPS = 60 if QUICK else 1500  # long enough to be watched on a fast machine
a = s.post_json("/v1/learn", {"name": "lines", "path": "inner/stripes", **SHORT, "iterations": STEPS})
check(a.status == 202 and a.json["job"]["name"] == "lines" and a.json["job"]["id"] == "1", a)
busy = s.post_json("/v1/learn", {"name": "more", "path": "inner/stripes"})
check(busy.status == 409 and s.get("/healthz").json["learning"] is True, busy)
events = watch(1)
time.sleep(0.3)
stop.set()
for t in asking:
    t.join()
check([k for k, _ in events[-2:]] == ["progress", "end"] and events[-1][1]["state"] == "done", events[-1])
check({"learning", "evaluating"} <= {j["state"] for _, j in events} | {"evaluating"}, [j["state"] for _, j in events])
check(any(j["phase"] == "train" and j["loss"] is not None and j["n_steps"] == STEPS + 1 for _, j in events) or QUICK, events)
report = events[-1][1]["report"]
check(report["iterations"] == STEPS + 1, report)
check(events[-1][1]["left_out"] == 2, "one picture of another kind, one in no class", events[-1][1])
check(seen == {("colours",), ("colours", "lines")} and not wrong, seen, wrong[:1])
t = s.get("/v1/tasks").json
check([x["name"] for x in t["tasks"]] == ["colours", "lines"] and t["tasks"][1]["iterations"] == STEPS + 1, t)
check(t["matrix"]["columns"] == ["colours", "lines"] and [r["after"] for r in t["matrix"]["rows"]] == ["colours", "lines"], t["matrix"])
check(t["matrix"]["rows"][0]["accuracy"][1] is None and None not in t["matrix"]["rows"][1]["accuracy"], t["matrix"])
check(s.post_json("/v1/learn", {"name": "lines", "path": "inner/stripes"}).status == 409)
# the command line knows it too, and agrees
expected = [json.loads(x) for x in run("classify", "--model", MODEL, "--state", STATE, "--json", "--threads", 1, P + "/stripes/test/down/0.png").splitlines()]
got = s.classify([("0.png", read(P + "/stripes/test/down/0.png"))]).json["answers"]
check(got[0]["task"] == expected[0]["task"] and near([x["probability"] for x in got[0]["labels"]], [x["probability"] for x in expected[0]["labels"]]))
run("learn", "--model", MODEL, "--state", STATE, "--threads", 1, "--quiet", "--json", *SMALL[:4], P + "/colours", f"lines={root}/inner/stripes")

# a zip with a folder above the classes, and things that are no pictures in it
clutter = [("set/README.txt", b"x"), ("set/__MACOSX/few/._0.png", b"x"), ("set/few/.hidden.png", b"x"), ("set/few/phone.heic", b"x"), ("set/few/.phone.heic", b"x")]
z = zipped([("set/" + n, d) for n, d in spots] + clutter)
a = s.post_form("/v1/learn", [("name", "spots"), ("archive", "spots.zip", z), ("templates", '["a {} dots."]')] + list(SHORT.items()))
check(a.status == 202, a)
job = s.wait_job(a.json["job"]["id"])
check(job["state"] == "done" and job["error"] is None and job["left_out"] == 1, job)
t = s.get("/v1/tasks").json
check(t["tasks"][2]["classes"] == ["few", "many"] and t["tasks"][2]["images"] == 16 and t["tasks"][2]["templates"] == ["a {} dots."], t["tasks"][2])
check(len(t["matrix"]["rows"]) == 3 and None not in t["matrix"]["rows"][2]["accuracy"], t["matrix"])
kept = dict(tree(STATE + ".data/tasks/spots"))
check(len(kept) == 20 and sum(len(d) > 0 for d in kept.values()) == 4, "only the test pictures are kept", {n: len(d) for n, d in kept.items()})

# many files with their paths; the earlier upload's test pictures are evaluated again
a = s.post_form("/v1/learn", [("file", "dropped/" + n, d) for n, d in stripes + [("old.gif", b"x"), ("old.txt", b"x")]] + [("name", "dropped set")] + list(SHORT.items()))
check(a.status == 202, a)
job = s.wait_job(a.json["job"]["id"])
check(job["state"] == "done" and job["left_out"] == 1, job)
t = s.get("/v1/tasks").json
check([x["name"] for x in t["tasks"]] == ["colours", "lines", "spots", "dropped set"] and t["tasks"][3]["images"] == 36, t["tasks"][3])
check(len(t["matrix"]["rows"]) == 4 and None not in t["matrix"]["rows"][3]["accuracy"], t["matrix"])
check([j["name"] for j in s.get("/v1/jobs").json["jobs"]] == ["dropped set", "spots", "lines"])

# cancelled: nothing of it stays, and another can begin
a = s.post_form("/v1/learn", [("name", "never"), ("archive", "x.zip", zipped(spots))] + list(LONG.items()))
id = a.json["job"]["id"]
soon(lambda: s.get(f"/v1/jobs/{id}").json["job"]["phase"] == "train", 60)
a = s.ask("DELETE", f"/v1/jobs/{id}")
check(a.status == 202 and a.json["job"]["id"] == id, a)
check(watch(id)[-1][1]["state"] == "cancelled")
check(s.ask("DELETE", f"/v1/jobs/{id}").status == 409 and s.ask("DELETE", "/v1/jobs/77").status == 404)
check(sorted(os.listdir(STATE + ".data")) == ["incoming", "lock", "tasks"] and sorted(os.listdir(STATE + ".data/tasks")) == ["dropped set", "spots"])
check(len(s.get("/v1/tasks").json["tasks"]) == 4 and os.listdir(STATE + ".data/incoming") == [])

# what cannot be learned is refused at once, or fails and says why
one = [(n, d) for n, d in spots if n.startswith("few")]
for parts, word in (([("name", "x"), ("archive", "x.zip", zipped(one))], "2 classes"), ([("name", "x"), ("archive", "x.zip", zipped([]))], "no picture"),
                    ([("name", "x")], "no picture"), ([("archive", "x.zip", zipped(spots))], "name"), ([("name", "../x"), ("archive", "x.zip", z)], "name"),
                    ([("name", "auto"), ("archive", "x.zip", z)], "meaning"), ([("name", "x"), ("iterations", "many"), ("archive", "x.zip", z)], "iterations"),
                    ([("name", "x"), ("iterations", "0"), ("archive", "x.zip", z)], "iterations"), ([("name", "x"), ("iterations", "1e8"), ("archive", "x.zip", z)], "at most"),
                    ([("name", "x"), ("bogus", "1"), ("archive", "x.zip", z)], "bogus"), ([("name", "x"), ("path", "inner"), ("archive", "x.zip", z)], "path"),
                    ([("name", "x"), ("other", "x.zip", z)], "other"), ([("name", "x"), ("archive", "x.zip", z), ("file", "a/b.png", b"x")], "not both"),
                    ([("name", "x"), ("file", "a/b.png", b"x"), ("file", "a/b.png", b"x")], "twice"), ([("name", "x"), ("name", "y"), ("archive", "x.zip", z)], "twice")):
    a = s.post_form("/v1/learn", parts)
    check(a.status == 400 and word in a.json["error"]["message"], [p[:2] for p in parts], a)
for body, word in (({"name": "x"}, "path"), ({"name": "x", "path": "none"}, "no such"), ({"path": "inner"}, "name"), ({"name": "x", "path": "inner/stripes", "batch": "8"}, "batch"),
                   ({"name": "x", "path": "inner/stripes", "batch": 1.5}, "batch"), ({"name": "x", "path": "inner/stripes", "templates": ["x"]}, "templates"), ([], "object")):
    a = s.post_json("/v1/learn", body)
    check(a.status == 400 and word in a.json["error"]["message"], body, a)
bad = [(n, b"no picture") for n, _ in spots]
a = s.post_form("/v1/learn", [("name", "bad"), ("archive", "x.zip", zipped(bad))] + list(SHORT.items()))
job = s.wait_job(a.json["job"]["id"])
check(job["state"] == "failed" and job["error"], job)
check(len(s.get("/v1/tasks").json["tasks"]) == 4 and "bad" not in os.listdir(STATE + ".data/tasks"))

# the next start serves it all, the matrix too
old = s.get("/v1/tasks").json
check(s.stop() == 0)
s.start()
check(s.get("/v1/tasks").json == old)
check(s.stop() == 0)

# time is bounded
s = Server("--learn-seconds", 1, "--root", root, *SMALL)
job = s.wait_job(s.post_json("/v1/learn", {"name": "endless", "path": "inner/stripes", **LONG}).json["job"]["id"])
check(job["state"] == "failed" and "--learn-seconds" in job["error"], job)
check(s.stop() == 0)

# a state from nothing
s = Server("--root", root, *SMALL, "--data", T + "/other", state=T + "/new.safetensors")
job = s.wait_job(s.post_json("/v1/learn", {"name": "first", "path": "inner/stripes", **SHORT}).json["job"]["id"])
check(job["state"] == "done" and s.get("/v1/tasks").json["matrix"]["columns"] == ["first"], job)
check(s.stop() == 0)
finish()
