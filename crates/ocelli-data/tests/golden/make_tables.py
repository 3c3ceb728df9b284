"""Writes tables/: small data files as the libraries of EasyR1's, verl's and TRL's users write them, and tables.json,
what is in them: every picture's pixels, every other value as JSON.

Run with datasets 5.2.0, pyarrow 26.0.1, pandas 3.1.1 and Pillow 13.0.0:
    python make_tables.py
"""

import base64
import io
import json
import pathlib

import datasets
import pandas
import PIL.Image
import pyarrow
import pyarrow.parquet
from datasets import Features, Image, List, Value

here = pathlib.Path(__file__).parent
out = here / "tables"
out.mkdir(exist_ok=True)
expected = {}


def picture(seed, width=5, height=3):
    values = bytes((seed * 53 + i * 29) % 256 for i in range(width * height * 3))
    return PIL.Image.frombytes("RGB", (width, height), values)


def png(seed):
    file = io.BytesIO()
    picture(seed).save(file, "PNG")
    return file.getvalue()


def pixels(*seeds):
    return [{"width": 5, "height": 3, "rgb": picture(seed).tobytes().hex()} for seed in seeds]


def expect(name, rows):
    expected[name] = rows


# EasyR1, as hiyouga/geometry3k: a list of pictures, questions with <image>; the second row has two, the third none.
rows = [
    {"images": [picture(1)], "problem": "<image>Find x.", "answer": "3", "level": 1, "note": None},
    {"images": [picture(2), picture(3)], "problem": "From <image> to <image>?", "answer": "\\sqrt{2}", "level": 2,
     "note": "two"},
    {"images": [], "problem": "What is 1 + 1?", "answer": "2", "level": None, "note": None},
]
features = Features({"images": List(Image()), "problem": Value("string"), "answer": Value("string"),
                     "level": Value("int64"), "note": Value("string")})
data = datasets.Dataset.from_list(rows, features=features)
wanted = [
    {"pictures": pixels(1), "text": ["user", "<image>Find x."], "target": "3", "tags": {"level": "1"}},
    {"pictures": pixels(2, 3), "text": ["user", "From <image> to <image>?"], "target": "\\sqrt{2}",
     "tags": {"level": "2", "note": "two"}},
    {"pictures": [], "text": ["user", "What is 1 + 1?"], "target": "2", "tags": {}},
]
data.to_parquet(out / "easy_r1.parquet")
expect("easy_r1.parquet", wanted)
# One row a group, zstd, no dictionaries.
table = data.with_format("arrow")[:]
pyarrow.parquet.write_table(table, out / "easy_r1_zstd.parquet", compression="zstd", row_group_size=1,
                            use_dictionary=False, data_page_version="2.0")
expect("easy_r1_zstd.parquet", wanted)

# verl, as its data preparation scripts write it.
rows = [
    {"data_source": "hiyouga/geometry3k", "ability": "math", "images": [picture(4)],
     "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<image>Find y."}],
     "reward_model": {"style": "rule", "ground_truth": "7"},
     "extra_info": {"split": "train", "index": 0, "answer": "7", "nested": {"a": [1, 2]}}},
    {"data_source": "openai/gsm8k", "ability": "math", "images": [],
     "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}],
     "reward_model": {"style": "rule", "ground_truth": "4"},
     "extra_info": {"split": "train", "index": 1, "answer": None, "nested": None}},
]
features = Features({"data_source": Value("string"), "ability": Value("string"), "images": List(Image()),
                     "prompt": List({"role": Value("string"), "content": Value("string")}),
                     "reward_model": {"style": Value("string"), "ground_truth": Value("string")},
                     "extra_info": {"split": Value("string"), "index": Value("int64"), "answer": Value("string"),
                                    "nested": {"a": List(Value("int64"))}}})
