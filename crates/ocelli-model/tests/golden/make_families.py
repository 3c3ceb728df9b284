"""Makes the folder `families` beside this script: a tiny random checkpoint of every supported family and what
transformers computes with it.

    python make_families.py [FAMILY ...]

Versions used: Python 3.11, torch 2.15.0, transformers 5.23.0, safetensors 0.8.0; they are also in `FAMILY/cases.json`.
Everything is computed in f32 with eager attention in one thread. Every parameter is a seeded normal, so that a forgotten
or swapped one shows. A folder holds `config.json` and `model.safetensors` as `save_pretrained` writes them, and
`cases.safetensors` with inputs and outputs named `CASE.TENSOR`; T tokens, R rows of pictures, V entries of the vocabulary:

    input_ids      [T] i64      placeholders already expanded
    position_ids   [3, T] i64   time, height and width; three equal rows where the family has one position a token
    logits         [T, V] f32
    rows           [R, width] f16   flattened patches (Qwen) or patches of tiles in reading order (InternVL, SmolVLM), or mel
                                    frames (Qwen2-Audio); the model is given exactly these, widened to f32
    grids          [N, 3] i64   frames or tiles, height and width in patches; 1, 1 and frames for audio, two more than are valid

The case `gradients` has in addition `loss` [1], the mean cross entropy of all T - 1 next tokens, and `gradient.NAME` for
three parameters; norms of all gradients are in `cases.json`. The case `greedy` has `generated` [64] i64, a greedy
continuation that no end token stops. The cases `padded.0` and `padded.1` were computed as one batch, padded on the left.
"""

import json
import pathlib
import platform
import sys

import safetensors
import safetensors.torch
import torch
import transformers as tf
from torch.nn import functional

FOLDER = pathlib.Path(__file__).parent / "families"
ORDINARY, START, END, IMAGE, VIDEO, VOCABULARY = 88, 90, 91, 92, 93, 96
GENERATED = 64
SMALLEST_MARGIN = 2e-3
# Frames behind the valid ones of a sound that the rows hold as well, and what an extractor writes there.
BEHIND, SILENCE = 2, -0.75


def language(**more):
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 94,
        "eos_token_id": 95,
        "pad_token_id": 94,
    } | more


SLIDING = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
QWEN_IDS = dict(image_token_id=IMAGE, video_token_id=VIDEO, vision_start_token_id=START, vision_end_token_id=END)


def mrope(section, **more):
    return {"rope_type": "default", "rope_theta": 1e4, "mrope_section": section} | more


def qwen2_vl():
    config = tf.Qwen2VLConfig(
        text_config=language(rope_parameters=mrope([2, 2, 2]), **SLIDING),
        vision_config=dict(depth=2, embed_dim=32, hidden_size=48, num_heads=2, mlp_ratio=2, patch_size=6,
                           spatial_merge_size=2, temporal_patch_size=2, in_channels=3),
        tie_word_embeddings=False, **QWEN_IDS)
    return tf.Qwen2VLForConditionalGeneration, config


def qwen2_5_vl():
    config = tf.Qwen2_5_VLConfig(
        text_config=language(rope_parameters=mrope([2, 2, 2]), **SLIDING),
        vision_config=dict(depth=3, hidden_size=32, num_heads=2, intermediate_size=48, out_hidden_size=48, patch_size=6,
                           spatial_merge_size=2, temporal_patch_size=2, window_size=24, fullatt_block_indexes=[1],
                           tokens_per_second=2),
        tie_word_embeddings=False, **QWEN_IDS)
    return tf.Qwen2_5_VLForConditionalGeneration, config


def qwen3_vl():
    config = tf.Qwen3VLConfig(
        text_config=language(head_dim=16, rope_parameters=mrope([4, 2, 2], mrope_interleaved=True)),
        vision_config=dict(depth=4, hidden_size=32, num_heads=2, intermediate_size=48, out_hidden_size=48, patch_size=6,
                           spatial_merge_size=2, temporal_patch_size=2, num_position_embeddings=25,
                           deepstack_visual_indexes=[0, 2]),
        tie_word_embeddings=True, **QWEN_IDS)
    return tf.Qwen3VLForConditionalGeneration, config


