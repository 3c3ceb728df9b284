"""Loads what the test `round_trip` saved in transformers and PEFT, and compares logits.

    OCELLI_ROUND_TRIP=DIR cargo test --workspace --test round_trip
    python check_round_trip.py DIR

Versions used: Python 3.11, torch 2.15.0, transformers 5.23.0, peft 0.21.2, safetensors 0.8.0.

Exit code: 0 all agree to 1e-4, 1 something does not.
"""

import pathlib
import sys
import warnings

import safetensors.torch
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "ocelli-model/tests/golden"))
import make_adapters  # noqa: E402
import make_families  # noqa: E402
import peft  # noqa: E402

TOLERANCE = 1e-4


def load(folder, family):
    make, _ = make_families.FAMILIES[family][0]()
    if not (folder / "adapter_config.json").exists():
        model, found = make.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32,
                                            output_loading_info=True)
        wrong = {kind: names for kind, names in found.items() if names and kind != "error_msgs"}
        assert not wrong and not found["error_msgs"], (folder, found)
        return model.eval()
    base = make_adapters.load(family)
    with warnings.catch_warnings():
        # A missing or unexpected tensor is a warning of PEFT's.
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return peft.PeftModel.from_pretrained(base, folder).eval()


@torch.no_grad()
def difference(folder, family):
    case, kinds = make_adapters.case_of(family)
    model = load(folder, family)
    plain = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    inputs = make_families.Family(family, plain).arguments(case, kinds)
    logits = model(**inputs, use_cache=False).logits[0]
    expected = safetensors.torch.load_file(folder / "expected/logits.safetensors")["logits"]
    return (logits - expected).abs().max().item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    worst = {}
    for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        family, _, way = folder.name.partition("-")
        worst[folder.name] = difference(folder, family)
        print(f"{family:15} {way:12} {worst[folder.name]:.1e}")
    if not worst or max(worst.values()) > TOLERANCE:
        sys.exit(f"logits differ by more than {TOLERANCE}")
    print(f"{len(worst)} checkpoints agree; the largest difference is {max(worst.values()):.1e}")
