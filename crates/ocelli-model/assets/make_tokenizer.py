"""Makes the JSON files of the preset `tiny-qwen2_5_vl` beside this script.

    python make_tokenizer.py

Versions used: Python 3.11, tokenizers 0.23.3. The result is the same on every run. `chat_template.jinja` is written
by hand and not touched.

The tokenizer is Qwen2.5-VL's in small: the same normaliser, the same pre-tokenizer, the same 22 added tokens in the
same order after the ordinary entries, but only 489 merges, learned from the sentences below. One added token is ours:
", " (a comma and a space). Qwen2's pre-tokenizer never joins a comma, a space and a digit, so without it every gap in
"[12, 30, 55, 80]" would cost two tokens.
"""

import itertools
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FOLDER = pathlib.Path(__file__).parent / "tiny-qwen2_5_vl"
SIZE = 768

# The split of Qwen2: contractions, words with at most one sign before them, single digits, runs of signs, line ends, blanks.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
ORDINARY = [
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    ", ",
]

COLOURS = ["red", "green", "blue", "yellow", "purple", "orange", "black", "white", "grey"]
SHAPES = ["circle", "square", "triangle", "diamond", "cross", "star"]
SIZES = ["small", "large", "smallest", "largest"]
PLACES = [
    "upper left", "upper right", "lower left", "lower right", "left", "right", "top", "bottom", "middle", "centre",
]  # fmt: skip
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven"]


def corpus():
    """Sentences with weights: what the built-in tasks ask and what their answers look like, plus words of reasoning."""
    yield "You are a helpful assistant.", 100
    for role in ("system\n", "user\n", "assistant\n"):
        yield role, 400
    yield "<think>I look at the image.</think>\n<answer>[12, 30, 55, 80]</answer>", 800
    yield "<think></think>\n<answer>(12, 30)</answer>", 100
    for word in ("yes", "no", "true", "false"):
        yield f"<think>So the answer is {word}.</think>\n<answer>{word}</answer>", 120
    yield "<answer>click(12, 30)</answer>\n", 20
    yield '```json\n[{"bbox_2d": [10, 20, 30, 40], "label": "red circle"}]\n```', 60

    for colour, shape in itertools.product(COLOURS, SHAPES):
        thing = f"{colour} {shape}"
        yield f"Where is the {thing}?", 12
        yield f"Give the box of the {thing} as [x1, y1, x2, y2] in pixels.", 8
        plural = thing + ("es" if shape == "cross" else "s")
        yield f"Point to the {thing}. How many {plural} are there?", 3
        for place in PLACES:
            yield f"<think>The {thing} is at the {place}.</think>\n<answer>[1, 2, 3, 4]</answer>", 1
            yield f"The {thing} is in the {place} of the image.", 1
    for size, shape in itertools.product(SIZES, SHAPES):
        yield f"Where is the {size} {shape}? I see a {size} {shape} at the edge.", 4

    yield "Give the bounding box of the digit 4 as [x1, y1, x2, y2] in pixels.", 200
    yield "Which digit is in the image?", 100
    yield "How many digits are in the image?", 100
    yield "Which digit is furthest to the left? Which digit is furthest to the right?", 40
    yield "What is the sum of all digits in the image?", 60
    yield "What is the largest digit in the image? What is the smallest digit in the image?", 60
    yield "There is 1 digit. There are 2 digits: 3 and 7. The sum is 3 + 7 = 10.", 40
    yield "The digit is a 5. The largest digit is 8, it starts at x = 12 and ends at x = 40.", 40

    for number, colour in itertools.product(NUMBERS, COLOURS):
        yield f"Is this statement true of the image? There are {number} {colour} items. Answer yes or no.", 3
        yield f"There is a tower with exactly {number} blocks with a {colour} block at the top.", 2
        yield f"There is at least {number} {colour} block touching the base. One tower has {colour} blocks only.", 2
        yield f"There is a box with {number} items of only {number} different colors as {colour} objects.", 2
        yield f"Each box contains a {colour} object closely touching the wall, not the corner.", 1
        yield f"There are {number} towers which have the same height, more than {number} squares above or below.", 1
        yield f"There is no {colour} item over any other item, and all boxes contain circles and triangles.", 1

    reasoning = """
    First I look at the whole image, then I count the objects one by one. Let me check the color of each shape.
    Because the question is about the position, I compare the left side with the right side. So the answer must be this.
    If there is nothing between them, the distance is small. Now we need to find where it is and how far it goes.
    I think that the object is near the middle. However, it could also be a little more to the right. Wait, let me see.
    The number of rows times the number of columns gives the total. Therefore the result is correct, not wrong.
    It looks like a digit with a line on top. The next one is behind the other. We know what they are, but not who made them.
    Choose the best option from the list: A, B, C or D. Please give only the final answer in the tags. Use the form below.
    Move up, move down, turn left, turn right, go forward, click on the button, type the text, zoom in on the region.
    """
    for line in reasoning.strip().splitlines():
        yield line.strip(), 12


