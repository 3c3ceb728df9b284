"""Times loading of one checkpoint, here and in transformers, alternating, each in a process of its own.

    cargo build --release
    python bench/loading.py FOLDER [ROUNDS]

Both read the same files from the page cache (one unmeasured round fills it) and keep the weights in the type they are stored
in. For transformers only the call counts, not the interpreter's start and imports; for Ocelli the whole of `ocelli inspect prompt`,
which loads everything and renders a question. Prints medians, spread and their ratio. `bench/large_checkpoint.py` writes a folder of
Qwen2.5-VL-3B's shape.
"""

import pathlib
import statistics
import subprocess
import sys
import time

PEER = """
import sys, time, torch, transformers
torch.set_num_threads(2)
from transformers import Qwen2_5_VLForConditionalGeneration as Model
start = time.perf_counter()
model = Model.from_pretrained(sys.argv[1], dtype="auto")
seconds = time.perf_counter() - start
assert next(model.parameters()).dtype == torch.bfloat16
print(f"{seconds:.3f}")
"""

folder, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
ours = pathlib.Path(__file__).parents[1] / "target/release/ocelli"


def whole(command):
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - start


def told(command):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


times = {"ocelli": [], "transformers": []}
for index in range(rounds + 1):
    for name, measure, command in [
        ("ocelli", whole, [ours, "inspect", "prompt", folder, "What is this?"]),
        ("transformers", told, [sys.executable, "-c", PEER, folder]),
    ]:
        taken = measure(command)
        if index:
            times[name].append(taken)
medians = {name: statistics.median(values) for name, values in times.items()}
for name, values in times.items():
    print(f"{name:13} median {medians[name]:.2f} s, {min(values):.2f} to {max(values):.2f}, {rounds} rounds")
print(f"ratio {medians['ocelli'] / medians['transformers']:.2f}")
