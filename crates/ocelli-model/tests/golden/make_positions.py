"""Writes positions.json: where `get_rope_index` of the Qwen-VL families places the tokens of pictures, videos and text.

Each case is a list of parts: a number is a run of text tokens, ["image", t, h, w] a picture's patches, ["video", t, h, w, seconds]
a video's with what a temporal patch stands for. Families differ in how videos are written: Qwen3-VL has a run of placeholders for each temporal
patch, after a time stamp of two text tokens. `padded_left` and `padded_right` in the head say that batches of all cases, padded on
either side, gave every case the same positions; a row of padding has none that count.

Run with transformers 5.23 (values used: Python 3.11, torch 2.15.0, transformers 5.23.0):
    python make_positions.py
"""

import json
import pathlib
import types

import torch
import transformers
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

TEXT, START, END, IMAGE, VIDEO, PAD = 9, 3, 4, 5, 6, 0
MODELS = {"qwen2_vl": Qwen2VLModel, "qwen2_5_vl": Qwen2_5_VLModel, "qwen3_vl": Qwen3VLModel}
TOKENS_PER_SECOND = 2
CASES = [
    [5],
    [["image", 1, 4, 6]],
    [2, ["image", 1, 4, 4], 3, ["image", 1, 2, 8], ["image", 1, 6, 2], 1],
    [1, ["video", 3, 4, 6, 1.0], 4],
    [1, ["video", 4, 2, 2, 1.7], 2, ["video", 2, 6, 4, 0.35], 1],
    [3, ["image", 1, 4, 6], 2, ["video", 2, 4, 4, 2.5], 1, ["image", 1, 2, 2], ["video", 1, 4, 2, 0.083], 6],
    [["video", 9, 2, 2, 0.41], ["video", 9, 2, 2, 0.41]],
]


def model(name):
    vision = types.SimpleNamespace(spatial_merge_size=2, tokens_per_second=TOKENS_PER_SECOND)
    made = types.SimpleNamespace(config=types.SimpleNamespace(vision_config=vision))
    made.get_vision_position_ids = types.MethodType(MODELS[name].get_vision_position_ids, made)
    made.get_rope_index = types.MethodType(MODELS[name].get_rope_index, made)
    return made


def tokens(name, parts):
    ids = []
    for part in parts:
        if isinstance(part, int):
            ids += [TEXT] * part
            continue
        kind, t, h, w, *_ = part
        token, count = (IMAGE, t * h * w // 4) if kind == "image" else (VIDEO, t * h * w // 4)
        if kind == "video" and name == "qwen3_vl":
            for _ in range(t):
                ids += [TEXT, TEXT, START] + [VIDEO] * (count // t) + [END]
        else:
            ids += [START] + [token] * count + [END]
    return ids


def place(name, rows, pads):
    """Positions of a batch of rows, `pads` tokens of padding on the left and right of each."""
    parts = [part for parts, _ in rows for part in parts if not isinstance(part, int)]
    ids = torch.tensor([[PAD] * left + row + [PAD] * right for (_, row), (left, right) in zip(rows, pads)])
    mask = torch.tensor([[0] * left + [1] * len(row) + [0] * right for (_, row), (left, right) in zip(rows, pads)])
    kinds = (ids == IMAGE).int() + 2 * (ids == VIDEO).int()
    more = {}
    for kind, key in (("image", "image_grid_thw"), ("video", "video_grid_thw")):
        grids = [part[1:4] for part in parts if part[0] == kind]
        if grids:
            more[key] = torch.tensor(grids)
    seconds = [part[4] for part in parts if part[0] == "video"]
    if seconds and name == "qwen2_5_vl":
        more["second_per_grid_ts"] = torch.tensor(seconds)
    positions, deltas = model(name).get_rope_index(ids, kinds, attention_mask=mask, **more)
    found = [positions[:, i, left : left + len(row)].T.tolist() for i, ((_, row), (left, _)) in enumerate(zip(rows, pads))]
    return found, deltas.reshape(-1).tolist()


cases = []
for name in MODELS:
    rows = [(parts, tokens(name, parts)) for parts in CASES]
    alone = [place(name, [row], [(0, 0)]) for row in rows]
    longest = max(len(row) for _, row in rows)
    for pads in ([(longest - len(row), 0) for _, row in rows], [(0, longest - len(row)) for _, row in rows]):
        found, deltas = place(name, rows, pads)
        assert found == [positions for [positions], _ in alone]
        assert deltas == [delta for _, [delta] in alone]
    for (parts, row), ([positions], [delta]) in zip(rows, alone):
        flat = [" ".join(str(axis[i]) for axis in positions) for i in range(3)]
        cases.append({"family": name, "parts": parts, "ids": row, "positions": flat, "delta": delta})

out = {"made_by": "make_positions.py", "transformers": transformers.__version__, "torch": torch.__version__,
       "tokens_per_second": TOKENS_PER_SECOND, "padded_left": True, "padded_right": True}
lines = ",\n  ".join(json.dumps(case) for case in cases)
pathlib.Path(__file__).with_name("positions.json").write_text(json.dumps(out)[:-1] + f',\n "cases": [\n  {lines}\n ]\n}}\n')
