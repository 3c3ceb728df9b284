"""Writes resize.json: FNV-1a hashes and first bytes of pictures that Pillow resized (bicubic).

The inputs are made by the formula in `source`, which tests/resize.rs repeats. Run with Pillow 13:
    python make_resize.py
"""

import json
import pathlib

import PIL
from PIL import Image

# (width, height) to (width, height): tall, wide, one pixel, up, down, mixed.
SHAPES = [
    ((64, 48), (32, 24)), ((64, 48), (128, 96)), ((37, 91), (56, 28)), ((91, 37), (28, 56)),
    ((20, 200), (20, 40)), ((20, 200), (40, 20)), ((200, 20), (40, 20)), ((200, 20), (20, 200)),
    ((1, 1), (7, 5)), ((1, 50), (4, 8)), ((50, 1), (8, 4)), ((33, 17), (1, 1)), ((33, 17), (1, 40)),
    ((33, 17), (40, 1)), ((112, 112), (84, 84)), ((112, 112), (112, 56)), ((112, 112), (56, 112)),
    ((100, 140), (80, 99)), ((100, 140), (80, 100)), ((100, 140), (80, 101)), ((101, 67), (100, 66)),
    ((13, 29), (28, 28)), ((300, 211), (28, 28)), ((5, 3), (280, 252)),
]


def source(width, height):
    """Smooth waves, hard lines and hash noise, so that clamping and rounding are exercised."""
    data = bytearray()
    for y in range(height):
        for x in range(width):
            for c in range(3):
                value = (x * x * (3 + c) + y * y * (5 - c) + 7 * x * y) % 256
                if (x // 3 + y // 5) % 4 == 0:
                    value = 255 if (x + c) % 2 == 0 else 0
                if (x * 31 + y * 17 + c * 7) % 11 == 0:
                    value = (x * 2654435761 + y * 40503 + c * 97) % 251
                data.append(value)
    return Image.frombytes("RGB", (width, height), bytes(data))


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


cases = []
for old, new in SHAPES:
    picture = source(*old)
    whole = picture.resize(new, Image.Resampling.BICUBIC)
    # Two calls of one axis each fix the order of the passes, and so give what Pillow before 13 gives.
    rows_first = picture.resize((new[0], old[1]), Image.Resampling.BICUBIC).resize(new, Image.Resampling.BICUBIC)
    cases.append({
        "old": old, "new": new,
        "pillow_13": fnv1a(whole.tobytes()), "horizontal_first": fnv1a(rows_first.tobytes()),
        "first_bytes": list(whole.tobytes()[:24]),
    })

out = {"made_by": "make_resize.py", "pillow": PIL.__version__, "cases": cases}
pathlib.Path(__file__).with_name("resize.json").write_text(json.dumps(out, indent=1) + "\n")
print(sum(c["pillow_13"] != c["horizontal_first"] for c in cases), "cases differ by order of passes")
