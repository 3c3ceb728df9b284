"""Writes videos.json: what the video processors of transformers make of frames by `formula_picture.source`.

Frame n has the seed n. Run with transformers 5.23, torch and torchvision, on x86 with AVX2 (elsewhere torch resizes bytes in
floating point and rounds):
    python make_videos.py
"""

import json
import pathlib
import types

import numpy as np
import torch
import torchvision
import transformers
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.video_utils import VideoMetadata

from formula_picture import fnv1a_words, source

torch.set_num_threads(1)
FAMILIES = {
    "qwen2": {"video_processor_type": "Qwen2VLVideoProcessor", "fps": 2.0},
    "qwen2 small": {"size": {"shortest_edge": 784, "longest_edge": 12544}, "fps": 2.0, "min_frames": 2},
    "qwen2 capped": {"cap_pixels_per_frame": True, "max_video_tokens": 60, "fps": 3.0,
                     "size": {"shortest_edge": 784, "longest_edge": 12544}},
    "qwen2 count": {"num_frames": 5, "size": {"shortest_edge": 784, "longest_edge": 12544}},
    "qwen2 bare": {"do_normalize": False, "fps": 1.0, "size": {"shortest_edge": 784, "longest_edge": 12544}},
    "qwen3": {"video_processor_type": "Qwen3VLVideoProcessor"},
    "qwen3 published": {"video_processor_type": "Qwen3VLVideoProcessor",
                        "size": {"longest_edge": 25165824, "shortest_edge": 4096}, "fps": 2},
    "qwen3 small": {"video_processor_type": "Qwen3VLVideoProcessor", "size": {"longest_edge": 40000,
                    "shortest_edge": 2048}},
    "qwen3 capped": {"video_processor_type": "Qwen3VLVideoProcessor", "cap_pixels_per_frame": True,
                     "max_video_tokens": 9, "size": {"longest_edge": 100000, "shortest_edge": 2048}},
}
# Frames, frames a second, width, height.
VIDEOS = [(4, 2.0, 64, 48), (30, 10.0, 48, 64), (7, 2.0, 97, 55), (31, 29.97, 20, 20), (16, 8.0, 300, 33),
          (12, 4.0, 56, 56), (9, 3.0, 33, 260), (90, 24.0, 31, 45)]
SAMPLES = [(total, fps) for total in (4, 5, 9, 30, 31, 100, 301, 1000, 4001, 54000) for fps in
           (1.0, 2.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 60.0)]
GRIDS = [(frames, w, h) for frames in (2, 3, 4, 16, 101, 768) for w, h in
         ((640, 480), (1920, 1080), (17, 300), (224, 224), (30, 1000))]


def processor(name):
    kind = FAMILIES[name].get("video_processor_type", "Qwen2VLVideoProcessor")
    config = {key: value for key, value in FAMILIES[name].items() if key != "video_processor_type"}
    return {"Qwen2VLVideoProcessor": Qwen2VLVideoProcessor, "Qwen3VLVideoProcessor": Qwen3VLVideoProcessor}[kind](
        **config)


def indices_hash(indices):
    return fnv1a_words(np.asarray(indices, dtype="<u4").tobytes())


cases, samples, grids = [], [], []
for name in FAMILIES:
    made_by = processor(name)
    for count, fps, width, height in VIDEOS:
        if name in ("qwen2", "qwen3", "qwen3 published") and count not in (4, 31):
            continue
        frames = np.stack([source(width, height, n) for n in range(count)])
        metadata = VideoMetadata(total_num_frames=count, fps=fps)
        made = made_by(videos=frames, video_metadata=[metadata], do_sample_frames=True, return_tensors="np",
                       return_metadata=True)
        pixels, grid = made["pixel_values_videos"], made["video_grid_thw"]
        [metadata] = made["video_metadata"]
        assert pixels.dtype == np.float32
        case = {"family": name, "frames": count, "fps": fps, "width": width, "height": height,
                "indices": [int(i) for i in metadata.frames_indices], "grid": grid[0].tolist(),
                "hash": fnv1a_words(pixels.tobytes()), "first": [float(v) for v in pixels.reshape(-1)[:3]],
                "second_per_grid": made_by.temporal_patch_size / metadata.sampled_fps}
        if name.startswith("qwen3"):
            self = types.SimpleNamespace(video_processor=made_by, vision_start_token="<|vision_start|>",
                                         vision_end_token="<|vision_end|>", video_token="<|video_pad|>",
                                         _calculate_timestamps=lambda *a: Qwen3VLProcessor._calculate_timestamps(
                                             None, *a))
            text = Qwen3VLProcessor.replace_video_token(self, made, 0)
            case["text_hash"] = indices_hash([ord(c) for c in text])
            case["text_end"] = text[text.rindex("<|vision_start|>") - 14:][:40]
        cases.append(case)
    for total, fps in SAMPLES if name in ("qwen2", "qwen2 capped", "qwen2 count", "qwen3") else ():
        try:
            indices = made_by.sample_frames(VideoMetadata(total_num_frames=total, fps=fps))
        except (ValueError, ZeroDivisionError, RuntimeError) as error:
            samples.append({"family": name, "total": total, "fps": fps, "error": type(error).__name__})
            continue
        samples.append({"family": name, "total": total, "fps": fps, "count": len(indices), "last": int(indices[-1]),
                        "hash": indices_hash(indices)})
    for frames, width, height in GRIDS if name not in ("qwen2 count", "qwen2 bare", "qwen2 small") else ():
        factor = made_by.patch_size * made_by.merge_size
        video = types.SimpleNamespace(shape=(1, frames, 3, height, width))
        got = {}
        import transformers.video_processing_utils as base
        keep = base.BaseVideoProcessor.resize
        base.BaseVideoProcessor.resize = lambda self, image, size, resample: got.update(size=(size.width, size.height))
        made_by.resize(video, made_by._standardize_kwargs(size=made_by.size)["size"], 3, factor,
                       made_by.temporal_patch_size, made_by.cap_pixels_per_frame)
        base.BaseVideoProcessor.resize = keep
        grids.append({"family": name, "frames": frames, "width": width, "height": height, "size": got["size"]})

out = {"made_by": "make_videos.py", "transformers": transformers.__version__, "torch": torch.__version__,
       "torchvision": torchvision.__version__, "families": FAMILIES}
lines = {key: "[\n  " + ",\n  ".join(json.dumps(case) for case in rows) + "\n ]"
         for key, rows in (("cases", cases), ("samples", samples), ("grids", grids))}
body = "".join(f',\n "{key}": {rows}' for key, rows in lines.items())
pathlib.Path(__file__).with_name("videos.json").write_text(json.dumps(out, indent=1)[:-2] + body + "\n}\n")
