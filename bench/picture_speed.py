"""Speed of making Qwen2-VL's patches of still pictures: Ocelli against transformers' two image processors, on one thread.

    cargo build --release -p ocelli-model --example picture_speed
    python bench/picture_speed.py target/release/examples/picture_speed

Writes PNG files like photographs (smooth shapes and grain) to a temporary folder and takes medians of 41 runs, of decoded
RGB pictures and of files, decoding included; beside it the processor time of a run, which other work on the machine does not change. The slow processor is Qwen2VLImageProcessorPil, the fast one
Qwen2VLImageProcessor (torchvision), both with the limits of the published checkpoints. Three
rounds, alternating, of which the fastest median counts, since other work on the machine only ever adds time. Needs numpy, Pillow, torch, torchvision, transformers.
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

SIZES = [(100, 80), (224, 224), (333, 500), (640, 480), (1280, 960), (1920, 1080)]
RUNS, ROUNDS = 41, 3
LIMITS = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}


def photograph(width, height):
    random = numpy.random.default_rng(0)
    small = random.integers(0, 256, (12, 16, 3), dtype=numpy.uint8)
    smooth = numpy.asarray(Image.fromarray(small).resize((width, height), Image.BICUBIC), dtype=numpy.float32)
    grain = random.normal(0, 4, (height, width, 3))
    return Image.fromarray(numpy.clip(smooth + grain, 0, 255).astype(numpy.uint8))


def median(work):
    times, spent = [], time.process_time()
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times), (time.process_time() - spent) * 1000 / RUNS


def measure(path, processor, tensors):
    picture = Image.open(path).convert("RGB")
    process = median(lambda: processor(images=picture, return_tensors=tensors))
    both = median(lambda: processor(images=Image.open(path).convert("RGB"), return_tensors=tensors))
    return {"process_ms": process[0], "process_cpu_ms": process[1], "both_ms": both[0], "both_cpu_ms": both[1]}


def fastest(rounds):
    return {key: min(r[key] for r in rounds) for key in ("process_ms", "process_cpu_ms", "both_ms", "both_cpu_ms")}


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
        for key, what in (("process_ms", "decoded"), ("process_cpu_ms", "decoded, processor time"), ("both_ms", "from the file"),
                          ("both_cpu_ms", "from the file, processor time")):
            print(f"{width}x{height} {what}: Ocelli {ours[key]:.2f} ms, slow {slows[key]:.2f} ms "
                  f"({slows[key] / ours[key]:.1f} times), fast {fasts[key]:.2f} ms ({fasts[key] / ours[key]:.1f} times)")
