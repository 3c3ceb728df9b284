"""Writes tiles.json: what GotOcr2ImageProcessorPil and InternVLProcessor make of pictures by `formula_picture.source`.

Run with transformers 5.23 and Pillow 13:
    python make_tiles.py
"""

import json
import pathlib
import types

import numpy as np
import PIL
import transformers
from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.internvl.processing_internvl import InternVLProcessor

from formula_picture import fnv1a_words, source

FAMILIES = {
    "internvl3": {"size": {"height": 448, "width": 448}, "image_mean": [0.485, 0.456, 0.406],
                  "image_std": [0.229, 0.224, 0.225], "crop_to_patches": False, "min_patches": 1, "max_patches": 12,
                  "image_processor_type": "GotOcr2ImageProcessorFast", "resample": 3},
    "defaults": {}, "small": {"size": {"height": 28, "width": 42}, "max_patches": 6},
    "several": {"size": {"height": 32, "width": 32}, "min_patches": 3, "max_patches": 8},
    "one": {"size": {"height": 56, "width": 56}, "max_patches": 1},
}
SIZES = {"internvl3": [(640, 480), (448, 448), (100, 900)], "defaults": [(500, 300)], "one": [(60, 40)]}
MANY = [(64, 48), (48, 64), (28, 28), (42, 28), (1, 1), (5, 300), (300, 5), (61, 60), (84, 84), (100, 99), (97, 193)]
# Width and height of pictures of which only the grid is wanted.
GRIDS = [(w, h) for w in (1, 100, 447, 449, 640, 1000, 2500) for h in (3, 300, 448, 480, 999, 2500)]

self = types.SimpleNamespace(start_image_token="<img>", end_image_token="</img>", image_token="<IMG_CONTEXT>",
                             image_seq_length=3)
cases, grids = [], []
for name, config in FAMILIES.items():
    processor = GotOcr2ImageProcessorPil(**config)
    for width, height in SIZES.get(name, MANY):
        # As InternVLProcessor.images_kwargs asks.
        assert InternVLProcessor.images_kwargs == {"crop_to_patches": True}
        made = processor(images=Image.fromarray(source(width, height)), crop_to_patches=True, return_tensors="np")
        pixels = made["pixel_values"]
        assert pixels.dtype == np.float32
        cases.append({"family": name, "width": width, "height": height, "shape": list(pixels.shape),
                      "hash": fnv1a_words(pixels.tobytes()), "first": [float(v) for v in pixels.reshape(-1)[:3]],
                      "text": InternVLProcessor.replace_image_token(self, made, 0)})
    grids += [{"family": name, "width": w, "height": h, "count":
               processor.get_number_of_image_patches(h, w, {"crop_to_patches": True})} for w, h in GRIDS]

out = {"made_by": "make_tiles.py", "transformers": transformers.__version__, "pillow": PIL.__version__,
       "class": "GotOcr2ImageProcessorPil", "families": FAMILIES}
lines = {key: "[\n  " + ",\n  ".join(json.dumps(case) for case in rows) + "\n ]"
         for key, rows in (("cases", cases), ("grids", grids))}
body = "".join(f',\n "{key}": {rows}' for key, rows in lines.items())
pathlib.Path(__file__).with_name("tiles.json").write_text(json.dumps(out, indent=1)[:-2] + body + "\n}\n")
