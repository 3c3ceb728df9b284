"""Makes the reference values for adapters: what PEFT computes over the checkpoints in families/.

    python make_adapters.py

Versions used: Python 3.11, torch 2.15.0, transformers 5.23.0, peft 0.21.2, safetensors 0.8.0.

For each family and variant, adapters/FAMILY-VARIANT/ holds an adapter as PEFT saves it, with random numbers in all of its tensors, and
`case.safetensors`: logits of the case `gradients` of the family, the loss (mean cross entropy of the next token) and its gradients by
the adapter's tensors. adapters/modules.json lists for every family the modules that PEFT takes as `all-linear`.
"""

import json
import pathlib
import platform
import sys

import peft
import safetensors.torch
import torch
import transformers as tf
from torch.nn import functional

import make_families

HERE = pathlib.Path(__file__).parent
FOLDER = HERE / "adapters"
VARIANTS = {
    "lora": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "attn.qkv", "down_proj", "fc2", "lm_head"]),
    "rslora": dict(r=2, lora_alpha=3, use_rslora=True, target_modules="all-linear"),
    "dora": dict(r=2, lora_alpha=4, use_dora=True, target_modules=r".*\.(k_proj|o_proj|qkv|linear_fc1|linear_1|up_proj)"),
    "saved": dict(r=2, lora_alpha=4, target_modules=["k_proj"], modules_to_save=["merger", "multi_modal_projector"]),
}
FAMILIES = ["qwen2_5_vl", "qwen3_vl", "internvl"]


def load(family):
    make, _ = make_families.FAMILIES[family][0]()
    return make.from_pretrained(HERE / "families" / family, attn_implementation="eager", dtype=torch.float32).eval()


def case_of(family):
    """Tensors of the case `gradients`, and the kinds of its parts."""
    tensors = safetensors.torch.load_file(HERE / "families" / family / "cases.safetensors")
    case = {n.removeprefix("gradients."): t for n, t in tensors.items() if n.startswith("gradients.")}
    parts = make_families.FAMILIES[family][1]["gradients"]
    return case, [part[0] for part in parts if not isinstance(part, int)]


def make(family, variant):
    case, kinds = case_of(family)
    model = load(family)
    settings = dict(VARIANTS[variant])
    if model.config.tie_word_embeddings and isinstance(settings["target_modules"], list):
        # The output matrix is the embeddings' own; PEFT would tear them apart.
        settings["target_modules"] = [name for name in settings["target_modules"] if name != "lm_head"]
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    generator = torch.Generator().manual_seed(sum(map(ord, family + variant)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                parameter.normal_(std=0.2, generator=generator)
            elif parameter.requires_grad:
                parameter.mul_(1 + 0.1 * torch.randn(parameter.shape, generator=generator))
    folder = FOLDER / f"{family}-{variant}"
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text())
    settings["base_model_name_or_path"] = f"../../families/{family}"
    path.write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")

    inputs = make_families.Family(family, model.get_base_model()).arguments(case, kinds)
    logits = model(**inputs, use_cache=False).logits[0]
    loss = functional.cross_entropy(logits[:-1], case["input_ids"][1:])
    loss.backward()
    tensors = {"logits": logits.detach(), "loss": loss.detach()[None]}
    saved = peft.get_peft_model_state_dict(model)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        written = name.replace(".default", "").replace("modules_to_save.", "")
        written = written.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")
        assert written in saved, written
        tensors[f"gradient.{written}"] = parameter.grad
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, folder / "case.safetensors")
    print(family, variant, {p.name: p.stat().st_size for p in folder.iterdir()})


def all_linear(family):
    """The modules that PEFT gives an adapter to when it is asked for all linear ones."""
    model = peft.get_peft_model(load(family), peft.LoraConfig(r=1, task_type="CAUSAL_LM", target_modules="all-linear"))
    return sorted(name.removeprefix("base_model.model.") for name, module in model.named_modules()
                  if hasattr(module, "lora_A"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for family in FAMILIES:
        for variant in VARIANTS:
            if variant != "saved" or family == "internvl":
                make(family, variant)
    modules = {family: all_linear(family) for family in make_families.FAMILIES}
    (FOLDER / "modules.json").write_text(json.dumps({
        "made_by": pathlib.Path(__file__).name,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "transformers": tf.__version__,
                     "peft": peft.__version__, "safetensors": safetensors.__version__},
        "all_linear": modules,
    }, indent=1) + "\n")
    sys.exit(0)
