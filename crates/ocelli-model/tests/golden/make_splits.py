"""Writes splits.json: what SmolVLMImageProcessorPil and SmolVLMProcessor make of pictures by `formula_picture.source`.

Idefics3ImageProcessorPil is asserted to make the same. Run with transformers 5.23 and Pillow 13:
    python make_splits.py
"""

import json
import pathlib

import numpy as np
import PIL
import transformers
from PIL import Image
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from formula_picture import fnv1a_words, source

FAMILIES = {
    "smolvlm2": {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}, "resample": 1,
                 "image_processor_type": "SmolVLMImageProcessor", "do_image_splitting": True},
    "smolvlm2_500m": {"size": {"longest_edge": 1024}, "max_image_size": {"longest_edge": 512}},
    "whole": {"size": {"longest_edge": 96}, "max_image_size": {"longest_edge": 32}, "do_image_splitting": False},
    "small": {"size": {"longest_edge": 96}, "max_image_size": {"longest_edge": 32}},
    "as it is": {"do_resize": False, "max_image_size": {"longest_edge": 32}},
}
SIZES = {"smolvlm2": [(120, 50)], "smolvlm2_500m": [(300, 400), (512, 512)]}
MANY = [(64, 48), (48, 64), (32, 32), (31, 33), (1, 1), (3, 300), (300, 3), (97, 55), (20, 20), (500, 333)]
GRIDS = [(w, h) for w in (1, 100, 447, 512, 640, 1000, 6000) for h in (3, 300, 513, 480, 999, 5001)]
# Pictures of each row of a batch.
BATCH = [[(64, 48)], [], [(20, 20), (97, 55)]]

cases, grids = [], []


def numbers(made):
    pixels, mask = made["pixel_values"], made["pixel_attention_mask"]
    assert pixels.dtype == np.float32
    return {"shape": list(pixels.shape), "hash": fnv1a_words(pixels.tobytes()),
            "first": [float(v) for v in pixels.reshape(-1)[:3]], "mask": int(mask.sum()), "masked":
            [[int(square.min()) for square in row] for row in mask]}


for name, config in FAMILIES.items():
    processor, older = SmolVLMImageProcessorPil(**config), Idefics3ImageProcessorPil(**config)
    for width, height in SIZES.get(name, MANY):
        picture = Image.fromarray(source(width, height))
        made = processor(images=picture, return_tensors="np", return_row_col_info=True)
        assert (older(images=picture, return_tensors="np")["pixel_values"] == made["pixel_values"]).all()
        [[rows]], [[columns]] = made["rows"], made["cols"]
        text = get_image_prompt_string(rows, columns, 2, "<fake_token_around_image>", "<image>", "<global-img>")
        cases.append({"family": name, "width": width, "height": height, "grid": [rows, columns], "text": text}
                     | numbers(made))
    if config.get("do_resize", True) and config.get("do_image_splitting", True):
        for w, h in GRIDS:
            _, rows, columns = processor.get_number_of_image_patches(h, w)
            grids.append({"family": name, "width": w, "height": h, "grid": [rows, columns]})

processor = SmolVLMImageProcessorPil(**FAMILIES["small"])
rows = [[Image.fromarray(source(*size)) for size in row] for row in BATCH]
batch = {"sizes": BATCH} | numbers(processor(images=rows, return_tensors="np"))
out = {"made_by": "make_splits.py", "transformers": transformers.__version__, "pillow": PIL.__version__,
       "class": "SmolVLMImageProcessorPil", "families": FAMILIES, "batch": batch}
lines = {key: "[\n  " + ",\n  ".join(json.dumps(case) for case in rows) + "\n ]"
         for key, rows in (("cases", cases), ("grids", grids))}
body = "".join(f',\n "{key}": {rows}' for key, rows in lines.items())
pathlib.Path(__file__).with_name("splits.json").write_text(json.dumps(out)[:-1] + body + "\n}\n")
