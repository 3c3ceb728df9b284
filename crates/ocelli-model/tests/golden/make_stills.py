"""Writes stills.json: hashes and first values of what transformers' Qwen2VLImageProcessorPil makes of pictures.

Pictures without a file are made by `formula_picture.source`, which tests/support/mod.rs repeats, and are given as paths of
PNG files. Pictures with a file (in base64) are given twice: as a path, and opened with the orientation applied. Run with
transformers 5.23 and Pillow 13:
    python make_stills.py
"""

import base64
import io
import json
import pathlib
import struct
import tempfile
import warnings

import numpy as np
import PIL
import transformers
from PIL import Image, ImageOps
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from formula_picture import chunk, fnv1a_words, png, saved, source

warnings.filterwarnings("ignore", message="Palette images with Transparency")
# preprocessor_config.json of the published checkpoints, without what is the same for all.
FAMILIES = {
    "defaults": {},
    "qwen2_vl": {"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "merge_size": 2,
                 "temporal_patch_size": 2, "image_mean": [0.48145466, 0.4578275, 0.40821073],
                 "image_std": [0.26862954, 0.26130258, 0.27577711],
                 "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"},
    "qwen3_vl": {"size": {"longest_edge": 16777216, "shortest_edge": 65536}, "patch_size": 16, "merge_size": 2,
                 "temporal_patch_size": 2, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
                 "image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": "Qwen3VLProcessor"},
    "small": {"min_pixels": 784, "max_pixels": 50176},
}
# Width, height: square, tall, wide, tiny, the limit of 200 to 1, both orders of passes, sizes that stay as they are.
SIZES = [(64, 48), (48, 64), (1, 1), (3, 2), (7, 300), (300, 7), (2, 400), (400, 2), (28, 28), (56, 84), (96, 64),
         (100, 100), (101, 67), (211, 333), (333, 211), (150, 600), (640, 480), (257, 255), (512, 256), (799, 61)]

processors = {name: Qwen2VLImageProcessorPil(**config) for name, config in FAMILIES.items()}


def result(name, picture):
    made = processors[name](images=picture, return_tensors="np")
    pixels = made["pixel_values"]
    assert pixels.dtype == np.float32
    return {"grid": made["image_grid_thw"][0].tolist(), "hash": fnv1a_words(pixels.tobytes()),
            "first": [float(v) for v in pixels.reshape(-1)[:3]]}


colours = Image.fromarray(source(19, 13))
grey = colours.convert("L")
alpha = colours.copy()
alpha.putalpha(Image.fromarray(source(19, 13, 1)[..., 0]))
palette = colours.quantize(9)
animated = [colours.quantize(12), colours.transpose(0).quantize(12)]
ramp = np.arange(19 * 13, dtype=np.uint32).reshape(13, 19)


def words(values):
    return [row.astype(">u2").tobytes() for row in values]


kinds = {
    "rgb": saved(colours), "grey": saved(grey), "grey and alpha": saved(alpha.convert("LA")), "alpha": saved(alpha),
    "palette": saved(palette), "palette, one transparent colour": saved(palette, transparency=3),
    "palette, degrees of transparency": saved(palette, transparency=bytes([255, 0, 128, 3, 200, 255, 254, 1, 90])),
    "palette, all transparent": saved(palette, transparency=bytes(9)),
    "palette, one colour twice": png(3, 2, 8, 1, [b"\x1b\xe4"], chunk(b"PLTE", bytes([9, 8, 7, 60, 50, 40, 200, 0, 9,
                                     60, 50, 40])) + chunk(b"tRNS", b"\xff\x00")),
    "grey, one transparent colour": saved(grey, transparency=int(np.array(grey)[0, 1])),
    "rgb, one transparent colour": saved(colours, transparency=colours.getpixel((5, 5))),
    "1 bit": saved(grey.convert("1")), "2 bits grey": png(0, 2, 8, 2, [b"\x1b\xe4", b"\x00\xff"]),
    "4 bits grey": png(0, 4, 4, 2, [b"\x01\x9f", b"\x48\xc3"]),
    "16 bits grey": png(0, 16, 19, 13, words(ramp)), "16 bits grey, high": png(0, 16, 19, 13, words(ramp * 263)),
    "16 bits rgb": png(2, 16, 6, 13, [row[:36] for row in words(ramp * 263)]),
    "16 bits alpha": png(6, 16, 4, 13, [row[:32] for row in words(ramp * 263)]),
    "16 bits grey and alpha": png(4, 16, 9, 13, [row[:36] for row in words(ramp * 263)]),
    "gif": saved(palette, "GIF"), "gif, one transparent colour": saved(palette, "GIF", transparency=2),
    "gif, animated": saved(animated[0], "GIF", save_all=True, append_images=animated[1:]),
    "webp, lossless with alpha": saved(alpha, "WEBP", lossless=True, exact=True), "bmp": saved(colours, "BMP"),
}
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    kinds[f"exif orientation {orientation}"] = saved(colours, exif=exif)
exif[0x0112] = 6
kinds["alpha, exif orientation 6"] = saved(alpha, exif=exif)
kinds["palette, one transparent colour, exif orientation 5"] = saved(palette, transparency=3, exif=exif)

cases = []
with tempfile.TemporaryDirectory() as folder:
    path = str(pathlib.Path(folder) / "picture")
    for width, height in SIZES:
        Image.fromarray(source(width, height)).save(path, "PNG")
        for name in FAMILIES:
            if width * height < 100_000 or name in ("small", "defaults"):
                cases.append({"family": name, "width": width, "height": height, "path": result(name, path)})
    for kind, data in kinds.items():
        pathlib.Path(path).write_bytes(data)
        opened = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        cases.append({"family": "small", "kind": kind, "file": base64.b64encode(data).decode(),
                      "path": result("small", path), "picture": result("small", opened)})

out = {"made_by": "make_stills.py", "transformers": transformers.__version__, "pillow": PIL.__version__,
       "class": "Qwen2VLImageProcessorPil", "families": FAMILIES, "cases": cases}
lines = ",\n  ".join(json.dumps(case) for case in out.pop("cases"))
head = json.dumps(out, indent=1)[:-2]
pathlib.Path(__file__).with_name("stills.json").write_text(f'{head},\n "cases": [\n  {lines}\n ]\n}}\n')
print(len(cases))
