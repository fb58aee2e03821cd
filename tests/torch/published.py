"""Published checkpoints, with real PyTorch: our files go into modules built as the published ones are (strict names), and
what torch.save makes of those modules becomes a state that answers as the learner did.

usage: published.py MOECLIP PICTURES
"""
import copy
import json
import os
import subprocess
import sys
import tempfile

import torch
from torch import nn

MOECLIP, PICTURES = (os.path.realpath(path) for path in sys.argv[1:3])
WIDTH, LAYERS, EMBED, EXPERTS, BOTTLENECK, HIDDEN, TASKS = 64, 2, 32, 8, 4, 8, 11
passed = failed = 0


def check(ok, what):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print(f"published.py: does not hold: {what}", file=sys.stderr)


def moeclip(*arguments, code=0, says=None):
    done = subprocess.run([MOECLIP, *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    text = done.stdout + done.stderr
    check(done.returncode == code, f"moeclip {' '.join(map(str, arguments))}: exit code {done.returncode}, not {code}: {text}")
    check(says is None or says in text, f"moeclip {arguments[0]} says {says!r}: {text}")
    return done.stdout


# --- modules as published --------------------------------------------------------------------------------------------


class Adapter(nn.Module):
    def __init__(self):
        super().__init__()
        self.down_proj, self.up_proj = nn.Linear(WIDTH, BOTTLENECK), nn.Linear(BOTTLENECK, WIDTH)


class Block(nn.Module):
    def __init__(self, tasks):
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, 1)
        self.ln_1, self.ln_2, self.ln_3 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(WIDTH, WIDTH))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(WIDTH, WIDTH))
        self.adaptmlp = Adapter()
        self.adaptmlp_list = nn.ModuleList(Adapter() for _ in range(EXPERTS))
        self.router_list = nn.ParameterList(nn.Parameter(torch.zeros(WIDTH, EXPERTS)) for _ in range(tasks))
        self.w_noise_list = nn.ParameterList(nn.Parameter(torch.zeros(WIDTH, EXPERTS)) for _ in range(tasks))
        self.register_buffer("mean", torch.tensor([0.0]))
        self.register_buffer("std", torch.tensor([1.0]))


class Transformer(nn.Module):
    def __init__(self, tasks):
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(tasks) for _ in range(LAYERS)))


class Visual(nn.Module):
    def __init__(self, tasks):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 8, 8, bias=False)
        self.class_embedding, self.proj = nn.Parameter(torch.zeros(WIDTH)), nn.Parameter(torch.zeros(WIDTH, EMBED))
        self.positional_embedding = nn.Parameter(torch.zeros(5, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = Transformer(tasks)


class Clip(nn.Module):
    def __init__(self, tasks):
        super().__init__()
        self.visual, self.transformer = Visual(tasks), Transformer(tasks)
        self.token_embedding, self.ln_final = nn.Embedding(600, WIDTH), nn.LayerNorm(WIDTH)
        self.positional_embedding = nn.Parameter(torch.zeros(12, WIDTH))
        self.text_projection = nn.Parameter(torch.zeros(WIDTH, EMBED))
        self.logit_scale = nn.Parameter(torch.zeros([]))


class Autoencoder(nn.Module):
    def __init__(self, features, hidden):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, hidden), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(hidden, features), nn.Sigmoid())


# --- files -----------------------------------------------------------------------------------------------------------


def read_safetensors(path):
    with open(path, "rb") as file:
        n = int.from_bytes(file.read(8), "little")
        header, data = json.loads(file.read(n)), bytearray(file.read())
    types = {"F32": torch.float32, "F16": torch.float16, "U8": torch.uint8, "I64": torch.int64, "F64": torch.float64}
    header.pop("__metadata__", None)
    return {
        name: torch.frombuffer(data[slice(*t["data_offsets"])], dtype=types[t["dtype"]]).reshape(t["shape"])
        for name, t in header.items()
    }


def answers(model, state, *more):
    """Accuracy and routes of both domains, and some pictures' probabilities, as text without times."""
    text = moeclip("eval", "--model", model, "--state", state, "--threads", 1, "--json", "--quiet", "pictures/colours",
                   "lines=pictures/stripes", *more)
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        for key in [key for key in line if "second" in key or key == "provenance"]:
            del line[key]
    classified = moeclip(
        "classify", "--model", model, "--state", state, "--threads", 1, "--json", *more, "pictures/colours/test/red/0.png",
        "pictures/stripes/test/down/0.png", "pictures/spots/many/0.png")
    answers = [json.loads(line) for line in classified.splitlines()]
    answers[0].pop("provenance")
    return json.dumps(lines + answers)


