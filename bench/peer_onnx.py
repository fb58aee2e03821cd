#!/usr/bin/env python3
"""Plain CLIP's image tower in ONNX Runtime: peer_torch.py's model of random weights, exported. usage: peer_onnx.py [batch=32] [model=b16].
Needs onnxruntime, onnx and numpy in the Python of PyTorch: .deps/venv/bin/python -m pip install onnxruntime onnx numpy."""
import json
import sys
import tempfile
import time

try:
    import numpy
    import onnxruntime
except ImportError as missing:
    sys.exit(f"{missing}; pip install onnxruntime onnx numpy")
import torch

sys.argv, arguments = [sys.argv[0], "none"], dict(a.split("=") for a in sys.argv[1:])
sys.path.insert(0, __file__.rsplit("/", 1)[0])
import peer_torch  # noqa: E402

z, batch = peer_torch.SIZES[arguments.get("model", "b16")], int(arguments.get("batch", 32))


class Images(torch.nn.Module):
    def __init__(self, clip):
        super().__init__()
        self.clip = clip

    def forward(self, images):
        return self.clip.encode_image(images, False)


with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    torch.manual_seed(0)
    images = torch.randn(batch, 3, z["image"], z["image"])
    torch.onnx.export(Images(peer_torch.Clip(z, 1)).eval(), (images,), f"{folder}/clip.onnx", dynamo=False, input_names=["images"])
    session = onnxruntime.InferenceSession(f"{folder}/clip.onnx", providers=["CPUExecutionProvider"])
    x, best = numpy.asarray(images.tolist(), dtype=numpy.float32), float("inf")
    for _ in range(3):
        start = time.perf_counter()
        session.run(None, {"images": x})
        best = min(best, time.perf_counter() - start)
print(json.dumps({"plain": batch / best, "onnxruntime": onnxruntime.__version__}))
