"""Makes the folder `qwen2_5_vl` beside this script: a tiny random Qwen2.5-VL and what transformers computes with it.

    python make_qwen2_5_vl.py

Versions used: Python 3.11, torch 2.15.0, transformers 5.23.0, safetensors 0.8.0; they are also in `cases.json`. Other
versions may draw other numbers, so run it again only to replace all files at once.

The folder holds `config.json` and `model.safetensors` as `save_pretrained` writes them, `cases.safetensors` with
inputs and expected outputs, and `cases.json`, which describes them. Everything is computed in f32 with eager attention
in one thread. Every parameter is a seeded normal, norms and biases too, so that a forgotten or swapped one shows.

Tensors of a case, named `CASE.TENSOR`; T tokens, P patches, N images, V entries of the vocabulary:

    input_ids        [T] i64        placeholders already expanded: one a merged image token
    position_ids     [3, T] i64     time, height and width, from `get_rope_index`
    logits           [T, V] f32
    pixel_values     [P, 1176] f16  standard normals rounded to f16; the model is given exactly these, widened to f32
    grid_thw         [N, 3] i64     frames, height and width of each image in patches
    image_features   [P / 4, 48] f32

`two_images` has in addition `loss` [1], the mean cross entropy of all T - 1 next tokens (placeholders too), and
`gradient.NAME` f32 for the parameters in `STORED_GRADIENTS`; the norms of all gradients are in `cases.json`.
`one_image` has in addition `generated` [64] i64, a greedy continuation that no end token stops, and
`generated_logprobs` [64] f32.
"""

import json
import pathlib
import platform

import safetensors
import safetensors.torch
import torch
import transformers
from torch.nn import functional
from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

FOLDER = pathlib.Path(__file__).parent / "qwen2_5_vl"
SEED = 114

# Ordinary tokens come first, the special ones after them.
ORDINARY = 88
VISION_START, VISION_END, IMAGE, VIDEO = 90, 91, 92, 93
VOCABULARY = 96

PATCH_WIDTH = 3 * 2 * 14 * 14
MERGED = 4
GENERATED = 64
# A greedy choice closer than this to the runner-up could differ between two correct programs.
SMALLEST_MARGIN = 1e-2

# A number is a run of that many text tokens, a list is the grid of an image in patches.
CASES = {
    "text": [12],
    "one_image": [4, [1, 6, 8], 5],
    "two_images": [3, [1, 4, 6], 4, [1, 10, 8], 6],
    "partial_windows": [2, [1, 6, 14], 3],
}
STORED_GRADIENTS = [
    "visual.patch_embed.proj.weight",
    "visual.merger.mlp.0.weight",
    "model.layers.0.self_attn.k_proj.weight",
    "model.embed_tokens.weight",
]