datasets.Dataset.from_list(rows, features=features).to_parquet(out / "verl.parquet")
shared = {"ability": "math", "reward_model.style": "rule", "split": "train"}
expect("verl.parquet", [
    {"pictures": pixels(4), "text": ["system", "Be brief.", "user", "<image>Find y."], "target": "7",
     "tags": {**shared, "data_source": "hiyouga/geometry3k", "index": "0", "answer": "7", "nested": '{"a":[1,2]}'}},
    {"pictures": [], "text": ["system", "Be brief.", "user", "2 + 2?"], "target": "4",
     "tags": {**shared, "data_source": "openai/gsm8k", "index": "1"}},
])

# TRL: one picture a row, messages with typed parts, further columns of several types; strings as dictionaries, large
# strings, and 32-bit floats.
image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
part = pyarrow.struct([("type", pyarrow.string()), ("text", pyarrow.string())])
message = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.list_(part))])
table = pyarrow.table({
    "prompt": pyarrow.array(
        [[{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "How many?"}]}],
         [{"role": "user", "content": [{"type": "text", "text": "Is <image> a tag?"}]}]], pyarrow.list_(message)),
    "image": pyarrow.array([{"bytes": png(5), "path": "5.png"}, {"bytes": png(6), "path": None}], image),
    "solution": pyarrow.array(["3", "yes"], pyarrow.large_string()),
    "task": pyarrow.array(["count", "ask"]).dictionary_encode(),
    "weight": pyarrow.array([0.1, 2.0], pyarrow.float32()),
    "easy": pyarrow.array([True, None]),
    "scores": pyarrow.array([[1, 2], None], pyarrow.large_list(pyarrow.int8())),
    "day": pyarrow.array([0, None], pyarrow.date32()),
})
pyarrow.parquet.write_table(table, out / "trl.parquet", compression="snappy", write_page_index=True)
expect("trl.parquet", [
    {"pictures": pixels(5), "text": ["user", "<image>How many?"], "target": "3",
     "tags": {"task": "count", "weight": "0.1", "easy": "true", "scores": "[1,2]", "day": "1970-01-01"}},
    {"pictures": pixels(6), "text": ["user", "<image>Is <image> a tag?"], "target": "yes",
     "tags": {"task": "ask", "weight": "2.0"}},
])

# TRL in JSON lines, by datasets: prompts are texts, nothing to see.
rows = [{"prompt": "2 + 2?", "solution": "4", "level": 1}, {"prompt": "3 + 3?", "solution": None, "level": 2}]
datasets.Dataset.from_list(rows).to_json(out / "trl.jsonl")
expect("trl.jsonl", [
    {"pictures": [], "text": ["user", "2 + 2?"], "target": "4", "tags": {"level": "1"}},
    {"pictures": [], "text": ["user", "3 + 3?"], "target": None, "tags": {"level": "2"}},
])

# EasyR1 as one JSON list, by pandas; answers are numbers, the picture stands in the text.
frame = pandas.DataFrame([
    {"problem": "<image>How many?", "answer": 3, "images": ["data:image/png;base64," + base64.b64encode(png(7)).decode()]},
    {"problem": "How many?", "answer": 4, "images": []},
])
frame.to_json(out / "easy_r1.json", orient="records")
expect("easy_r1.json", [
    {"pictures": pixels(7), "text": ["user", "<image>How many?"], "target": "3", "tags": {}},
    {"pictures": [], "text": ["user", "How many?"], "target": "4", "tags": {}},
])

# Answers that are lists of four numbers are boxes; by pandas, with pictures as bytes.
frame = pandas.DataFrame([{"problem": "<image>Where?", "answer": [1, 0, 4, 2], "images": [png(8)]}])
frame.to_parquet(out / "boxes.parquet")
expect("boxes.parquet", [
    {"pictures": pixels(8), "text": ["user", "<image>Where?"], "target": [1, 0, 4, 2], "tags": {}},
])

versions = {"datasets": datasets.__version__, "pyarrow": pyarrow.__version__, "pandas": pandas.__version__,
            "pillow": PIL.__version__}
text = json.dumps({"versions": versions, "files": expected}, indent=1)
(here / "tables.json").write_text(text + "\n")
