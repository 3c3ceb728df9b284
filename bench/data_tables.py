"""Reading speed of data files: Ocelli against the library datasets, one after the other on the same files.

    cargo build --release -p ocelli-data --example reading_speed
    python bench/data_tables.py target/release/examples/reading_speed

Writes four files to a temporary folder: 100,000 rows in EasyR1's columns as JSONL and as Parquet, 100,000 rows in verl's,
and 2,000 rows with a 200 kB picture each. datasets loads a file (into a cache of its own that is empty) and goes through
all rows once without decoding pictures. Needs datasets, pyarrow, numpy and Pillow.
"""

import io
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import datasets
import numpy
import pyarrow
import pyarrow.parquet
from PIL import Image

ROWS = 100_000
PICTURES = 2_000


def easy_r1():
    return [{"problem": f"What is {i} + {i % 97}? Give the number only, and say how you found it.", "answer": str(i + i % 97),
             "level": i % 5, "source": "made", "images": []} for i in range(ROWS)]


def verl():
    return [{"data_source": "made", "ability": "math", "images": [],
             "prompt": [{"role": "user", "content": f"What is {i} + {i % 97}? Give the number only."}],
             "reward_model": {"style": "rule", "ground_truth": str(i + i % 97)},
             "extra_info": {"index": i, "split": "train"}} for i in range(ROWS)]


def pictures():
    noise = numpy.random.default_rng(0)
    for i in range(PICTURES):
        file = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (260, 260, 3), dtype=numpy.uint8)).save(file, "PNG", compress_level=0)
        yield {"problem": "<image>How many?", "answer": str(i), "images": [{"bytes": file.getvalue(), "path": None}]}


def write(folder):
    rows = easy_r1()
    with open(folder / "easy_r1.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    image = pyarrow.list_(pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]))
    text = pyarrow.string()
    schema = pyarrow.schema([("problem", text), ("answer", text), ("level", pyarrow.int64()), ("source", text),
                             ("images", image)])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), folder / "easy_r1.parquet")
    rows = verl()
    for row in rows:
        del row["images"]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "verl.parquet")
    schema = pyarrow.schema([("problem", text), ("answer", text), ("images", image)])
    table = pyarrow.Table.from_pylist(list(pictures()), schema)
    pyarrow.parquet.write_table(table, folder / "pictures.parquet", row_group_size=100)


def datasets_speed(path, folder):
    start = time.perf_counter()
    kind = "json" if path.suffix == ".jsonl" else "parquet"
    data = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(folder / "cache"))
    rows = sum(1 for _ in data)
    seconds = time.perf_counter() - start
    return {"rows": rows, "seconds": seconds, "rows_per_second": round(rows / seconds)}


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: data_tables.py PATH_OF_reading_speed")
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write(folder)
        for file in ["easy_r1.jsonl", "easy_r1.parquet", "verl.parquet", "pictures.parquet"]:
            path = folder / file
            ocelli = json.loads(subprocess.run([sys.argv[1], path], check=True, capture_output=True, text=True).stdout)
            peer = datasets_speed(path, folder)
            print(json.dumps({"file": file, "bytes": path.stat().st_size, "ocelli": ocelli, "datasets": peer}), flush=True)


if __name__ == "__main__":
    main()
