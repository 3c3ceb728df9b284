"""Checks that transformers loads a checkpoint folder as it stands and computes what Ocelli computed.

    python check_checkpoint.py CHECKPOINT [--cases FILE] [--weights-only]

Versions used: Python 3.11, torch 2.15.0, transformers 5.23.0, safetensors 0.8.0, Pillow 13.0.0.

FILE is a safetensors file with `input_ids` [T] i64 (placeholders expanded) and `logits` [T, V] f32, for images also
`pixel_values` [P, 1176] and `grid_thw` [N, 3] i64, and perhaps `position_ids` [3, T] i64; without it transformers
computes the positions. Several cases may share a file as `CASE.input_ids`, `CASE.logits` and so on; other tensors in it
are left alone. The processor is tried on a small picture; `--weights-only` leaves that out, for folders without one.

Exit code: 0 all agree, 1 something does not. The reason is printed.
"""

import argparse
import pathlib
import sys

import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2_5_VLForConditionalGeneration

# Two correct f32 programs differ by the order of their sums only.
TOLERANCE = 1e-4
# Lists of `output_loading_info` that must be empty.
LOADING_PROBLEMS = ["missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"]


def load_model(folder):
    """The model in f32, and what transformers disliked about the files."""
    model, information = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True, output_loading_info=True
    )
    problems = [
        f"{kind}: {sorted(map(str, information[kind]))}" for kind in LOADING_PROBLEMS if information.get(kind)
    ]
    if not isinstance(model, Qwen2_5_VLForConditionalGeneration):
        problems.append(f"config.json names a {type(model).__name__}, not Qwen2_5_VLForConditionalGeneration")
    return model.eval(), problems


def processor_problems(folder, model):
    """Runs a chat with one picture through the folder's own processor and the model."""
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    content = [{"type": "image", "image": Image.new("RGB", (120, 90), "teal")}, {"type": "text", "text": "What is it?"}]
    given = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    problems = []
    tokens, grid = given["input_ids"], given["image_grid_thw"]
    merged = int(grid.prod()) // model.config.vision_config.spatial_merge_size**2
    placeholders = int((tokens == model.config.image_token_id).sum())
    if placeholders != merged:
        problems.append(f"processor: {placeholders} placeholders with id image_token_id for {merged} image features")
    vocabulary = model.config.text_config.vocab_size
    if int(tokens.max()) >= vocabulary:
        problems.append(f"processor: token {int(tokens.max())} lies outside the vocabulary of {vocabulary}")
    if not problems:
        with torch.no_grad():
            finite = bool(model(**given).logits.isfinite().all())
        if not finite:
            problems.append("processor: the logits of a chat with a picture are not finite")
    return problems


def read_cases(path):
    """Tensors by case, for every case that has tokens; the case of unprefixed names is called `case`."""
    cases = {}
    for name, tensor in load_file(path).items():
        prefix, dot, rest = name.partition(".")
        case, field = (prefix, rest) if dot else ("case", name)
        cases.setdefault(case, {})[field] = tensor
    return {name: case for name, case in cases.items() if "input_ids" in case}


@torch.no_grad()
def difference(model, case):
    """Largest absolute difference of a logit."""
    tokens = case["input_ids"][None].long()
    given = {"input_ids": tokens}
    if "grid_thw" in case:
        given["pixel_values"] = case["pixel_values"].float()
        given["image_grid_thw"] = case["grid_thw"].long()
    if "position_ids" in case:
        given["position_ids"] = case["position_ids"][:, None].long()
    else:
        # The model finds the images by this; without it, it would take plain text positions, silently.
        given["mm_token_type_ids"] = (tokens == model.config.image_token_id).int()
    logits = model(**given, use_cache=False).logits[0]
    if logits.shape != case["logits"].shape:
        return None, f"logits are {list(case['logits'].shape)}, transformers gives {list(logits.shape)}"
    value = (logits - case["logits"].float()).abs().max().item()
    # Written so that a value that is not a number fails.
    return value, None if value <= TOLERANCE else f"maximum absolute difference {value:.3e} is above {TOLERANCE:.0e}"


def case_problems(model, path):
    """Compares every case of the file."""
    cases = read_cases(path)
    problems = [] if cases else [f"{path} has no tensor `input_ids`, so there is nothing to compare"]
    for name, case in sorted(cases.items()):
        needed = {"logits"} | ({"pixel_values"} if "grid_thw" in case else set())
        if missing := sorted(needed - case.keys()):
            problems.append(f"{name}: {path} lacks {missing}")
            continue
        value, problem = difference(model, case)
        if value is not None:
            print(f"{name}: maximum absolute difference {value:.3e}")
        if problem:
            problems.append(f"{name}: {problem}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=pathlib.Path, help="folder with config.json and safetensors")
    parser.add_argument("--cases", type=pathlib.Path, help="safetensors file with inputs and logits")
    parser.add_argument("--weights-only", action="store_true", help="do not load the processor")
    options = parser.parse_args()
    torch.set_num_threads(1)

    model, problems = load_model(options.checkpoint)
    if not problems and not options.weights_only:
        problems = processor_problems(options.checkpoint, model)
    if not problems and options.cases:
        problems = case_problems(model, options.cases)
    for problem in problems:
        print(problem, file=sys.stderr)
    print("failed" if problems else "ok")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
