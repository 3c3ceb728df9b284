"""Times math-verify and the mathematics verifier of ocelli-reward on the same golden pairs, one process each.

    cargo build --release -p ocelli-reward --example math_throughput
    python bench/math_verify.py target/release/examples/math_throughput

Prints processor time, since a busy machine stretches the clock: seconds for all pairs, start-up and imports left out.
"""

import json
import logging
import pathlib
import resource
import subprocess
import sys
import time

ROUNDS = 5
GOLDEN = pathlib.Path(__file__).parent.parent / "crates/ocelli-reward/tests/golden/math.json"


def ours(program):
    """The verifier's own report, with the processor time of all rounds together."""
    output = subprocess.run([program, str(ROUNDS)], check=True, capture_output=True, text=True).stdout
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(output) | {"processor_seconds": (usage.ru_utime + usage.ru_stime) / ROUNDS}


def theirs():
    # This file has the package's name.
    sys.path.pop(0)
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    pairs = json.loads(GOLDEN.read_text(encoding="utf-8"))["pairs"]
    verify(parse("$1$"), parse("$1$"))
    start = time.process_time()
    equal = sum(bool(verify(parse(gold), parse(response))) for gold, response, _ in pairs)
    return {"pairs": len(pairs), "equal": equal, "processor_seconds": time.process_time() - start}


def main():
    mine = ours(sys.argv[1])
    reference = theirs()
    factor = reference["processor_seconds"] / mine["processor_seconds"]
    print(json.dumps({"ocelli": mine, "math-verify": reference, "times faster": round(factor, 1)}, indent=1))


main()