def published_name(name):
    """The name in the saved file, and in published checkpoints, of a parameter of the loaded model."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def configuration():
    """A window of 56 pixels is 2 x 2 merged tokens, so that every image has several windows, cut ones among them."""
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "max_window_layers": 2,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 2, 2]},
            "bos_token_id": 94,
            "eos_token_id": 95,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 48,
            "out_hidden_size": 48,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
        tie_word_embeddings=True,
        attn_implementation="eager",
    )


def network(generator):
    """The model with all parameters drawn anew: norms around 1, the others around 0.

    The standard deviation is 0.1, but 0.2 for matrices inside the layers and 0.03 for the patch embedding, which adds
    up 1176 numbers: so no layer's part in the logits is lost beside what it is added to, and the greedy continuation
    does not repeat one token.
    """
    model = Qwen2_5_VLForConditionalGeneration(configuration()).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = parameter.dim() == 1 and name.endswith("weight")
            if "patch_embed" in name:
                std = 0.03
            elif parameter.dim() == 2 and "embed_tokens" not in name:
                std = 0.2
            else:
                std = 0.1
            parameter.normal_(mean=float(is_norm), std=std, generator=generator)
    return model


def inputs(parts, generator):
    """Tokens, pixels and grids of a case, as the processor would give them, without the batch dimension."""
    tokens, grids = [], []
    for part in parts:
        if isinstance(part, int):
            tokens += torch.randint(ORDINARY, (part,), generator=generator).tolist()
        else:
            frames, height, width = part
            tokens += [VISION_START] + [IMAGE] * (frames * height * width // MERGED) + [VISION_END]
            grids.append(part)
    case = {"input_ids": torch.tensor(tokens)}
    if grids:
        patches = sum(frames * height * width for frames, height, width in grids)
        case["pixel_values"] = torch.randn(patches, PATCH_WIDTH, generator=generator).half()
        case["grid_thw"] = torch.tensor(grids)
    return case


def arguments(case):
    """Keyword arguments for the model. Without `mm_token_type_ids` it would take plain text positions, silently."""
    tokens = case["input_ids"][None]
    result = {"input_ids": tokens, "mm_token_type_ids": (tokens == IMAGE).int()}
    if "grid_thw" in case:
        result["pixel_values"] = case["pixel_values"].to(torch.float32)
        result["image_grid_thw"] = case["grid_thw"]
    return result


def positions(model, case):
    """Three-part positions [3, T]."""
    given = arguments(case)
    result, _ = model.model.get_rope_index(
        given["input_ids"], given["mm_token_type_ids"], image_grid_thw=case.get("grid_thw")
    )
    return result[:, 0]


@torch.no_grad()
def add_outputs(model, case):
    """Adds positions, logits and image features."""
    given = arguments(case)
    case["position_ids"] = positions(model, case)
    case["logits"] = model(**given, use_cache=False).logits[0]
    explicit = {key: value for key, value in given.items() if key != "mm_token_type_ids"}
    explicit["position_ids"] = case["position_ids"][:, None]
    assert torch.equal(case["logits"], model(**explicit, use_cache=False).logits[0]), "positions are not those used"
    if "grid_thw" in case:
        features = model.get_image_features(given["pixel_values"], given["image_grid_thw"])
        case["image_features"] = torch.cat(features.pooler_output)


def add_gradients(model, case):
    """Adds the loss and the stored gradients; gives the norm of every gradient."""
    model.zero_grad()
    given = arguments(case)
    output = model(**given, labels=given["input_ids"], use_cache=False)
    loss = functional.cross_entropy(output.logits[0, :-1], case["input_ids"][1:])
    assert abs(loss.item() - output.loss.item()) < 1e-6, "the loss is not the mean over all next tokens"
    loss.backward()
    case["loss"] = loss.detach()[None]
    gradients = {published_name(name): parameter.grad for name, parameter in model.named_parameters()}
    for name in STORED_GRADIENTS:
        case[f"gradient.{name}"] = gradients[name]
    return {name: gradient.norm().item() for name, gradient in gradients.items()}


@torch.no_grad()
def add_continuation(model, case):
    """Adds a greedy continuation; gives the smallest distance between the best and the second logit."""
    settings = GenerationConfig(do_sample=False, max_new_tokens=GENERATED, use_cache=True, eos_token_id=None)
    length = len(case["input_ids"])
    whole = model.generate(**arguments(case), generation_config=settings)[0]
    case["generated"] = whole[length:]
    assert len(case["generated"]) == GENERATED
    assert case["generated"].max() < ORDINARY, "a special token was generated: choose another seed"
    assert len(case["generated"].unique()) > 8, "the continuation hardly varies: choose another seed"

    # One pass without a cache must choose the same tokens; this also proves the positions after the image.
    logits = model(**arguments(dict(case, input_ids=whole)), use_cache=False).logits[0, length - 1 : -1]
    best = logits.topk(2).values
    margin = (best[:, 0] - best[:, 1]).min().item()
    assert torch.equal(logits.argmax(-1), case["generated"])
    assert margin > SMALLEST_MARGIN, f"a choice was close ({margin}): choose another seed"
    case["generated_logprobs"] = logits.log_softmax(-1).gather(1, case["generated"][:, None])[:, 0]
    return margin


@torch.no_grad()
def rounding(model, cases):
    """Largest difference of any logit from the same computed in f64: what f32 itself costs."""
    wide = Qwen2_5_VLForConditionalGeneration(model.config).double().eval()
    wide.load_state_dict(model.state_dict())
    largest = 0.0
    for case in cases.values():
        given = arguments(case)
        if "pixel_values" in given:
            given["pixel_values"] = given["pixel_values"].double()
        difference = wide(**given, use_cache=False).logits[0] - case["logits"]
        largest = max(largest, difference.abs().max().item())
    return largest


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(SEED)
    model = network(generator)
    cases = {name: inputs(parts, generator) for name, parts in CASES.items()}
    for case in cases.values():
        add_outputs(model, case)
    margin = add_continuation(model, cases["one_image"])
    norms = add_gradients(model, cases["two_images"])

    model.save_pretrained(FOLDER)
    tensors = {f"{case}.{name}": t.contiguous() for case, outputs in cases.items() for name, t in outputs.items()}
    safetensors.torch.save_file(tensors, FOLDER / "cases.safetensors")
    description = {
        "made_by": pathlib.Path(__file__).name,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "safetensors": safetensors.__version__,
        },
        "seed": SEED,
        "cases": {name: {"parts": parts, "tokens": len(cases[name]["input_ids"])} for name, parts in CASES.items()},
        "largest_difference_from_float64_logits": rounding(model, cases),
        "smallest_greedy_margin": margin,
        "gradient_norms_of_two_images": norms,
    }
    (FOLDER / "cases.json").write_text(json.dumps(description, indent=2) + "\n")

    with safetensors.safe_open(FOLDER / "model.safetensors", "pt") as saved:
        for name in saved.keys():
            print(name, list(saved.get_slice(name).get_shape()))
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
