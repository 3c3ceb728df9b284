"""Writes decode.json: small picture files in hexadecimal with the pixels that Pillow's convert("RGB") gives.

Orientation (EXIF) is applied first. Writes two_frames.png as well. Run with Pillow 13:
    python make_decode.py
"""

import io
import json
import pathlib
import struct
import zlib

import PIL
from PIL import Image, ImageOps

cases = []


def add(name, data):
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    cases.append({"name": name, "file": data.hex(), "width": picture.width, "height": picture.height,
                  "rgb": picture.tobytes().hex()})


def png(colour_type, depth, width, height, rows, extra=b""):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    raw = b"".join(b"\0" + row for row in rows)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw))
            + chunk(b"IEND", b""))


def saved(picture, kind, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


colours = Image.frombytes("RGB", (4, 3), bytes((i * 53 + 11) % 256 for i in range(36)))
grey = Image.frombytes("L", (4, 3), bytes(range(0, 240, 20)))
alpha = colours.copy()
alpha.putalpha(Image.frombytes("L", (4, 3), bytes(i * 23 for i in range(12))))
palette = Image.new("P", (3, 1))
palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
palette.putdata([0, 1, 2])

add("rgb png", saved(colours, "PNG"))
add("rgb bmp", saved(colours, "BMP"))
add("rgb webp, lossless", saved(colours, "WEBP", lossless=True))
add("grey png", saved(grey, "PNG"))
add("1-bit png", png(0, 1, 8, 1, [b"\xa5"]))
add("grey and alpha png", png(4, 8, 2, 1, [bytes([200, 0, 90, 255])]))
add("alpha png", saved(alpha, "PNG"))
add("palette png", saved(palette, "PNG"))
add("palette png with a transparent colour", saved(palette, "PNG", transparency=1))
add("palette gif", saved(palette, "GIF"))
add("palette gif with a transparent colour", saved(palette, "GIF", transparency=1))
add("animated gif", saved(colours.quantize(12), "GIF", save_all=True, append_images=[colours.transpose(0).quantize(12)]))
add("16-bit rgb png", png(2, 16, 2, 1, [struct.pack(">6H", 0, 255, 256, 40000, 65535, 385)]))
add("16-bit rgba png", png(6, 16, 1, 1, [struct.pack(">4H", 0, 255, 40000, 0)]))
add("16-bit grey and alpha png", png(4, 16, 1, 1, [struct.pack(">2H", 40000, 0)]))
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    add(f"png with exif orientation {orientation}", saved(colours, "PNG", exif=exif))
exif = Image.Exif()
exif[0x0112] = 6
smooth = Image.frombytes("RGB", (16, 8), bytes(c for y in range(8) for x in range(16) for c in (x * 12, y * 25, 90)))
add("jpeg with exif orientation 6", saved(smooth, "JPEG", quality=95, subsampling=0, exif=exif))
add("progressive grey jpeg", saved(smooth.convert("L"), "JPEG", quality=95, progressive=True))

out = {"made_by": "make_decode.py", "pillow": PIL.__version__, "cases": cases}
pathlib.Path(__file__).with_name("decode.json").write_text(json.dumps(out, indent=1) + "\n")

# An animation for the tests of `frames.rs`: a red pixel, half a second later a blue one.
red, blue = (Image.new("RGB", (1, 1), colour) for colour in ("red", "blue"))
red.save(pathlib.Path(__file__).with_name("two_frames.png"), save_all=True, append_images=[blue], duration=500)
