#!/usr/bin/env python3
"""pictures.json: what Hugging Face's own processor makes of two pictures, and the configuration that it saves.

usage: pictures.py > pictures.json       (made with transformers 5.24.0, Pillow 12)
"""
import json
import os
import tempfile

from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

SIDE = 16
IMAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "image")
CASES = {
    "usual": {},
    "squash": dict(size={"height": SIDE, "width": SIDE}, do_center_crop=False),
    "squash, cropped to the same": dict(size={"height": SIDE, "width": SIDE}),
    "inception": dict(image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5]),
    "both": dict(size={"height": SIDE, "width": SIDE}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]),
}


def case(options):
    p = CLIPImageProcessorPil(**{"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}, **options})
    with tempfile.TemporaryDirectory() as folder:
        p.save_pretrained(folder)
        config = json.load(open(folder + "/preprocessor_config.json"))
    values = {}
    for name in ("photo.png", "tall.png"):
        pixels = p(Image.open(f"{IMAGES}/{name}").convert("RGB"), return_tensors="np")["pixel_values"][0]
        values[name] = [round(float(v), 4) for v in pixels.reshape(-1)]
    return {"config": config, "pictures": values}


print(json.dumps({name: case(options) for name, options in CASES.items()}, separators=(",", ":")).replace('{"config"', '\n{"config"'))
