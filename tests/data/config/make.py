#!/usr/bin/env python3
"""expected.json: features that Hugging Face's and OpenCLIP's own models compute, with weights, pictures and a text that
tests/unit/config.c makes again by the same rule.

usage: make.py > expected.json       (made with transformers 5.24.0, open_clip_torch 3.3.0, torch 2.13.0)
"""
import json
import tempfile

import numpy as np
import torch
import transformers

import open_clip
from open_clip.model import CLIP

SIDE, PATCH, EMBED, CONTEXT, VOCABULARY, PICTURES = 16, 8, 32, 8, 520, 2
IDS = [[518, 89, 336, 519, 0, 0, 0, 0]]  # "zq" in a vocabulary of bytes and six merges
MEAN = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
STD = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)


def mixed(name, n):
    h = 0
    for c in name.encode():
        h = (h * 31 + c) % 2**32
    return ((h + np.arange(n, dtype=np.uint64) * 2654435761) % 2**32) >> 16


def values(name, shape):
    v = (mixed(name, int(np.prod(shape))) / 65536.0 - 0.5) * 0.25
    if len(shape) == 1 and name.endswith("weight"):
        v = v + 1  # of a layer norm
    return torch.tensor(v.astype(np.float32)).reshape(shape)


def fill(model):
    for name, p in model.named_parameters():
        p.data = values(name, tuple(p.shape)) if p.dim() else torch.tensor(2.0)
    return [[name, list(p.shape)] for name, p in model.named_parameters()]


def pictures():
    n = PICTURES * 3 * SIDE * SIDE
    pixels = (mixed("pixels", n) % 256).astype(np.float32).reshape(PICTURES, 3, SIDE, SIDE)
    return (torch.tensor(pixels) / 255 - MEAN) / STD


def rows(features):
    features = features / features.norm(dim=-1, keepdim=True)
    return [[round(v, 7) for v in row] for row in features.double().tolist()]


def huggingface(act, visual_heads, text_heads, width=64):
    text = dict(vocab_size=VOCABULARY, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=text_heads,
                max_position_embeddings=CONTEXT, hidden_act=act, projection_dim=EMBED, bos_token_id=518, eos_token_id=519, pad_token_id=0)
    vision = dict(hidden_size=width, intermediate_size=64, num_hidden_layers=1, num_attention_heads=visual_heads, image_size=SIDE,
                  patch_size=PATCH, hidden_act=act, projection_dim=EMBED)
    m = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBED)).eval()
    tensors = fill(m)
    with tempfile.TemporaryDirectory() as folder:
        m.config.save_pretrained(folder)
        config = json.load(open(folder + "/config.json"))
    images = m.visual_projection(m.vision_model(pixel_values=pictures()).pooler_output)
    texts = m.text_projection(m.text_model(input_ids=torch.tensor(IDS)).pooler_output)
    return {"file": "model.safetensors", "config_file": "config.json", "config": config, "tensors": tensors, "images": rows(images),
            "texts": rows(texts)}


def openclip(quick, head_width, text_heads):
    vision = dict(image_size=SIDE, layers=1, width=64, head_width=head_width, mlp_ratio=1.0, patch_size=PATCH)
    text = dict(context_length=CONTEXT, vocab_size=VOCABULARY, width=64, heads=text_heads, layers=1)
    m = CLIP(EMBED, vision, text, quick_gelu=quick).eval()
    tensors = fill(m)
    config = {"model_cfg": {"embed_dim": EMBED, **({"quick_gelu": True} if quick else {}), "vision_cfg": vision, "text_cfg": text},
              "preprocess_cfg": {"mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD)}}
    return {"file": "open_clip_model.safetensors", "config_file": "open_clip_config.json", "config": config, "tensors": tensors,
            "images": rows(m.encode_image(pictures())), "texts": rows(m.encode_text(torch.tensor(IDS)))}


with torch.no_grad():
    cases = {"huggingface, gelu": huggingface("gelu", 4, 2), "huggingface, quick_gelu": huggingface("quick_gelu", 1, 8),
             "openclip, gelu": openclip(False, 16, 4), "openclip, quick_gelu": openclip(True, 32, 2)}
print(json.dumps(cases, separators=(",", ":")).replace('"huggingface', '\n"huggingface').replace('"openclip', '\n"openclip'))
