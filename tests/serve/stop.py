"""The end of the server: SIGTERM finishes what was accepted, SIGKILL loses nothing that was learned, and the next start goes on."""
from common import *

prepare()
red = ("red.png", read(P + "/colours/test/red/0.png"))
root = T + "/root"
shutil.copytree(P + "/stripes", root + "/stripes")
old_state = read(STATE)
job_file, part_file = STATE + ".data/job.json", STATE + ".data/job.part"
s = Server("--root", root, "--checkpoint-seconds", 0.1, "--label-cache", 0, *SMALL)
expected = s.classify([red]).json

# SIGTERM while requests wait: all that were accepted are answered
slow = json.dumps([f"word {i}" for i in range(100 if QUICK else 500)])
answers = []
sent = threading.Barrier(7)


def wait_for_answer(i):
    c = s.connect()
    body, headers = form([("image", *red), ("labels", slow), ("top", str(1 + i))])
    c.request("POST", "/v1/classify", body, headers)
    sent.wait()
    try:
        answers.append(Answer(c.getresponse()))
    except OSError as e:
        answers.append(e)
    c.close()


threads = [threading.Thread(target=wait_for_answer, args=(i,)) for i in range(6)]
for t in threads:
    t.start()
sent.wait()
# they are accepted once the server counts them: the seventh is the question itself
soon(lambda: b"moeclip_active_requests 7" in s.get("/metrics").body or len(answers) > 0, 5)
code = s.stop()
for t in threads:
    t.join()
check(code == 0 and len(answers) == 6 and all(isinstance(a, Answer) and a.status == 200 for a in answers), code, answers, s.log())

# SIGTERM in the middle of learning, with someone watching: a checkpoint, and the next start goes on by itself
s.start()
a = s.post_json("/v1/learn", {"name": "lines", "path": "stripes", **SHORT, "iterations": 400 if QUICK else 1500})
check(a.status == 202, a)
stream = []


def watch():
    c = s.connect()
    c.request("GET", f"/v1/jobs/{a.json['job']['id']}/events")
    stream.append(c.getresponse().read().decode())
    c.close()


watcher = threading.Thread(target=watch)
watcher.start()
check(soon(lambda: os.path.exists(part_file) and s.get("/v1/jobs/1").json["job"]["step"] > 5, 120))
check(near(s.classify([red]).json, expected), "answers go on while learning")
check(s.stop() == 0, s.log())
watcher.join()
check("event: end" in stream[0] and '"phase":"stopped"' in stream[0], stream[0][-500:])
check(os.path.exists(part_file) and os.path.exists(job_file) and read(STATE) == old_state, s.log())
check("goes on" in s.log(), s.log())
s.start()
check("going on" in s.log(), s.log())
check(near(s.classify([red]).json, expected) and s.get("/healthz").json["learning"] is True)
jobs = s.get("/v1/jobs").json["jobs"]
check(len(jobs) == 1 and jobs[0]["id"] == "1" and jobs[0]["name"] == "lines", jobs)

# SIGKILL in the middle: the old state is served, and learning goes on from the checkpoint
check(soon(lambda: s.get("/v1/jobs/1").json["job"]["phase"] == "train", 60))
s.kill()
check(read(STATE) == old_state)
s.start()
check(near(s.classify([red]).json, expected) and s.get("/healthz").json["tasks"] == 1)
job = s.wait_job("1")
check(job["state"] == "done" and job["report"]["resumed"] is True, job)
check(s.get("/healthz").json["tasks"] == 2 and not os.path.exists(part_file) and not os.path.exists(job_file))
check(s.stop() == 0)
resumed = read(STATE)

# the same task learned in one go gives the same state, bit for bit
with open(T + "/again.safetensors", "wb") as f:
    f.write(old_state)
s = Server("--root", root, *SMALL, state=T + "/again.safetensors")
check(s.wait_job(s.post_json("/v1/learn", {"name": "lines", "path": "stripes", **SHORT, "iterations": 400 if QUICK else 1500}).json["job"]["id"])["state"] == "done")
check(s.stop() == 0)
check(read(T + "/again.safetensors") == resumed, "a resumed task is another one")

# an upload that is killed: its pictures are there for the next start; bodies that were being received are gone
z = zipped(list(tree(P + "/spots")))
s = Server("--checkpoint-seconds", 0.1, *SMALL, state=T + "/again.safetensors")
data = T + "/again.safetensors.data"
a = s.post_form("/v1/learn", [("name", "spots"), ("archive", "x.zip", z)] + list({**SHORT, "iterations": 600 if QUICK else 3000}.items()))
check(a.status == 202, a)
check(soon(lambda: os.path.exists(data + "/job.part"), 120))
s.kill()
os.makedirs(data + "/incoming/left/pictures")
s.start()
check(os.listdir(data + "/incoming") == [])
job = s.wait_job("1")
check(job["state"] == "done" and job["report"]["resumed"] is True, job)
check(s.get("/v1/tasks").json["matrix"]["rows"][-1]["after"] == "spots")
check(s.stop() == 0)

# a job whose run ends the process again and again is given up
s = Server("--checkpoint-seconds", 0.1, "--root", root, *SMALL, state=T + "/again.safetensors")
a = s.post_json("/v1/learn", {"name": "fatal", "path": "stripes", **LONG})
for _ in range(3):
    check(soon(lambda: s.get("/healthz").json["learning"] and os.path.exists(data + "/job.json") and json.loads(read(data + "/job.json"))["attempts"] > _, 60))
    s.kill()
    s.start()
job = s.get("/v1/jobs").json["jobs"][0]
check(soon(lambda: s.get("/v1/jobs/1").json["job"]["state"] == "failed") and "3 times" in s.get("/v1/jobs/1").json["job"]["error"], job)
check(s.stop() == 0 and not os.path.exists(data + "/job.json"))

# killed after the state was saved and before the job was forgotten: nothing is learned twice
with open(data + "/job.json", "w") as f:
    json.dump({"id": 5, "path": root + "/stripes", "upload": False, "attempts": 1, "ask": {"name": "lines", "path": "stripes", **LONG}}, f)
before = read(T + "/again.safetensors")
s.start()
check(s.wait_job("5", timeout=60)["state"] == "done" and read(T + "/again.safetensors") == before)
check(s.stop() == 0)

# a damaged job.json is not passed over in silence
with open(data + "/job.json", "w") as f:
    f.write("{")
r = subprocess.run([MOECLIP, *s.options], capture_output=True, text=True)
check(r.returncode == 1 and "job.json" in r.stderr and "remove it" in r.stderr, r)
finish()
