"""The picture that the golden scripts beside this file and tests/support/mod.rs make by the same formula."""

import io
import struct
import zlib

import numpy as np


def source(width, height, seed=0):
    """Smooth waves, hard lines and noise as uint8 [height, width, 3]; `seed` shifts all of it."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    x, y = x + seed * 13, y + seed * 5
    value = (x * x * (3 + c) + y * y * (5 - c) + 7 * x * y) % 256
    lines = (x // 3 + y // 5) % 4 == 0
    value = np.where(lines, np.where((x + c) % 2 == 0, 255, 0), value)
    noise = (x * 31 + y * 17 + c * 7) % 11 == 0
    value = np.where(noise, (x * 2654435761 + y * 40503 + c * 97) % 251, value)
    return value.astype(np.uint8)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def fnv1a_words(data):
    """FNV-1a over 32-bit little-endian words instead of bytes, for long arrays."""
    value = 0xCBF29CE484222325
    for word in np.frombuffer(data, "<u4").tolist():
        value = ((value ^ word) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def png(colour_type, depth, width, height, rows, extra=b""):
    """A PNG file of raw rows; `extra` holds chunks between header and pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    raw = b"".join(b"\0" + row for row in rows)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw, 9))
            + chunk(b"IEND", b""))


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def saved(picture, kind="PNG", **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()