def internvl(vision=None, text=None):
    config = tf.InternVLConfig(
        text_config={"model_type": "qwen2"} | language(rope_parameters={"rope_type": "default", "rope_theta": 1e4})
        | (text or {}),
        vision_config=dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                           image_size=[24, 24], patch_size=[6, 6], layer_scale_init_value=0.1, attention_bias=True)
        | (vision or {}),
        image_token_id=IMAGE, image_seq_length=4, downsample_ratio=0.5, tie_word_embeddings=False)
    return tf.InternVLForConditionalGeneration, config


def internvl_large():
    """What the largest towers switch on: norms of queries and keys, root-mean-square norms, no biases; Qwen3 as language."""
    return internvl(dict(use_qk_norm=True, norm_type="rms_norm", attention_bias=False),
                    {"model_type": "qwen3", "head_dim": 16})


def smolvlm():
    config = tf.SmolVLMConfig(
        text_config={"model_type": "llama"} | language(rope_parameters={"rope_type": "default", "rope_theta": 1e4}),
        vision_config=dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                           image_size=84, patch_size=6),
        scale_factor=7, image_token_id=IMAGE, tie_word_embeddings=False, pad_token_id=94)
    return tf.SmolVLMForConditionalGeneration, config


def idefics3():
    config = tf.Idefics3Config(
        text_config={"model_type": "llama"} | language(rope_parameters={"rope_type": "default", "rope_theta": 1e4}),
        vision_config=dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                           image_size=24, patch_size=6),
        scale_factor=2, image_token_id=IMAGE, tie_word_embeddings=True, pad_token_id=94)
    return tf.Idefics3ForConditionalGeneration, config


def qwen2_audio():
    config = tf.Qwen2AudioConfig(
        audio_config=dict(num_mel_bins=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48, d_model=32,
                          max_source_positions=20),
        text_config={"model_type": "qwen2"} | language(rope_parameters={"rope_type": "default", "rope_theta": 1e4}),
        audio_token_id=IMAGE, tie_word_embeddings=False)
    return tf.Qwen2AudioForConditionalGeneration, config


def qwen2():
    return tf.Qwen2ForCausalLM, tf.Qwen2Config(
        **language(rope_parameters={"rope_type": "default", "rope_theta": 1e4}), **SLIDING, tie_word_embeddings=True)


def qwen3():
    return tf.Qwen3ForCausalLM, tf.Qwen3Config(
        **language(head_dim=16, rope_parameters={"rope_type": "default", "rope_theta": 1e4}), **SLIDING,
        tie_word_embeddings=False)


def llama():
    rope = {"rope_type": "llama3", "rope_theta": 5e2, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}
    return tf.LlamaForCausalLM, tf.LlamaConfig(**language(rope_parameters=rope), tie_word_embeddings=False)


# A number is a run of text tokens; a list is (kind, frames or tiles, height, width in patches).
QWEN_CASES = {
    "text": [12],
    "gradients": [3, ("image", 1, 4, 6), 4, ("image", 1, 10, 8), 6],
    "greedy": [4, ("image", 1, 6, 8), 5],
    "video": [2, ("video", 3, 4, 6), 3],
    "mixed": [2, ("image", 1, 4, 4), 3, ("video", 2, 6, 4), 2],
    "padded.0": [3, ("image", 1, 4, 4), 2],
    "padded.1": [5, ("image", 1, 6, 4), 7],
}


def tile_cases(side):
    return {
        "text": [12],
        "gradients": [3, ("image", 2, side, side), 4, ("image", 1, side, side), 6],
        "greedy": [4, ("image", 3, side, side), 5],
        "padded.0": [3, ("image", 1, side, side), 2],
        "padded.1": [5, ("image", 2, side, side), 7],
    }


