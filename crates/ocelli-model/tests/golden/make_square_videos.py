"""Writes square_videos.json: what the video processors of InternVL and SmolVLM make of frames by `formula_picture.source`.

Frame n has the seed n. Run with transformers 5.23, torch and torchvision, on x86 with AVX2 (elsewhere torch resizes bytes in
floating point and rounds):
    python make_square_videos.py
"""

import json
import pathlib

import numpy as np
import torch
import torchvision
import transformers
from transformers.models.internvl.video_processing_internvl import InternVLVideoProcessor
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor
from transformers.video_utils import VideoMetadata

from formula_picture import fnv1a_words, source

torch.set_num_threads(1)
INTERN, SMOL = "InternVLVideoProcessor", "SmolVLMVideoProcessor"
PROCESSORS = {
    "intern": (INTERN, {"size": {"height": 28, "width": 28}, "num_frames": 4}),
    "intern fps": (INTERN, {"size": {"height": 28, "width": 28}, "fps": 2.0, "initial_shift": False}),
    "intern shifted": (INTERN, {"size": {"height": 28, "width": 28}, "num_frames": 3, "initial_shift": 1.5}),
    "smol": (SMOL, {"size": {"longest_edge": 48}, "max_image_size": {"longest_edge": 24}, "fps": 2, "num_frames": 6}),
    "smol sampling": (SMOL, {"max_image_size": {"longest_edge": 30}, "video_sampling": {
        "fps": 1, "max_frames": 4, "video_size": {"longest_edge": 64}}}),
}
VIDEOS = [(4, 2.0, 64, 48), (30, 10.0, 48, 64), (7, 2.0, 97, 55), (12, 4.0, 28, 28), (90, 24.0, 31, 45)]
SAMPLES = [(total, fps) for total in (4, 5, 9, 30, 31, 100, 301, 1000, 4001) for fps in (1.0, 2.0, 12.5, 23.976, 29.97, 60.0)]


def processor(name):
    kind, config = PROCESSORS[name]
    return {INTERN: InternVLVideoProcessor, SMOL: SmolVLMVideoProcessor}[kind](**json.loads(json.dumps(config)))


cases, samples = [], []
for name in PROCESSORS:
    made_by = processor(name)
    for count, fps, width, height in VIDEOS:
        if made_by.num_frames and count < made_by.num_frames:
            continue
        frames = np.stack([source(width, height, n) for n in range(count)])
        metadata = VideoMetadata(total_num_frames=count, fps=fps, duration=count / fps)
        made = made_by(videos=frames, video_metadata=[metadata], do_sample_frames=True, return_tensors="np", return_metadata=True)
        pixels = np.asarray(made.get("pixel_values_videos", made.get("pixel_values")))[0]
        [metadata] = made["video_metadata"]
        assert pixels.dtype == np.float32
        cases.append({"processor": name, "frames": count, "fps": fps, "width": width, "height": height,
                      "indices": [int(i) for i in metadata.frames_indices], "shape": list(pixels.shape),
                      "hash": fnv1a_words(np.ascontiguousarray(pixels).tobytes()),
                      "first": [float(v) for v in pixels.reshape(-1)[:3]]})
    for total, fps in SAMPLES:
        case = {"processor": name, "total": total, "fps": fps}
        try:
            indices = made_by.sample_frames(VideoMetadata(total_num_frames=total, fps=fps, duration=total / fps), fps=made_by.fps)
            samples.append(case | {"indices": [int(i) for i in indices]} if len(indices) < 70 else case | {
                "hash": fnv1a_words(np.asarray(indices, dtype="<u4").tobytes()), "count": len(indices)})
        except (ValueError, ZeroDivisionError, RuntimeError) as error:
            samples.append(case | {"error": type(error).__name__})

out = {"made_by": "make_square_videos.py", "transformers": transformers.__version__, "torch": torch.__version__,
       "torchvision": torchvision.__version__, "processors": PROCESSORS}
lines = [",\n  ".join(json.dumps(case) for case in part) for part in (cases, samples)]
path = pathlib.Path(__file__).with_name("square_videos.json")
path.write_text(json.dumps(out)[:-1] + f',\n "cases": [\n  {lines[0]}\n ],\n "samples": [\n  {lines[1]}\n ]\n}}\n')
