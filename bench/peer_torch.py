#!/usr/bin/env python3
"""The same mathematics in plain, idiomatic PyTorch, to measure moeclip against: CLIP ViT-B/16 with mixture-of-experts adapters in both
towers, random weights. Written for speed as PyTorch's own guides advise: fused attention, one projection for q, k and v, grouped
dispatch (each expert sees the samples that chose it, once), no gradients where nothing trains, inference mode, bfloat16 autocast.

usage: peer_torch.py WORK [NAME=VALUE ...]   WORK: step, encode, prompts, products. NAME: model=b16|tiny, batch=64, classes=100,
experts=22, repeat=1, threads=0, dtype=float32|bfloat16, compile=0|1, trim=0|1
(prompts cut to the longest, which CLIP's own code does not do). Prints one JSON object."""
import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

SIZES = {
    "b16": dict(image=224, patch=16, layers=12, width=768, context=77, vocabulary=49408, text_layers=12, text_width=512, embed=512),
    "tiny": dict(image=32, patch=8, layers=2, width=64, context=16, vocabulary=1024, text_layers=2, text_width=64, embed=64),
}


class Adapters(nn.Module):
    """22 experts (down, ReLU, dropout, up), a noisy top-k router that reads the first token; the output is added, times 0.1."""

    def __init__(self, width, experts, k=2, bottleneck=64):
        super().__init__()
        self.k = k
        self.down = nn.ModuleList(nn.Linear(width, bottleneck) for _ in range(experts))
        self.up = nn.ModuleList(nn.Linear(bottleneck, width) for _ in range(experts))
        self.gate = nn.Parameter(torch.randn(width, experts))
        self.noise = nn.Parameter(torch.zeros(width, experts))

    def forward(self, x):
        logits = x[:, 0] @ self.gate
        if self.training:
            logits = logits + torch.randn_like(logits) * (F.softplus(x[:, 0] @ self.noise) + 0.01)
        top, chosen = logits.topk(self.k, dim=1)
        gates = top.softmax(dim=1)
        out = torch.zeros_like(x)
        for e, (down, up) in enumerate(zip(self.down, self.up)):
            sample, place = torch.where(chosen == e)
            if sample.numel() == 0:
                continue
            hidden = F.dropout(F.relu(down(x[sample])), 0.1, self.training)
            gate = gates[sample, place].to(x.dtype)
            out.index_add_(0, sample, (up(hidden) * (0.1 * gate)[:, None, None]).to(out.dtype))
        return out