TEXT_CASES = {"text": [12], "gradients": [20], "greedy": [9], "padded.0": [5], "padded.1": [13]}
AUDIO_CASES = {
    "text": [12],
    "gradients": [3, ("audio", 1, 1, 33), 4, ("audio", 1, 1, 12), 6],
    "greedy": [4, ("audio", 1, 1, 40), 5],
    "padded.0": [3, ("audio", 1, 1, 25), 2],
    "padded.1": [5, ("audio", 1, 1, 8), 7],
}
FAMILIES = {
    "qwen2_vl": (qwen2_vl, QWEN_CASES),
    "qwen2_5_vl": (qwen2_5_vl, QWEN_CASES),
    "qwen3_vl": (qwen3_vl, QWEN_CASES),
    "internvl": (internvl, tile_cases(4)),
    "internvl_large": (internvl_large, tile_cases(4)),
    "smolvlm": (smolvlm, tile_cases(14)),
    "idefics3": (idefics3, tile_cases(4)),
    "qwen2_audio": (qwen2_audio, AUDIO_CASES),
    "qwen2": (qwen2, TEXT_CASES),
    "qwen3": (qwen3, TEXT_CASES),
    "llama": (llama, TEXT_CASES),
}


def network(family, seed):
    make, config = FAMILIES[family][0]()
    config._attn_implementation = "eager"
    model = make._from_config(config, attn_implementation="eager").float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = parameter.dim() == 1 and name.endswith("weight")
            if "patch_embed" in name:
                std = 0.1
            elif parameter.dim() >= 2 and not any(part in name for part in ("embed_tokens", "position", "pos_embed")):
                std = 0.2
            else:
                std = 0.1
            parameter.normal_(mean=float(is_norm), std=std, generator=generator)
    return model, generator


