"""Makes `processing.json`, `patches_28x28.f32` and `resized_*.rgb` beside this script from transformers.

    python make_processing.py

Versions used: Python 3.11, torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, trl 1.16.0, Pillow 13.0.0, numpy
2.4.6. The versions that really ran are written into `processing.json`.

- tokens: ids and decoded text by `Qwen2Tokenizer` from the preset's folder.
- chats: prompts by `apply_chat_template` with the published template of Qwen2.5-VL, which trl ships; the preset's own
  template must give the same.
- json: `json.dumps`, as transformers' `tojson` calls it.
- sizes: `smart_resize` of the Qwen2-VL image processor.
- pictures: `Qwen2VLImageProcessorPil` on pictures made by `noise`, kept as shape, FNV-1a 64 hash of the little-endian
  f32 bytes, sum and a few values; the smallest one in full as a file. Where the processor resized, the pixels that
  Pillow made are a file of their own, for resampling is not what is tested here.
- positions: `Qwen2_5_VLModel.get_rope_index` on prompts expanded by `Qwen2_5_VLProcessor`.
"""

import json
import pathlib
import random

import numpy
import PIL
import tokenizers
import torch
import transformers
import trl
from PIL import Image
from transformers import AutoConfig, AutoProcessor, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

HERE = pathlib.Path(__file__).parent
PRESET = HERE.parent.parent / "assets" / "tiny-qwen2_5_vl"


def noise(width, height):
    """A picture from a linear congruential generator that both languages can run."""
    state, values = width * 1000 + height, bytearray()
    for _ in range(width * height * 3):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state >> 24)
    return Image.frombytes("RGB", (width, height), bytes(values))


