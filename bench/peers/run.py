"""Ocelli against TRL and PyTorch on this machine: the same weights, pictures, prompts, lengths and threads, side by side.

    cargo build --release
    python bench/peers/run.py [--only WORD] [--rounds 3] [--work FOLDER]

Makes a virtual environment with the pinned libraries of requirements.txt, checkpoints and pictures in FOLDER (default:
target/peers), then measures every comparison in turn, our program and the peer's alternating, each measurement a process of its own.
Results are kept in FOLDER/results.json, so that an interrupted run goes on where it was, and `--only` measures again what has this word
in its name; bench/RESULTS.md is written from them. The whole takes about two hours on two cores; let nothing else run.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
OCELLI = os.environ.get("OCELLI", ROOT / "target/release/ocelli")

GRPO = """[model]
path = "{model}"

[[stage]]
kind = "grpo"
data = {{ path = "train.jsonl" }}
batch = {{ size = 1 }}
rollout = {{ num_generations = {generations}, max_completion_length = {tokens} }}
reward = [ {{ verifier = "repetition", n = 1 }} ]
optim = {{ learning_rate = 1e-6, lr_scheduler_type = "constant" }}
exit = {{ max_steps = {steps} }}
"""
SFT = """[model]
path = "{model}"

[[stage]]
kind = "sft"
data = {{ path = "train.jsonl", demonstration = "{{answer}}" }}
batch = {{ size = {generations}, max_tokens = 65536 }}
optim = {{ learning_rate = 1e-6, lr_scheduler_type = "constant" }}
exit = {{ max_steps = {steps} }}
"""
# What the goals are set for: kind, size, merged tokens of the picture, and the least ratio.
GOALS = [
    ("grpo", "tiny", 256, 6.0), ("grpo", "small", 256, 4.0),
    ("grpo", "tiny", 1024, 8.0), ("grpo", "small", 1024, 5.0),
    ("generate", "tiny", 256, 4.0), ("generate", "small", 256, 2.0),
    ("sft", "tiny", 256, 1.2), ("sft", "small", 256, 1.0),
]
MEMORY_GOALS = {"tiny": 0.4, "small": 0.5}
KINDS = {
    "grpo": "GRPO step, against TRL's GRPOTrainer",
    "generate": "generation of a group, against transformers' generate",
    "sft": "SFT step of 8 rows, against PyTorch",
}


def point(kind, size, image=256, tokens=64, generations=8, threads=2):
    return dict(kind=kind, size=size, image=image, tokens=tokens, generations=generations, threads=threads)


def points():
    """Every comparison, the goals' first."""
    made = [point(kind, size, image) for kind, size, image, _ in GOALS]
    for size in ("tiny", "small"):
        made += [point("grpo", size, generations=g) for g in (2, 4, 16)]
        made += [point("grpo", size, image=64), point("grpo", size, threads=1)]
        made += [point("grpo", size, tokens=t) for t in (32, 128, 256)]
    return made


def name(work):
    return "{kind} {size} image={image} tokens={tokens} G={generations} threads={threads}".format(**work)


def finished(command):
    """Standard output and peak of resident memory of a process."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as problems:
        process = subprocess.Popen(command, stdout=out, stderr=problems)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            problems.seek(0)
            raise SystemExit(f"{command}\nfailed:\n{problems.read()[-3000:]}")
        out.seek(0)
        return out.read(), usage.ru_maxrss * 1024


def ours(work, folder):
    # Sampling is timed inside of GRPO steps.
    recipe = (SFT if work["kind"] == "sft" else GRPO).format(**work, model=folder / work["size"])
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        (place / "recipe.toml").write_text(recipe)
        _, peak = finished([OCELLI, "train", place / "recipe.toml", "--data", folder / f"rows-{work['image']}", "--threads",
                            str(work["threads"]), "--set", f'run.output_dir="{place}"', "--name", "run", "-q"])
        steps = [json.loads(line) for line in (place / "run/metrics.jsonl").read_text().splitlines()]
    time = "sampling_time" if work["kind"] == "generate" else "step_time"
    length = statistics.mean(step.get("completions/mean_length", 0) for step in steps)
    return {"times": [step[time] for step in steps[2:]], "length": length, "peak": peak}


def theirs(work, folder, python):
    about = dict(work, model=str(folder / work["size"]), data=str(folder / f"rows-{work['image']}"))
    printed, _ = finished([python, HERE / "peer.py", work["kind"], json.dumps(about)])
    return json.loads(printed.splitlines()[-1])


def prepare(folder):
    python = folder / "venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
    for size in ("tiny", "small"):
        if not (folder / size).exists():
            subprocess.run([python, HERE / "make_work.py", "checkpoint", size, folder / size], check=True)
    for image in (64, 256, 1024):
        if not (folder / f"rows-{image}").exists():
            subprocess.run([python, HERE / "make_work.py", "rows", str(image), folder / f"rows-{image}"], check=True)
    return python


def summary(rounds, side):
    """Median and spread of the rounds' medians, of times per token where lengths can differ; peak of memory."""
    medians = [statistics.median(r[side]["times"]) for r in rounds]
    return statistics.median(medians), min(medians), max(medians), max(r[side]["peak"] for r in rounds)