def tokenizer():
    """The trained tokenizer with its added tokens."""
    result = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False))
    result.normalizer = normalizers.NFC()
    result.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    result.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    result.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    # The comma with its space leaves the text before the pre-tokenizer sees it, so it leaves the training text too.
    pieces = [piece for text, weight in corpus() for piece in text.split(", ") * weight]
    added = SPECIAL + ORDINARY
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE - len(added),
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    result.train_from_iterator(pieces, trainer)
    result.add_tokens([AddedToken(text, normalized=False, special=text in SPECIAL) for text in added])
    assert result.get_vocab_size() == SIZE, result.get_vocab_size()
    return result


def tokenizer_config(ids):
    """`tokenizer_config.json`, in the layout of the published Qwen2.5-VL checkpoints."""
    added = {
        str(ids[text]): {
            "content": text,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": text in SPECIAL,
        }
        for text in SPECIAL + ORDINARY
    }
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": SPECIAL[1:],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "processor_class": "Qwen2_5_VLProcessor",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def config(ids):
    """`config.json`, in the layout that transformers 5 saves."""
    end, pad = ids["<|im_end|>"], ids["<|endoftext|>"]
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "bos_token_id": pad,
        "dtype": "float32",
        "eos_token_id": end,
        "image_token_id": ids["<|image_pad|>"],
        "model_type": "qwen2_5_vl",
        "pad_token_id": pad,
        "text_config": {
            "attention_dropout": 0.0,
            "bos_token_id": pad,
            "dtype": "float32",
            "eos_token_id": end,
            "hidden_act": "silu",
            "hidden_size": 128,
            "initializer_range": 0.02,
            "intermediate_size": 352,
            "layer_types": ["full_attention", "full_attention"],
            "max_position_embeddings": 4096,
            "max_window_layers": 2,
            "model_type": "qwen2_5_vl_text",
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "pad_token_id": pad,
            "rms_norm_eps": 1e-06,
            # A base of 10 and wide sections for height and width: with the published base of a million, positions in a picture of
            # four by four tokens would turn these 16 frequencies by less than a tenth of a radian.
            "rope_parameters": {"mrope_section": [2, 7, 7], "rope_theta": 10.0, "rope_type": "default"},
            "sliding_window": None,
            "tie_word_embeddings": True,
            "use_cache": True,
            "use_sliding_window": False,
            "vocab_size": SIZE,
        },
        "tie_word_embeddings": True,
        "transformers_version": "5.23.0",
        "video_token_id": ids["<|video_pad|>"],
        "vision_config": {
            "depth": 2,
            "dtype": "float32",
            "fullatt_block_indexes": [1],
            "hidden_act": "silu",
            "hidden_size": 64,
            "in_channels": 3,
            "initializer_range": 0.02,
            "intermediate_size": 128,
            "model_type": "qwen2_5_vl_vision",
            "num_heads": 4,
            "out_hidden_size": 128,
            "patch_size": 14,
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "axial"},
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "tokens_per_second": 2,
            "window_size": 112,
        },
        "vision_end_token_id": ids["<|vision_end|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
    }


def generation_config(ids):
    """`generation_config.json`: plain sampling, stopping at the end of the turn or of the text."""
    return {
        "bos_token_id": ids["<|endoftext|>"],
        "do_sample": True,
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "pad_token_id": ids["<|endoftext|>"],
        "temperature": 1.0,
    }


PREPROCESSOR_CONFIG = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "Qwen2VLImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "max_pixels": 12845056,
    "merge_size": 2,
    "min_pixels": 3136,
    "patch_size": 14,
    "processor_class": "Qwen2_5_VLProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "temporal_patch_size": 2,
}


def write(name, content):
    """Writes one JSON file as Hugging Face does: two blanks, keys as given, one line end."""
    (FOLDER / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    made = tokenizer()
    ids = made.get_vocab(with_added_tokens=True)
    (FOLDER / "tokenizer.json").write_text(made.to_str(pretty=True) + "\n", encoding="utf-8")
    write("tokenizer_config.json", tokenizer_config(ids))
    write("config.json", config(ids))
    write("generation_config.json", generation_config(ids))
    write("preprocessor_config.json", PREPROCESSOR_CONFIG)


if __name__ == "__main__":
    main()