def fnv(data):
    """FNV-1a, 64 bits, as a hexadecimal text."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


STRINGS = [
    "",
    " ",
    "   ",
    "\n\n",
    " \n \t x",
    "Where is the red circle?",
    "Give the bounding box of the digit 4 as [x1, y1, x2, y2] in pixels.",
    "Which digit is in the image?",
    "How many digits are in the image?",
    "Which digit is furthest to the left?",
    "What is the sum of all digits in the image?",
    "Is this statement true of the image? There is a tower with exactly two yellow blocks. Answer yes or no.",
    "<think>The red circle is at the upper left.</think>\n<answer>[12, 30, 55, 80]</answer>",
    "<think></think><answer>yes</answer>",
    "<think>\n\n</think>\n\n<answer>\n[0,0,111,111]\n</answer>\n",
    "[12,30,55,80]",
    "[12, 30, 55, 80]",
    "[ 12 , 30 ]",
    "(1, 2), (3, 4)",
    ", ,  ,, ,",
    "red, green and blue,\nthen black",
    "3.14159 1,000,000 -17 1e-5 0x1F",
    "1/2 + 3/4 = 5/4, or \\frac{5}{4} in LaTeX: $x^2$",
    "I'm sure we'll see it's DON'T they've I'D you're",
    "can't CAN'T Can'T",
    "<|im_start|>user\nhello<|im_end|>\n",
    "<|im_start|><|im_end|><|endoftext|>",
    "<|vision_start|><|image_pad|><|vision_end|>What?",
    "<|vision_start|><|video_pad|><|vision_end|> <|vision_pad|>",
    "<|image_pad|><|image_pad|>",
    "<|image_pad |> <|Image_pad|> <| im_start|>",
    "a<|im_end|>b <|im_end|> c",
    "<tool_call>\n{\"name\": \"zoom\", \"arguments\": {\"box\": [1, 2]}}\n</tool_call>",
    "<|fim_prefix|>x<|fim_middle|>y<|fim_suffix|><|fim_pad|><|repo_name|><|file_sep|>",
    "<|box_start|>(12,30),(55,80)<|box_end|><|object_ref_start|>dog<|object_ref_end|><|quad_start|><|quad_end|>",
    "naïve café",
    "e\u0301 is \u00e9 after NFC, \u212b too",
    "\ufb01 stays under NFC",
    "Größe, weiß, ŁÓDŹ",
    "これは赤い丸です。",
    "红色的圆在哪里？",
    "Где красный круг?",
    "أين الدائرة الحمراء؟",
    "नमस्ते १२३",
    "👍🏽 🎉 family: 👨‍👩‍👧",
    "\u00a0non\u2003breaking\u3000blanks\u200b",
    "tab\tand\r\nCRLF\r",
    "trailing blanks   ",
    "   leading blanks",
    "CamelCaseWords snake_case_words kebab-case-words",
    "```json\n[{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"red circle\"}]\n```",
    "http://example.org/a?b=c&d=%20#e",
    "supercalifragilisticexpialidocious",
    "½ ² Ⅷ ① ٣",
    "!!! ... ??? --- ***",
]

TEXT = {"type": "text", "text": "Where is the red circle?"}
PICTURE = {"type": "image"}
CHATS = [
    {"messages": [{"role": "user", "content": "hello"}]},
    {"messages": [{"role": "user", "content": [PICTURE, TEXT]}], "add_generation_prompt": True},
    {"messages": [{"role": "user", "content": [TEXT, PICTURE]}], "add_generation_prompt": True},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [TEXT]}]},
    {
        "messages": [{"role": "system", "content": [{"type": "text", "text": "Point."}]}, {"role": "user", "content": [PICTURE, TEXT]}],
        "add_generation_prompt": True,
    },
    {
        "messages": [
            {"role": "user", "content": [PICTURE, TEXT]},
            {"role": "assistant", "content": "<answer>[12, 30, 55, 80]</answer>"},
            {"role": "user", "content": [{"type": "text", "text": "And\nthe "}, {"type": "text", "text": " blue one?"}]},
        ],
        "add_generation_prompt": True,
    },
    {
        "messages": [{"role": "user", "content": [PICTURE, PICTURE, {"type": "video"}, TEXT, {"type": "video"}, PICTURE]}],
        "add_generation_prompt": True,
        "add_vision_id": True,
    },
    {"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "video", "video": "b.mp4"}]}]},
    {"messages": [{"role": "user", "content": "  blanks \n\n kept, {{ braces }} {% too %} <&>\"' "}]},
    {"messages": [{"role": "tool", "content": "{\"x\": 1}"}, {"role": "assistant", "content": []}]},
    {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "红色 👍"}], "add_generation_prompt": True},
    {
        "messages": [
            {"role": "system", "content": ""},
            {"role": "user", "content": [PICTURE, {"type": "text", "text": "1"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "2"}]},
            {"role": "user", "content": [PICTURE, {"type": "text", "text": "3"}]},
        ],
        "add_vision_id": True,
    },
]

PICTURES = [
    # width, height, min_pixels, max_pixels
    (28, 28, 784, 12845056),
    (56, 56, 3136, 12845056),
    (84, 56, 3136, 12845056),
    (112, 112, 3136, 12845056),
    (40, 70, 3136, 12845056),
    (100, 30, 3136, 12845056),
    (150, 200, 3136, 6272),
]

ROPE = [
    {"content": [TEXT], "pictures": []},
    {"content": [PICTURE, TEXT], "pictures": [(84, 56)]},
    {"content": [TEXT, PICTURE, {"type": "text", "text": " and "}, PICTURE, TEXT], "pictures": [(56, 112), (140, 84)]},
    {"content": None, "pictures": [(112, 56)]},
]


def tokens(tokenizer):
    for text in STRINGS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        yield {
            "text": text,
            "ids": ids,
            "decoded": tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False),
            "plain": tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        }


def chats(processor):
    published = (pathlib.Path(trl.__file__).parent / "chat_templates" / "qwen2_5_vl.jinja").read_text(encoding="utf-8")
    for chat in CHATS:
        extra = {key: value for key, value in chat.items() if key != "messages"}
        text, same = (
            processor.tokenizer.apply_chat_template(chat["messages"], tokenize=False, chat_template=template, **extra)
            for template in (published, processor.chat_template)
        )
        assert text == same, (text, same)
        yield {"add_generation_prompt": False, "add_vision_id": False, **chat, "text": text}


def dumps():
    value = {
        "name": "zoom",
        "b": [1, -2, 2.5, 1e-05, 1e16, 123456789012345.6, True, False, None, [], {}],
        "a": {"é": "<&>'\"\\\n\t\r\b\f\u0001\u007f😀", "Z": ""},
    }
    for options in [
        {},
        {"indent": 2},
        {"indent": 0},
        {"indent": "\t", "sort_keys": True},
        {"ensure_ascii": True},
        {"separators": [",", ":"]},
        {"indent": 1, "separators": [", ", " = "], "ensure_ascii": True},
    ]:
        arguments = {"ensure_ascii": False, **options}
        yield {"value": value, "options": options, "text": json.dumps(value, **arguments)}


def sizes():
    draw = random.Random(7)
    for factor, low, high in [(28, 3136, 12845056), (28, 3136, 100352), (32, 65536, 1048576), (28, 784, 7840)]:
        fixed = [(70, 98), (42, 14), (1, 200), (200, 1), (13, 13), (1000, 2000), (28, 28), (28, 2800), (4000, 3000)]
        drawn = [(draw.randint(20, 3000), draw.randint(20, 3000)) for _ in range(40)]
        for height, width in fixed + drawn:
            tall, wide = smart_resize(height, width, factor, low, high)
            yield [height, width, factor, low, high, tall, wide]


def pictures():
    for width, height, low, high in PICTURES:
        processor = Qwen2VLImageProcessorPil(min_pixels=low, max_pixels=high)
        picture = noise(width, height)
        made = processor(images=[picture], return_tensors="np")
        values, grid = made["pixel_values"], made["image_grid_thw"][0].tolist()
        assert values.dtype == numpy.float32
        tall, wide = smart_resize(height, width, 28, low, high)
        row = {
            "width": width,
            "height": height,
            "min_pixels": low,
            "max_pixels": high,
            "grid": grid,
            "rows": list(values.shape),
            "hash": fnv(values.astype("<f4").tobytes()),
            "sum": float(values.astype(numpy.float64).sum()),
            "first": [float(value) for value in values[0, :3]],
            "last": [float(value) for value in values[-1, -3:]],
        }
        if (tall, wide) != (height, width):
            resized = picture.resize((wide, tall), Image.Resampling.BICUBIC)
            row["resized"] = f"resized_{width}x{height}.rgb"
            (HERE / row["resized"]).write_bytes(resized.tobytes())
        if (width, height) == (28, 28):
            row["full"] = "patches_28x28.f32"
            (HERE / row["full"]).write_bytes(values.astype("<f4").tobytes())
        yield row


def positions(processor):
    model = Qwen2_5_VLForConditionalGeneration(AutoConfig.from_pretrained(PRESET)).model
    for case in ROPE:
        given = [noise(width, height) for width, height in case["pictures"]]
        if case["content"] is None:
            # The picture's tokens come first of all.
            text = "<|image_pad|><|vision_end|>What is it?"
        else:
            text = processor.apply_chat_template([{"role": "user", "content": case["content"]}], add_generation_prompt=True)
        made = processor(text=[text], images=given or None, return_tensors="pt")
        found, delta = model.get_rope_index(
            made["input_ids"], made["mm_token_type_ids"], image_grid_thw=made.get("image_grid_thw")
        )
        yield {
            "prompt": text,
            "grids": made["image_grid_thw"].tolist() if given else [],
            "ids": made["input_ids"][0].tolist(),
            "positions": found[:, 0].T.tolist(),
            "delta": int(delta[0, 0]),
        }


def main():
    processor = AutoProcessor.from_pretrained(PRESET)
    result = {
        "made_by": {
            "script": "make_processing.py",
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "trl": trl.__version__,
            "torch": torch.__version__,
            "pillow": PIL.__version__,
            "numpy": numpy.__version__,
            "tokenizer_class": type(processor.tokenizer).__name__,
            "image_processor_class": Qwen2VLImageProcessorPil.__name__,
        },
        "tokens": list(tokens(processor.tokenizer)),
        "chats": list(chats(processor)),
        "json": list(dumps()),
        "sizes": list(sizes()),
        "pictures": list(pictures()),
        "positions": list(positions(processor)),
    }
    # One case a line, so that a change shows as a change of that case.
    parts = []
    for key, value in result.items():
        if isinstance(value, list):
            lines = ",\n".join("    " + json.dumps(row, ensure_ascii=False) for row in value)
            parts.append(f'  "{key}": [\n{lines}\n  ]')
        else:
            parts.append(f'  "{key}": {json.dumps(value)}')
    (HERE / "processing.json").write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
