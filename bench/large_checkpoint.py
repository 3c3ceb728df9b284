"""Writes a checkpoint of exactly Qwen2.5-VL-3B's shape with random weights in bfloat16 (7.5 GB) into a folder, or one of the same family
with 219 million parameters (0.4 GB).

    python bench/large_checkpoint.py FOLDER [medium]

Tokenizer, template and picture settings are those of Ocelli's preset `tiny-qwen2_5_vl`, with the placeholders' ids moved, so
that the folder can be asked. Needs torch, transformers and safetensors; uses 8 GB of memory.
"""

import json
import pathlib
import shutil
import sys

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

folder = pathlib.Path(sys.argv[1])
preset = pathlib.Path(__file__).parents[1] / "crates/ocelli-model/assets/tiny-qwen2_5_vl"
ids = json.loads((preset / "config.json").read_text())
marks = {k: ids[k] for k in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")}
text = dict(hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16)
vision = dict(depth=32, hidden_size=1280, num_heads=16, intermediate_size=3420, fullatt_block_indexes=[7, 15, 23, 31])
sections = [16, 24, 24]
if sys.argv[2:] == ["medium"]:
    text = dict(hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12)
    vision = dict(depth=8, hidden_size=512, num_heads=8, intermediate_size=1024, fullatt_block_indexes=[3, 7])
    sections = [8, 12, 12]
config = Qwen2_5_VLConfig(
    text_config=dict(**text, vocab_size=151936, num_key_value_heads=2, max_position_embeddings=128000, rms_norm_eps=1e-6,
                     rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections},
                     tie_word_embeddings=True),
    vision_config=dict(**vision, out_hidden_size=text["hidden_size"], patch_size=14, spatial_merge_size=2,
                       temporal_patch_size=2, window_size=112, tokens_per_second=2),
    tie_word_embeddings=True, **marks)
torch.manual_seed(0)
torch.set_default_dtype(torch.bfloat16)
model = Qwen2_5_VLForConditionalGeneration(config)
print(sum(p.numel() for p in model.parameters()), "parameters")
model.save_pretrained(folder, max_shard_size="4GB")
for path in preset.iterdir():
    if path.name not in ("config.json", "generation_config.json"):
        shutil.copy(path, folder / path.name)