class Block(nn.Module):
    def __init__(self, width, causal, experts):
        super().__init__()
        self.heads, self.causal = width // 64, causal
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.adapters = Adapters(width, experts)

    def forward(self, x, adapted):
        n, t, d = x.shape
        q, k, v = self.qkv(self.ln_1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(a.transpose(1, 2).reshape(n, t, d))
        h = self.fc(self.ln_2(x))
        y = x + self.proj(h * torch.sigmoid(1.702 * h))
        return y + self.adapters(x) if adapted else y


class Clip(nn.Module):
    def __init__(self, z, experts):
        super().__init__()
        self.conv = nn.Conv2d(3, z["width"], z["patch"], z["patch"], bias=False)
        self.class_embedding = nn.Parameter(torch.randn(z["width"]) * 0.02)
        self.position = nn.Parameter(torch.randn((z["image"] // z["patch"]) ** 2 + 1, z["width"]) * 0.02)
        self.ln_pre, self.ln_post = nn.LayerNorm(z["width"]), nn.LayerNorm(z["width"])
        self.visual = nn.ModuleList(Block(z["width"], False, experts) for _ in range(z["layers"]))
        self.visual_projection = nn.Parameter(torch.randn(z["width"], z["embed"]) * 0.02)
        self.token = nn.Embedding(z["vocabulary"], z["text_width"])
        self.text_position = nn.Parameter(torch.randn(z["context"], z["text_width"]) * 0.02)
        self.text = nn.ModuleList(Block(z["text_width"], True, experts) for _ in range(z["text_layers"]))
        self.ln_final = nn.LayerNorm(z["text_width"])
        self.text_projection = nn.Parameter(torch.randn(z["text_width"], z["embed"]) * 0.02)

    def encode_image(self, images, adapted=True):
        x = self.conv(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1).to(x.dtype), x], 1) + self.position
        x = self.ln_pre(x)
        for b in self.visual:
            x = b(x, adapted)
        return F.normalize(self.ln_post(x[:, 0]) @ self.visual_projection, dim=-1)

    def encode_text(self, texts, adapted=True):
        x = self.token(texts) + self.text_position[: texts.shape[1]]
        for b in self.text:
            x = b(x, adapted)
        x = self.ln_final(x)[torch.arange(len(texts)), texts.argmax(-1)]
        return F.normalize(x @ self.text_projection, dim=-1)


def tokens(n, z):
    rows = torch.zeros(n, z["context"], dtype=torch.long)
    for i in range(n):
        length = 8 + i % 3
        rows[i, 0] = z["vocabulary"] - 2
        for j in range(1, length - 1):
            rows[i, j] = 1 + (i * 37 + j * 101) % (z["vocabulary"] - 3)
        rows[i, length - 1] = z["vocabulary"] - 1
    return rows


def best_of(repeat, work):
    best = float("inf")
    for i in range(repeat + 1):
        start = time.perf_counter()
        work()
        if i > 0 or repeat == 0:
            best = min(best, time.perf_counter() - start)
    return best


def products(s, z):
    dtype = torch.bfloat16 if s["dtype"] == "bfloat16" else torch.float32
    d, m = z["width"], s["batch"] * ((z["image"] // z["patch"]) ** 2 + 1)
    shapes = [(3 * d, d), (d, d), (4 * d, d), (d, 4 * d)]
    inputs = {k: torch.randn(m, k, dtype=dtype) for k in (d, 4 * d)}
    weights = [torch.randn(n, k, dtype=dtype) for n, k in shapes]

    def run():
        for _ in range(z["layers"]):
            for (_, k), w in zip(shapes, weights):
                F.linear(inputs[k], w)

    with torch.inference_mode():
        seconds = best_of(s["repeat"], run)
    return {"gflops": z["layers"] * sum(2.0 * m * n * k for n, k in shapes) / seconds * 1e-9}


def step(s, z, model, images, texts):
    labels = torch.arange(s["batch"]) % s["classes"]
    trained = [p for n, p in model.named_parameters() if ".adapters." in n]
    for p in model.parameters():
        p.requires_grad_(False)
    for p in trained:
        p.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0, fused=True)
    parts = {}

    def one():
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=s["dtype"] == "bfloat16"):
            text = model.encode_text(texts)
            parts["text_forward"] = time.perf_counter() - start
            image = model.encode_image(images)
            parts["image_forward"] = time.perf_counter() - start - parts["text_forward"]
            logits = 14.3 * image.float() @ text.float().T
        loss = F.cross_entropy(logits, labels, label_smoothing=0.2)
        middle = time.perf_counter()
        loss.backward()
        parts["backward"] = time.perf_counter() - middle
        middle = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        parts["optimizer"] = time.perf_counter() - middle

    best = best_of(s["repeat"] if s["repeat"] > 1 else 0, one)
    return {"best_seconds": best, "parts": {k: round(v, 3) for k, v in parts.items()}}


def main():
    s = dict(model="b16", batch=64, classes=100, experts=22, repeat=1, threads=0, dtype="float32", compile=0, trim=0)
    for argument in sys.argv[2:]:
        name, _, value = argument.partition("=")
        s[name] = type(s[name])(value)
    if s["threads"]:
        torch.set_num_threads(s["threads"])
    torch.manual_seed(0)
    z = SIZES[s["model"]]
    work = sys.argv[1]
    if work == "products":
        result = products(s, z)
    else:
        model = Clip(z, s["experts"])
        images, texts = torch.randn(s["batch"], 3, z["image"], z["image"]), tokens(s["classes"], z)
        if s["trim"]:
            texts = texts[:, : int((texts != 0).sum(1).max())]
        if s["compile"]:
            for block in [*model.visual, *model.text]:
                block.compile(dynamic=True)
        if work == "step":
            model.train()
            result = step(s, z, model, images, texts)
        else:
            model.eval()
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=s["dtype"] == "bfloat16"):
                if work == "encode":
                    plain = best_of(s["repeat"], lambda: model.encode_image(images, False))
                    adapted = best_of(s["repeat"], lambda: model.encode_image(images, True))
                    result = {"plain": s["batch"] / plain, "adapted": s["batch"] / adapted}
                else:
                    result = {"seconds": best_of(s["repeat"], lambda: model.encode_text(texts))}
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result["threads"] = torch.get_num_threads()
    result["torch"] = torch.__version__
    print(json.dumps(result))


if __name__ == "__main__":
    main()