class Family:
    """How the inputs of a family look."""

    def __init__(self, name, model):
        self.name, self.model, self.config = name, model, model.config
        self.qwen = name.endswith("_vl")
        self.audio = name == "qwen2_audio"
        if self.qwen:
            vision = self.config.vision_config
            self.merged = vision.spatial_merge_size**2
            self.width = 3 * vision.temporal_patch_size * vision.patch_size**2
        elif self.audio:
            self.width = self.config.audio_config.num_mel_bins
        elif hasattr(self.config, "vision_config"):
            vision = self.config.vision_config
            patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
            self.patch, self.width = patch, 3 * patch * patch
            self.merged = self.config.scale_factor**2 if hasattr(self.config, "scale_factor") else 4

    def tokens_of(self, grid):
        frames, height, width = grid
        if self.audio:
            return ((width - 1) // 2 + 1 - 2) // 2 + 1
        return frames * height * width // self.merged

    def inputs(self, parts, generator):
        tokens, grids, kinds = [], [], []
        for part in parts:
            if isinstance(part, int):
                tokens += torch.randint(ORDINARY, (part,), generator=generator).tolist()
                continue
            kind, *grid = part
            kinds.append(kind)
            if kind == "video" and self.name == "qwen3_vl":
                # Every frame stands alone between its own marks, after a time stamp.
                grids.append(grid)
                for _ in range(grid[0]):
                    tokens += [7, 8, START] + [VIDEO] * self.tokens_of([1, *grid[1:]]) + [END]
                continue
            token = VIDEO if kind == "video" else IMAGE
            tokens += [START] + [token] * self.tokens_of(grid) + [END]
            grids.append([1, 1, grid[2] + BEHIND] if kind == "audio" else grid)
        case = {"input_ids": torch.tensor(tokens)}
        if grids:
            rows = sum(t * h * w for t, h, w in grids)
            case["rows"] = torch.randn(rows, self.width, generator=generator).half()
            case["grids"] = torch.tensor(grids)
            if self.audio:
                for end in case["grids"].prod(1).cumsum(0).tolist():
                    case["rows"][end - BEHIND : end] = SILENCE
        return case, kinds

    def arguments(self, case, kinds):
        """Keyword arguments of one unpadded sequence."""
        tokens = case["input_ids"][None]
        result = {"input_ids": tokens}
        if self.qwen:
            result["mm_token_type_ids"] = (tokens == IMAGE).int() + 2 * (tokens == VIDEO).int()
        if not kinds:
            return result
        rows, grids = case["rows"].float(), case["grids"]
        split = rows.split([int(g.prod()) for g in grids])
        if self.qwen:
            for kind, values, name in [("image", "pixel_values", "image_grid_thw"),
                                       ("video", "pixel_values_videos", "video_grid_thw")]:
                chosen = [i for i, k in enumerate(kinds) if k == kind]
                if chosen:
                    result[values] = torch.cat([split[i] for i in chosen])
                    result[name] = grids[chosen]
            if "video" in kinds and self.name == "qwen2_5_vl":
                result["second_per_grid_ts"] = torch.tensor([1.5] * kinds.count("video"))
        elif self.audio:
            longest = 2 * self.config.audio_config.max_source_positions
            features = torch.full((len(grids), longest, self.width), SILENCE)
            mask = torch.zeros(len(grids), longest, dtype=torch.long)
            for i, frames in enumerate(split):
                valid = len(frames) - BEHIND
                features[i, :valid] = frames[:valid]
                mask[i, :valid] = 1
            result["input_features"], result["feature_attention_mask"] = features.transpose(1, 2), mask
        else:
            tiles = []
            for values, (count, height, width) in zip(split, grids.tolist()):
                patch = self.patch
                tile = values.view(count, height, width, 3, patch, patch)
                tiles.append(tile.permute(0, 3, 1, 4, 2, 5).reshape(count, 3, height * patch, width * patch))
            pixels = torch.cat(tiles)
            result["pixel_values"] = pixels if self.name.startswith("internvl") else pixels[None]
        return result

    def positions(self, case, kinds):
        length = len(case["input_ids"])
        if not self.qwen:
            return torch.arange(length).expand(3, -1).contiguous()
        given = self.arguments(case, kinds)
        more = {k: given.get(k) for k in ("image_grid_thw", "video_grid_thw", "second_per_grid_ts") if k in given}
        return self.model.model.get_rope_index(given["input_ids"], given["mm_token_type_ids"], **more)[0][:, 0]


def padded(family, cases):
    """Logits of two cases in one batch, padded on the left."""
    names = ["padded.0", "padded.1"]
    given = [family.arguments(*cases[name]) for name in names]
    longest = max(len(g["input_ids"][0]) for g in given)
    pad = lambda x, value: functional.pad(x, (longest - x.shape[1], 0), value=value)
    batch = {"input_ids": torch.cat([pad(g["input_ids"], 94) for g in given]),
             "attention_mask": torch.cat([pad(torch.ones_like(g["input_ids"]), 0) for g in given])}
    if family.qwen:
        batch["mm_token_type_ids"] = torch.cat([pad(g["mm_token_type_ids"], 0) for g in given])
    for key in given[0]:
        if key in ("input_ids", "mm_token_type_ids"):
            continue
        values = [g[key] for g in given]
        if key == "pixel_values" and values[0].dim() == 5:
            most = max(v.shape[1] for v in values)
            values = [functional.pad(v, (0, 0) * 3 + (0, most - v.shape[1])) for v in values]
        batch[key] = torch.cat(values)
    logits = family.model(**batch, use_cache=False).logits
    return [logits[i, longest - len(g["input_ids"][0]):] for i, g in enumerate(given)]


@torch.no_grad()
def continuation(family, case, kinds):
    settings = tf.GenerationConfig(do_sample=False, max_new_tokens=GENERATED, use_cache=True, eos_token_id=None,
                                   pad_token_id=94)
    # As the sampler does: placeholders and other special tokens are never drawn.
    forbidden = list(range(ORDINARY, VOCABULARY))
    given = family.arguments(case, kinds)
    whole = family.model.generate(**given, generation_config=settings, suppress_tokens=forbidden)[0]
    length = len(case["input_ids"])
    case["generated"] = whole[length:]
    given = family.arguments(dict(case, input_ids=whole), kinds)
    logits = family.model(**given, use_cache=False).logits[0, length - 1 : -1].clone()
    logits[:, ORDINARY:] = -torch.inf
    best = logits.topk(2).values
    margin = (best[:, 0] - best[:, 1]).min().item()
    same = torch.equal(logits.argmax(-1), case["generated"])
    return margin if same else 0.0


STORED = {
    "qwen2_vl": ["patch_embed.proj.weight", "merger.mlp.0.weight", "layers.0.self_attn.k_proj.weight"],
    "qwen2_5_vl": ["patch_embed.proj.weight", "merger.mlp.0.weight", "layers.0.self_attn.k_proj.weight"],
    "qwen3_vl": ["pos_embed.weight", "deepstack_merger_list.1.linear_fc1.weight", "layers.0.self_attn.k_norm.weight"],
    "internvl": ["embeddings.cls_token", "layer.0.lambda_1", "multi_modal_projector.linear_1.weight"],
    "internvl_large": ["attention.q_norm.weight", "layer.0.lambda_2", "layers.0.self_attn.k_norm.weight"],
    "smolvlm": ["position_embedding.weight", "modality_projection.proj.weight", "layers.0.self_attn.k_proj.weight"],
    "idefics3": ["position_embedding.weight", "modality_projection.proj.weight", "layers.0.self_attn.k_proj.weight"],
    "qwen2_audio": ["conv1.weight", "layers.0.self_attn.v_proj.bias", "multi_modal_projector.linear.weight"],
    "qwen2": ["embed_tokens.weight", "layers.0.self_attn.q_proj.bias", "layers.2.mlp.up_proj.weight"],
    "qwen3": ["lm_head.weight", "layers.0.self_attn.q_norm.weight", "layers.2.mlp.up_proj.weight"],
    "llama": ["lm_head.weight", "layers.0.self_attn.q_proj.weight", "layers.2.mlp.up_proj.weight"],
}


def saved_names(folder, model):
    """The name in the saved file of each parameter of the loaded model, found by equal values."""
    saved = safetensors.torch.load_file(folder / "model.safetensors")
    names = {}
    for name, parameter in model.named_parameters():
        same = [s for s, v in saved.items() if v.shape == parameter.shape and torch.equal(v, parameter)]
        assert len(same) == 1, (name, same)
        names[name] = same[0]
    return names


def make(family_name):
    for seed in range(100, 140):
        model, generator = network(family_name, seed)
        family = Family(family_name, model)
        cases = {name: family.inputs(parts, generator) for name, parts in FAMILIES[family_name][1].items()}
        margin = continuation(family, *cases["greedy"])
        if margin > SMALLEST_MARGIN and len(cases["greedy"][0]["generated"].unique()) > 8:
            break
        print(family_name, "seed", seed, "has a close choice", margin)
    else:
        raise SystemExit("no seed gives clear choices")
    folder = FOLDER / family_name
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    names = saved_names(folder, model)
    with torch.no_grad():
        for name, (case, kinds) in cases.items():
            case["position_ids"] = family.positions(case, kinds)
            case["logits"] = model(**family.arguments(case, kinds), use_cache=False).logits[0]
        for name, logits in zip(["padded.0", "padded.1"], padded(family, cases)):
            difference = (logits - cases[name][0]["logits"]).abs().max().item()
            assert difference < 1e-4, (name, difference)
            cases[name][0]["logits"] = logits
    case, kinds = cases["gradients"]
    logits = model(**family.arguments(case, kinds), use_cache=False).logits[0]
    loss = functional.cross_entropy(logits[:-1], case["input_ids"][1:])
    loss.backward()
    case["loss"] = loss.detach()[None]
    norms = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        norms[names[name]] = parameter.grad.norm().item()
        if any(name.endswith(part) for part in STORED[family_name]):
            case[f"gradient.{names[name]}"] = parameter.grad
    assert sum(key.startswith("gradient.") for key in case) >= 3, case.keys()
    tensors = {f"{c}.{n}": t.contiguous() for c, (outputs, _) in cases.items() for n, t in outputs.items()}
    safetensors.torch.save_file(tensors, folder / "cases.safetensors")
    (folder / "cases.json").write_text(json.dumps({
        "made_by": pathlib.Path(__file__).name,
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": tf.__version__, "safetensors": safetensors.__version__},
        "seed": seed,
        "smallest_greedy_margin": margin,
        "modules": names,
        "gradient_norms": norms,
    }, indent=1) + "\n")
    print(family_name, "seed", seed, "margin", margin, {p.name: p.stat().st_size for p in folder.iterdir()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in sys.argv[1:] or FAMILIES:
        make(name)
