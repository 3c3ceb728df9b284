"""Memory that `ocelli doctor` predicts, against what the run then takes: the peak of the process as Linux reports it (VmHWM).

    cargo build --release
    python bench/memory.py RECIPE [OPTION ...]
    python bench/memory.py --all FOLDER

Options are those of `ocelli train`, such as `--data DIR` or `--set stage.sft.exit.max_steps=10`; both programs get the same. With
`--all`, three kinds of recipe are measured on one thread, shortened, and printed as a table: `recipes/quickstart.toml`,
`recipes/handwritten-digits.toml` with the data in FOLDER/handwritten-digits, and adapters over FOLDER/medium, a checkpoint of 219 million
parameters that `python bench/large_checkpoint.py FOLDER/medium medium` writes. Runs go to a temporary folder. Fragments add up over the
first steps, so that a run of fewer than eight takes less than it would.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

root = pathlib.Path(__file__).parents[1]
ocelli = os.environ.get("OCELLI", root / "target/release/ocelli")

MEDIUM = """[model]
path = "{folder}/medium"
adapter = {{ kind = "lora", r = 8 }}

[[stage]]
kind = "{kind}"
data = {{ path = "train.jsonl", part = [0.0, 0.5]{demonstration} }}
batch = {{ size = {size} }}
{rest}optim = {{ learning_rate = 1e-4 }}
exit = {{ max_steps = 8 }}
"""
SFT = dict(kind="sft", size=16, rest="",
           demonstration=', demonstration = "<think>I look at the image.</think>\\n<answer>{answer}</answer>"')
GRPO = dict(kind="grpo", size=4, demonstration="",
            rest='rollout = { num_generations = 4, max_completion_length = 32 }\nreward = [ { verifier = "tags" } ]\n')


def predicted(arguments):
    # Exit code 1 says that it does not fit; the prediction is printed all the same.
    done = subprocess.run([ocelli, "doctor", *arguments, "--json"], capture_output=True, text=True)
    if not done.stdout:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)["peak"]


def measured(arguments):
    with tempfile.TemporaryDirectory() as folder:
        where = ["--set", f'run.output_dir="{folder}"']
        process = subprocess.Popen([ocelli, "train", *arguments, *where, "-q"], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"the run failed: {status}")
        return usage.ru_maxrss * 1024


def measure(name, arguments):
    guess, taken = predicted(arguments), measured(arguments)
    mebi = 1 << 20
    print(f"| {name} | {guess / mebi:.0f} | {taken / mebi:.0f} | {guess / taken:.2f} |", flush=True)


def everything(folder):
    folder = folder.resolve()
    digits = ["--data", str(folder / "handwritten-digits"), "--threads", "1"]

    def short(recipe):
        stages = tomllib.loads(recipe.read_text())["stage"]
        return [recipe, *(part for i in range(len(stages)) for part in ("--set", f"stage.{i}.exit.max_steps=8"))]

    print("| recipe | predicted MiB | measured MiB | ratio |\n|---|---|---|---|", flush=True)
    measure("quickstart", [*short(root / "recipes/quickstart.toml"), "--threads", "1", "--set", "eval.data.rows=64"])
    measure("handwritten digits", [*short(root / "recipes/handwritten-digits.toml"), *digits])
    with tempfile.TemporaryDirectory() as place:
        recipe = pathlib.Path(place) / "recipe.toml"
        for name, settings, more in [
            ("219 M, LoRA, sft", SFT, []),
            ("219 M, LoRA, sft, gradient checkpointing", SFT, ["--set", "model.gradient_checkpointing=true"]),
            ("219 M, LoRA, sft, 512 tokens at once", SFT, ["--set", "stage.0.batch.max_tokens=512"]),
            ("219 M, LoRA, grpo", GRPO, []),
        ]:
            recipe.write_text(MEDIUM.format(folder=folder, **settings))
            measure(name, [recipe, *digits, *more])


if __name__ == "__main__":
    if sys.argv[1] == "--all":
        everything(pathlib.Path(sys.argv[2]))
    else:
        print("| recipe | predicted MiB | measured MiB | ratio |\n|---|---|---|---|")
        measure(pathlib.Path(sys.argv[1]).stem, sys.argv[1:])
