"""The method of a state that a task begins: asked for with the task, kept from then on, and the same as on the command line."""
from common import *

prepare(state=False)
root = T + "/root"
shutil.copytree(P + "/stripes", root + "/stripes")
shutil.copytree(P + "/colours", root + "/colours")
s = Server("--root", root, "--ridge-hidden", 80)

a = s.post_json("/v1/learn", {"name": "x", "path": "stripes", "method": "magic"})
check(a.status == 400 and "magic" in str(a.json), a)
for name in ("stripes", "colours"):
    fields = {"name": name, "path": name, "batch": 8} | ({"method": "analytic"} if name == "stripes" else {})
    a = s.post_json("/v1/learn", fields)
    check(a.status == 202, a)
    job = s.wait_job(a.json["job"]["id"])
    check(job["state"] == "done" and job["report"]["final_loss"] is None, job)
a = s.post_json("/v1/learn", {"name": "other", "path": "colours", "method": "moe"})
job = s.wait_job(a.json["job"]["id"])
check(job["state"] == "failed" and "analytic" in job["error"], job)
t = s.get("/v1/tasks").json
check([x["name"] for x in t["tasks"]] == ["stripes", "colours"] and t["tasks"][0]["threshold"] is None, t)
check(None not in t["matrix"]["rows"][1]["accuracy"], t["matrix"])
pictures = [P + "/stripes/test/down/0.png", P + "/colours/test/red/0.png"]
expected = [json.loads(x) for x in run("classify", "--model", MODEL, "--state", STATE, "--json", "--threads", 1, *pictures).splitlines()]
got = s.classify([(f"{i}.png", read(x)) for i, x in enumerate(pictures)], explain=1).json["answers"]
for answer, line in zip(got, expected):
    check(answer["task"] == line["task"] and near([x["probability"] for x in answer["labels"]], [x["probability"] for x in line["labels"]]), answer, line)
    check(answer["explanation"]["errors"] == [], answer)
run("learn", "--model", MODEL, "--state", T + "/same.safetensors", "--threads", 1, "--quiet", "--no-eval", "--method", "analytic", "--ridge-hidden", 80,
    "--batch", 8, root + "/stripes", root + "/colours")
check(read(STATE) == read(T + "/same.safetensors"), "the server learns other than the command line")
check(s.stop() == 0)

# ZSCL with the server's reference set, iCaRL, and joint training on what was sent and on a folder: the same bytes as on the command line.
zip_of = {name: zipped(tree(P + "/" + name)) for name in ("stripes", "colours")}
for method, options in (("zscl", ["--reference", P + "/spots", "--zscl-every", 2]), ("icarl", ["--exemplars", 14]), ("joint", [])):
    state, same = (f"{T}/{method}-{x}.safetensors" for x in ("served", "learned"))
    s = Server("--root", root, "--method", method, *options, state=state)
    a = s.post_form("/v1/learn", [("name", "stripes"), ("archive", "stripes.zip", zip_of["stripes"]), ("batch", "8"), ("iterations", "6")])
    check(a.status == 202 and s.wait_job(a.json["job"]["id"])["state"] == "done", a)
    a = s.post_json("/v1/learn", {"name": "colours", "path": "colours", "batch": 8, "iterations": 6})
    job = s.wait_job(a.json["job"]["id"])
    check(job["state"] == "done" and job["report"]["iterations"] == (14 if method == "joint" else 7), job)
    check(s.stop() == 0)
    run("learn", "--model", MODEL, "--state", same, "--threads", 1, "--quiet", "--no-eval", "--method", method, *options, "--batch", 8,
        "--iterations", 6, *([] if method != "zscl" else ["--reference-iterations", 5]), root + "/stripes", root + "/colours")
    check(read(state) == read(same), method, "the server learns other than the command line")
s = Server("--root", root, "--method", "zscl", state=T + "/none.safetensors")
a = s.post_json("/v1/learn", {"name": "colours", "path": "colours", "batch": 8, "iterations": 6})
check("reference set" in s.wait_job(a.json["job"]["id"])["error"], a)
check(s.stop() == 0)

# Nobody names a method: analytic, unless the server's options or the ask say how to train.
for state, options, fields, expected in (("plain", [], {}, "analytic"), ("asked", [], {"iterations": 2, "selector_iterations": 2}, "moe"),
                                         ("server", ["--experts", 4, "--bottleneck", 4], {}, "moe"),
                                         ("fixed", ["--method", "analytic"], {"iterations": 2}, "analytic")):
    s = Server("--root", root, *options, state=f"{T}/{state}.safetensors")
    a = s.post_json("/v1/learn", {"name": "stripes", "path": "stripes", "batch": 8, **fields, **({"iterations": 2} if options[:1] == ["--experts"] else {})})
    check(a.status == 202 and s.wait_job(a.json["job"]["id"])["state"] == "done", state, a)
    a = s.post_json("/v1/learn", {"name": "colours", "path": "colours", "batch": 8, "iterations": 2})
    check(a.status == 202 and s.wait_job(a.json["job"]["id"])["state"] == "done", state, a)
    check(s.stop() == 0)
    check(json.loads(run("info", "--json", f"{T}/{state}.safetensors"))["state"]["mode"] == expected, state)
finish()