def save(module, path):
    torch.save({"state_dict": module.state_dict()}, path)


# --- the test --------------------------------------------------------------------------------------------------------


def main():
    subprocess.run([PICTURES, "pictures"], check=True)
    moeclip("pretrain", "--pairs", "pictures/colours/train", "--out", "clip.safetensors", "--image-size", 16, "--patch", 8,
            "--visual-layers", LAYERS, "--visual-width", WIDTH, "--visual-hidden", WIDTH, "--context", 12, "--vocabulary", 600,
            "--text-layers", LAYERS, "--text-width", WIDTH, "--text-hidden", WIDTH, "--embed", EMBED, "--epochs", 10, "--batch", 6,
            "--warmup", 5, "--threads", 1, "--quiet")
    moeclip("learn", "--model", "clip.safetensors", "--state", "s.safetensors", "--reference", "pictures/spots", "--experts",
            EXPERTS, "--bottleneck", BOTTLENECK, "--selector", "autoencoder", "--selector-hidden", HIDDEN, "--selector-iterations", 40,
            "--reference-iterations", 40, "--iterations", 40, "--batch", 8, "--threads", 1, "--quiet", "pictures/colours",
            "lines=pictures/stripes")
    before = answers("clip.safetensors", "s.safetensors")

    # our files, read by PyTorch
    moeclip("convert", "--model", "clip.safetensors", "s.safetensors", "X.pth", "--autochooser", "X_autochooser.pth", "--tasks",
            "tasks.json", says="a published checkpoint of 2 tasks")
    names = torch.load("X.pth", weights_only=True)["state_dict"]
    chooser = torch.load("X_autochooser.pth", weights_only=True)["state_dict"]
    state, clip = read_safetensors("s.safetensors"), read_safetensors("clip.safetensors")
    expected = {**clip, **{name: t for name, t in state.items() if "resblocks" in name}}
    for name, tensor in expected.items():
        check(name in names and torch.equal(names[name], tensor), f"X.pth has the state's {name}")
    encoders = {name[len("selector."):]: t for name, t in state.items() if name.startswith("selector.") and "coder" in name}
    check(chooser.keys() == encoders.keys(), "X_autochooser.pth has the state's autoencoders")
    check(all(torch.equal(chooser[name], t) for name, t in encoders.items()), "X_autochooser.pth has the state's numbers")
    module = Clip(2)
    module.load_state_dict(names)  # strict: every published name, and no other
    autoencoders = nn.ModuleList(Autoencoder(chooser["0.encoder.0.weight"].shape[1], HIDDEN) for _ in range(3))
    autoencoders.load_state_dict(chooser)

    # PyTorch's files, read by us: with as many routers and autoencoders as the released files have, whatever was learned
    released = Clip(TASKS)
    check(not released.load_state_dict(names, strict=False).unexpected_keys, "no unexpected names")
    for _ in range(TASKS - 2):
        autoencoders.append(copy.deepcopy(autoencoders[1]))
    save(released, "Y.pth")
    save(autoencoders, "Y_autochooser.pth")
    convert = ["convert", "--model", "clip.safetensors", "--tasks", "tasks.json", "--autochooser", "Y_autochooser.pth"]
    moeclip(*convert, "Y.pth", "back.safetensors", says="a state of 2 tasks")
    check(answers("clip.safetensors", "back.safetensors") == before, "the state from torch.save's files answers as before")
    check(answers("Y.pth", "back.safetensors") == before, "and on the checkpoint as its model")
    moeclip("info", "Y.pth", says=f"{EXPERTS} experts a block, bottleneck {BOTTLENECK}; {TASKS} routers, of which 2 have learned")
    moeclip("info", "Y_autochooser.pth", says=f"{TASKS + 1} autoencoders")
    moeclip("info", "Y_autochooser.pth", "--json", says='"autoencoders": 12')

    # OpenAI's weights are float16: a model rounded to that is the same CLIP
    moeclip("convert", "clip.safetensors", "half.safetensors", "--dtype", "f16")
    moeclip(*convert[:2], "half.safetensors", *convert[3:], "Y.pth", "half_state.safetensors", says="a state of 2 tasks")

    # learning goes on from it: the old tasks' experts stay
    moeclip("learn", "--model", "clip.safetensors", "--state", "back.safetensors", "--iterations", 10, "--selector-iterations", 10,
            "--batch", 8, "--threads", 1, "--quiet", "pictures/colours", "lines=pictures/stripes", "more=pictures/spots")
    later = read_safetensors("back.safetensors")
    check(all(torch.equal(later[name], t) for name, t in state.items() if "adaptmlp_list" in name), "learned experts stay")
    moeclip("convert", "--model", "clip.safetensors", "back.safetensors", "no.pth", code=1, says="experts were added")

    # AlexNet's features
    convolutions = [(64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3)]
    torch.manual_seed(1)
    alexnet = {}
    for place, (out, into, side) in zip((0, 3, 6, 8, 10), convolutions):
        alexnet[f"features.{place}.weight"] = torch.randn(out, into, side, side) * (2 / (into * side * side)) ** 0.5
        alexnet[f"features.{place}.bias"] = torch.zeros(out)
    torch.save(alexnet, "alexnet.pth")
    save(nn.ModuleList(Autoencoder(43264, 2) for _ in range(3)), "A_autochooser.pth")
    convert[-1] = "A_autochooser.pth"
    moeclip(*convert, "Y.pth", "a.safetensors", code=1, says="give AlexNet's weights")
    moeclip(*convert, "--alexnet", "alexnet.pth", "Y.pth", "a.safetensors", says="a state of 2 tasks")
    check('"accuracy"' in answers("clip.safetensors", "a.safetensors", "--alexnet", "alexnet.pth"), "evaluated with AlexNet")

    # what does not fit, and what is asked for wrongly
    convert[-1] = "Y_autochooser.pth"
    tasks = json.load(open("tasks.json"))
    check([t["name"] for t in tasks] == ["colours", "lines"] and all(t["threshold"] > 0 for t in tasks), "tasks.json")
    for problem, text, says in [
        ("three", tasks + [{"name": "third", "classes": ["a"]}], "router_list.2 is zero everywhere"),
        ("object", {"colours": tasks[0]}, "must be a list of tasks"),
        ("key", [{**tasks[0], "class_names": ["a"]}], '"class_names" is none of'),
        ("classes", [{"name": "a"}], '"classes" must be a list'),
        ("texts", [{"name": "a", "classes": ["b", 3]}], 'entry 1 of "classes" is not a text'),
        ("threshold", [{**tasks[0], "threshold": -1}], '"threshold" must be a number above 0'),
        ("template", [{**tasks[0], "templates": ["a photo"]}], "has no {}"),
    ]:
        with open(f"{problem}.json", "w") as file:
            json.dump(text, file)
        moeclip(*convert[:4], f"{problem}.json", *convert[5:], "Y.pth", "no.safetensors", code=1, says=says)
    open("broken.json", "w").write('[{"name": "a",\n}')
    moeclip(*convert[:4], "broken.json", *convert[5:], "Y.pth", "no.safetensors", code=1, says="broken.json: line 2")
    moeclip(*convert[:4], "none.json", *convert[5:], "Y.pth", "no.safetensors", code=1, says="none.json")
    with torch.no_grad():
        released.visual.ln_post.weight[3] += 0.01
    save(released, "Z.pth")
    moeclip(*convert, "Z.pth", "no.safetensors", code=1, says="Z.pth: visual.ln_post.weight is not that of clip.safetensors")
    moeclip(*convert, "X_autochooser.pth", "no.safetensors", code=1, says="there are no adapters")
    moeclip(*convert, "Y.pth", "no.pth", code=2, says="must end in .safetensors")
    moeclip(*convert[:5], "Y.pth", "no.safetensors", code=2, says="give --tasks FILE and --autochooser FILE")
    moeclip(*convert[:3], "s.safetensors", "no.safetensors", code=2, says="must end in .pth")
    moeclip(*convert[:3], "s.safetensors", "no.pth", "--threshold", 0.1, code=2, says="says itself")
    moeclip("convert", "Y.pth", "no.safetensors", "--tasks", "tasks.json", code=2, says="give --model FILE too")
    moeclip(*convert, "Y.pth", "no.safetensors", "--dtype", "f16", code=2, says="--dtype does not go with --model")
    check(not os.path.exists("no.safetensors") and not os.path.exists("no.pth"), "nothing is written on failure")


with tempfile.TemporaryDirectory() as scratch:
    os.chdir(scratch)
    os.environ["OMP_WAIT_POLICY"] = "passive"
    main()
    os.chdir("/")
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