def ratio(rounds):
    return statistics.median(statistics.median(r["theirs"]["times"]) / statistics.median(r["ours"]["times"]) for r in rounds)


def row(work, rounds, goal=None):
    (our, our_low, our_high, our_peak), (their, their_low, their_high, their_peak) = (summary(rounds, s) for s in ("ours", "theirs"))
    lengths = [statistics.mean(r[s]["length"] for r in rounds) for s in ("ours", "theirs")]
    cells = [
        f"{our:.3f} ({our_low:.3f}–{our_high:.3f})", f"{their:.3f} ({their_low:.3f}–{their_high:.3f})", f"**{ratio(rounds):.1f}**",
        f"{our_peak / 2**20:.0f}", f"{their_peak / 2**20:.0f}", f"{our_peak / their_peak:.2f}",
        f"{lengths[0]:.0f} / {lengths[1]:.0f}",
    ]
    if goal is not None:
        reached = "yes" if ratio(rounds) >= goal else "no"
        cells.append(f"≥ {goal:g}: {reached}")
    return cells


HEAD = ["ours, s", "theirs, s", "ratio", "ours, MiB", "theirs, MiB", "of memory", "tokens an answer"]


def table(first, rows, more=()):
    head = [*first, *HEAD, *more]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(map(str, cells)) + " |" for cells in rows] + [""]


def written(results, folder, python):
    freeze = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True).stdout.split()
    wanted = [line for line in freeze if line.partition("==")[0] in ("torch", "torchvision", "transformers", "trl")]
    processor = next((line.partition(":")[2].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), platform.processor())
    lines = [
        "# Ocelli and its peers, side by side", "",
        "Written by `python bench/peers/run.py`; not edited by hand. Seconds are medians over rounds of each process's median step, with the",
        "lowest and highest round; a ratio is the peer's time over ours, the median of the rounds' ratios. Memory is the peak of the whole",
        "process. Weights, pictures, prompts and limits of length are the same; both sides sample at temperature 1 from the same",
        "distribution, so answers end where they end: their mean lengths stand beside. float32 on both sides.", "",
        f"Machine: {processor}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}. Peers: {', '.join(wanted)}, sdpa",
        "attention, torchvision's picture processor, fused AdamW.", "", "## Goals", "",
    ]

    def found(work):
        return results.get(name(work))

    for kind, title in KINDS.items():
        rows = [[size, image, *row(point(kind, size, image), found(point(kind, size, image)), goal)]
                for k, size, image, goal in GOALS if k == kind and found(point(kind, size, image))]
        if rows:
            lines += [f"### {title}", "", *table(["model", "image tokens"], rows, ["goal"])]
    for size in ("tiny", "small"):
        rounds = found(point("grpo", size))
        if rounds:
            part = summary(rounds, "ours")[3] / summary(rounds, "theirs")[3]
            goal = MEMORY_GOALS[size]
            lines += [f"Memory of the {size} GRPO step: {part:.2f} of the peer's (goal ≤ {goal:g}: {'yes' if part <= goal else 'no'}).", ""]
    lines += ["## Growth of the GRPO step", ""]
    for size in ("tiny", "small"):
        for title, key, values in [("group size", "generations", (2, 4, 8, 16)), ("image tokens", "image", (64, 256, 1024)),
                                   ("longest answer", "tokens", (32, 64, 128, 256)), ("threads", "threads", (1, 2))]:
            made = [(value, point("grpo", size, **{key: value})) for value in values]
            rows = [[value, *row(work, found(work))] for value, work in made if found(work)]
            if rows:
                lines += [f"### {size}, by {title}", "", *table([title], rows)]
    (HERE.parent / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="measure again what has this word in its name")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/peers")
    parser.add_argument("--report", action="store_true", help="write RESULTS.md from what is there")
    options = parser.parse_args()
    folder = options.work.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = prepare(folder)
    kept = folder / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    chosen = [] if options.report else points()
    if options.only:
        chosen = [work for work in chosen if options.only in name(work)]
        for work in chosen:
            results.pop(name(work), None)
    for work in chosen:
        rounds = results.setdefault(name(work), [])
        while len(rounds) < options.rounds:
            # The first steps warm up: two of ours, the first of theirs.
            small = work["size"] == "small"
            rounds.append({"ours": ours(dict(work, steps=6 if small else 12), folder),
                           "theirs": theirs(dict(work, steps=3 if small else 6), folder, python)})
            kept.write_text(json.dumps(results))
            print(name(work), f"{ratio(rounds):.2f}", flush=True)
    written(results, folder, python)


if __name__ == "__main__":
    main()
