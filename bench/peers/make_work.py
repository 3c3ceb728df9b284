"""Writes what both sides of a comparison read: a checkpoint with random weights, and rows with pictures of one size.

    python bench/peers/make_work.py checkpoint tiny|small FOLDER
    python bench/peers/make_work.py rows MERGED_TOKENS FOLDER

The checkpoints are Qwen2.5-VL's architecture with 2 and 108 million parameters, in float32, with the tokenizer, template and picture
settings of Ocelli's preset. Rows are VLM-R1's JSONL; a picture of 28·n × 28·n pixels has n² merged tokens.
"""

import json
import pathlib
import shutil
import sys

import numpy
import torch
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

PRESET = pathlib.Path(__file__).parents[2] / "crates/ocelli-model/assets/tiny-qwen2_5_vl"
SIZES = {
    "tiny": dict(
        text=dict(hidden_size=160, intermediate_size=448, num_hidden_layers=4, num_attention_heads=5, num_key_value_heads=1),
        vision=dict(depth=4, hidden_size=96, num_heads=3, intermediate_size=256, fullatt_block_indexes=[3]),
        sections=[4, 6, 6]),
    "small": dict(
        text=dict(hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=2),
        vision=dict(depth=12, hidden_size=512, num_heads=8, intermediate_size=1024, fullatt_block_indexes=[5, 11]),
        sections=[8, 12, 12]),
}
ROWS = 64


def checkpoint(size, folder):
    sizes = SIZES[size]
    preset = json.loads((PRESET / "config.json").read_text())
    marks = {k: preset[k] for k in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")}
    text = preset["text_config"]
    config = Qwen2_5_VLConfig(
        text_config=dict(**sizes["text"], vocab_size=text["vocab_size"], max_position_embeddings=32768, rms_norm_eps=1e-6,
                         rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": sizes["sections"]},
                         tie_word_embeddings=True, bos_token_id=text["bos_token_id"], eos_token_id=text["eos_token_id"]),
        vision_config=dict(**sizes["vision"], out_hidden_size=sizes["text"]["hidden_size"], patch_size=14, spatial_merge_size=2,
                           temporal_patch_size=2, window_size=112, tokens_per_second=2),
        tie_word_embeddings=True, **marks)
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    print(sum(p.numel() for p in model.parameters()), "parameters")
    model.save_pretrained(folder)
    for path in PRESET.iterdir():
        if path.name != "config.json":
            shutil.copy(path, folder / path.name)


def rows(tokens, folder):
    side = 28 * round(tokens**0.5)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    random = numpy.random.default_rng(0)
    lines = []
    for row in range(ROWS):
        # Smooth, as photographs are: a few grains, enlarged.
        grains = random.integers(0, 256, (8, 8, 3), dtype=numpy.uint8)
        name = f"images/{row}.png"
        Image.fromarray(grains).resize((side, side), Image.Resampling.BICUBIC).save(folder / name)
        lines.append({"id": row, "image": name, "conversations": [
            {"from": "human", "value": "<image>Where is the red circle? Answer with its box."},
            {"from": "gpt", "value": "The red circle is to the left of the blue square; its box is [12, 34, 56, 78]."}]})
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    kind, what, folder = sys.argv[1:]
    if kind == "checkpoint":
        checkpoint(what, pathlib.Path(folder))
    else:
        rows(int(what), pathlib.Path(folder))
