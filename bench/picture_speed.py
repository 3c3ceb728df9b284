"""Speed of making Qwen2-VL's patches of still pictures: Ocelli against transformers' two image processors, on one thread.

    cargo build --release -p ocelli-model --example picture_speed
    python bench/picture_speed.py target/release/examples/picture_speed

Writes PNG files like photographs (smooth shapes and grain) to a temporary folder and takes medians of 41 runs, of decoded
RGB pictures and of files, decoding included. The slow processor is Qwen2VLImageProcessorPil, the fast one
Qwen2VLImageProcessor (torchvision), both with the limits of the published checkpoints. Three rounds, of which the fastest
median counts, since other work on the machine only ever adds time. Needs numpy, Pillow, torch, torchvision, transformers.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

SIZES = [(640, 480), (1280, 960), (1920, 1080)]
RUNS, ROUNDS = 41, 3
LIMITS = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}


def photograph(width, height):
    random = numpy.random.default_rng(0)
    small = random.integers(0, 256, (12, 16, 3), dtype=numpy.uint8)
    smooth = numpy.asarray(Image.fromarray(small).resize((width, height), Image.BICUBIC), dtype=numpy.float32)
    grain = random.normal(0, 4, (height, width, 3))
    return Image.fromarray(numpy.clip(smooth + grain, 0, 255).astype(numpy.uint8))


def median(work):
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def measure(path, processor, tensors):
    picture = Image.open(path).convert("RGB")
    return {"process_ms": median(lambda: processor(images=picture, return_tensors=tensors)),
            "both_ms": median(lambda: processor(images=Image.open(path).convert("RGB"), return_tensors=tensors))}


def fastest(rounds):
    return {key: min(r[key] for r in rounds) for key in ("process_ms", "both_ms")}


torch.set_num_threads(1)
slow, fast = Qwen2VLImageProcessorPil(**LIMITS), Qwen2VLImageProcessor(**LIMITS)
with tempfile.TemporaryDirectory() as folder:
    for width, height in SIZES:
        path = str(pathlib.Path(folder) / f"{width}x{height}.png")
        photograph(width, height).save(path)
        ours, slows, fasts = [], [], []
        for _ in range(ROUNDS):
            ours.append(json.loads(subprocess.run([sys.argv[1], path], check=True, capture_output=True).stdout))
            slows.append(measure(path, slow, "np"))
            fasts.append(measure(path, fast, "pt"))
        ours, slows, fasts = fastest(ours), fastest(slows), fastest(fasts)
        for key, what in (("process_ms", "decoded"), ("both_ms", "from the file")):
            print(f"{width}x{height} {what}: Ocelli {ours[key]:.2f} ms, slow {slows[key]:.2f} ms "
                  f"({slows[key] / ours[key]:.1f} times), fast {fasts[key]:.2f} ms ({fasts[key] / ours[key]:.1f} times)")
