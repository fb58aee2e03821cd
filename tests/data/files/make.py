#!/usr/bin/env python3
"""Makes the fixtures beside it and the seeds in tests/fuzz/seeds. Needs PyTorch (made with 2.13); the tests do not.

expected.safetensors holds the tensors of every checkpoint here; the checkpoints are PyTorch's own writing of them.
The old format holds memory addresses: legacy.pth differs from run to run.
"""
import json
import os
import struct
import zipfile
from collections import OrderedDict

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
SEEDS = os.path.join(HERE, "..", "..", "fuzz", "seeds")
NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


def write_safetensors(path, tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, t in tensors.items():
        raw = t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""
        header[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()  # ASCII: names outside it become \u escapes
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def deflate(source, target):
    with zipfile.ZipFile(source) as a, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as b:
        for item in a.infolist():
            b.writestr(zipfile.ZipInfo(item.filename), a.read(item), zipfile.ZIP_DEFLATED)


def write_sharded(tensors):
    """As transformers' save_pretrained does with max_shard_size."""
    names, where = sorted(tensors), {}
    for k in range(2):
        file = f"part-{k + 1:05d}-of-00002.safetensors"
        part = {n: tensors[n] for n in names[k * len(names) // 2:(k + 1) * len(names) // 2]}
        write_safetensors(f"{HERE}/{file}", part, {"format": "pt"})
        where.update({n: file for n in part})
    with open(f"{HERE}/sharded.index.json", "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())},
                   "weight_map": where}, f, indent=2, sort_keys=True)


def main():
    torch.manual_seed(1)
    base = torch.randn(6, 8)
    tensors = OrderedDict(
        f32=torch.randn(3, 4), f16=torch.randn(5).half(), bf16=torch.randn(2, 3).bfloat16(),
        f64=torch.randn(4).double(),
        i64=torch.arange(7) - 3, i32=torch.arange(5, dtype=torch.int32), i16=torch.arange(5, dtype=torch.int16) - 2,
        i8=torch.arange(5, dtype=torch.int8) - 2, u8=torch.arange(250, 256).to(torch.uint8),
        flags=torch.tensor([True, False, True]), scalar=torch.tensor(2.5), empty=torch.zeros(0, 3),
        transposed=torch.randn(4, 6).t(), slice=base[1:3, 2:5], whole=base, view=base.view(-1)[8:16],
        expanded=torch.randn(3, 1).expand(3, 5), permuted=torch.randn(2, 3, 4).permute(2, 0, 1),
        parameter=torch.nn.Parameter(torch.randn(2, 2)))
    tensors["größe"] = torch.ones(1)
    write_safetensors(f"{HERE}/expected.safetensors", tensors, {"format": "pt", "note": "größe \"1\""})
    write_sharded(tensors)
    others = {"epoch": 3, "lr": 0.1, "args": [1, None, "text", b"bytes", {1, 2}, 2**70, -2**40, (1, 2)],
              "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
    torch.save({"state_dict": tensors, **others}, f"{HERE}/state_dict.pth")
    torch.save({"model": {"module." + k: v for k, v in tensors.items()}, **others}, f"{HERE}/legacy.pth",
               _use_new_zipfile_serialization=False)
    torch.save({**tensors, "note": "not a tensor", "number": 5}, f"{HERE}/protocol5.pth", pickle_protocol=5)
    deflate(f"{HERE}/state_dict.pth", f"{HERE}/deflated.pth")

    parts = [torch.nn.Sequential(OrderedDict(encoder=torch.nn.Sequential(torch.nn.Linear(3, 2)),
                                             decoder=torch.nn.Sequential(torch.nn.Linear(2, 3)))) for _ in range(2)]
    listed = torch.nn.ModuleList(parts)
    write_safetensors(f"{HERE}/expected_list.safetensors", listed.state_dict())
    torch.save([p.state_dict() for p in parts], f"{HERE}/list.pth")
    torch.save(listed, f"{HERE}/module.pth")
    torch.jit.save(torch.jit.script(listed), f"{HERE}/script.pt")
    torch.save({"c": torch.ones(2, dtype=torch.complex64)}, f"{HERE}/complex.pth")

    small = OrderedDict(a=torch.ones(2), b=torch.zeros(2, 2).half().t())
    for folder in ("safetensors", "torch"):
        os.makedirs(f"{SEEDS}/{folder}", exist_ok=True)
    write_safetensors(f"{SEEDS}/safetensors/two", {"a": torch.ones(2), "é": torch.ones(1, 2).half()}, {"k": "v"})
    torch.save({"state_dict": small, "n": 1}, f"{SEEDS}/torch/zip")
    torch.save([small], f"{SEEDS}/torch/zip4", pickle_protocol=4)
    torch.save({"model": small}, f"{SEEDS}/torch/legacy", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.ModuleList([torch.nn.Linear(1, 1)])), f"{SEEDS}/torch/script")
    deflate(f"{SEEDS}/torch/zip", f"{SEEDS}/torch/deflated")


if __name__ == "__main__":
    main()
