"""Writes rewards.json: what the published format and answer patterns say about a list of texts.

Run with any Python 3.11 or later: python make_rewards.py. It uses the standard library only; the patterns are
VLM-R1's (generic format, first answer, first box of whole numbers), TRL's think format, and V-Triune's rule of a
quarter for each tag that occurs once, without the line breaks inside its tags.
"""

import json
import pathlib
import platform
import re

VLM_R1_FORMAT = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
VLM_R1_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
VLM_R1_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
VLM_R1_BOX = re.compile(r"\[(\d+),\s*(\d+),\s*(\d+),\s*(\d+)]")
TRL_THINK = re.compile(r"^<think>(?!.*<think>)(.*?)</think>.*$", re.DOTALL | re.MULTILINE)
TAGS = ["<think>", "</think>", "<answer>", "</answer>"]


def inside(payload):
    return f"<think>t</think><answer>{payload}</answer>"


TEXTS = {
    # Format.
    "empty": "",
    "plain": "the answer is 7",
    "plain form": "<think>t</think><answer>7</answer>",
    "space between": "<think>t</think> \n\t<answer>7</answer>",
    "no-break space between": "<think>t</think>\u00a0<answer>7</answer>",
    "empty sections": "<think></think><answer></answer>",
    "lines inside": "<think>\na\nb\n</think>\n<answer>\n7\n</answer>",
    "letters of two bytes": "<think>é</think><answer>ß</answer>",
    "other tags inside": "<think><b>t</b></think><answer><i>7</i></answer>",
    "less-than inside": "<think>1 < 2 </ think></think><answer><</answer>",
    "no think": "<answer>7</answer>",
    "no answer": "<think>t</think>7",
    "only think": "<think>t</think>",
    "swapped": "<answer>7</answer><think>t</think>",
    "answer in think": "<think>t<answer>7</answer></think>",
    "think in answer": "<answer><think>t</think>7</answer>",
    "text before": "so <think>t</think><answer>7</answer>",
    "text between": "<think>t</think> so <answer>7</answer>",
    "text after": "<think>t</think><answer>7</answer>.",
    "think open missing": "t</think><answer>7</answer>",
    "think not closed": "<think>t<answer>7</answer>",
    "answer open missing": "<think>t</think>7</answer>",
    "answer not closed": "<think>t</think><answer>7",
    "capitals": "<THINK>t</THINK><ANSWER>7</ANSWER>",
    "blanks in tags": "< think >t</ think >< answer >7</ answer >",
    "close before open": "</think><think></answer><answer>",
    "doubled close bracket": "<think>>t</think>><answer>7</answer>",
    "half a tag": "<think>t</think><answer>7</answer",
    # Format, where we differ on purpose.
    "space before": " <think>t</think><answer>7</answer>",
    "line break after": "<think>t</think><answer>7</answer>\n",
    "space around": "\n<think>t</think>\n<answer>7</answer> ",
    "two thinks": "<think>a</think><think>b</think><answer>7</answer>",
    "nested think": "<think><think>a</think></think><answer>7</answer>",
    "think opened twice": "<think><think>a</think><answer>7</answer>",
    "think mentioned": "<think>I write <think> first</think><answer>7</answer>",
    "two answers": "<think>t</think><answer>7</answer><answer>8</answer>",
    "nested answer": "<think>t</think><answer><answer>7</answer></answer>",
    "answer opened twice": "<think>t</think><answer><answer>7</answer>",
    "answer closed twice": "<think>t</think><answer>7</answer></answer>",
    "answer mentioned in think": "<think>then <answer>1</answer></think><answer>7</answer>",
    "whole turn twice": "<think>t</think><answer>7</answer>" * 2,
    # Boxes.
    "box": inside("[1, 2, 3, 4]"),
    "box tight": inside("[1,2,3,4]"),
    "box with text": inside("It is at [10, 20, 300, 400]."),
    "box in json": inside('{"bbox_2d": [1, 2, 3, 4], "label": "car"}'),
    "box in list": inside("[[1, 2, 3, 4], [5, 6, 7, 8]]"),
    "box after short list": inside("[1, 2] [5, 6, 7, 8]"),
    "box after long list": inside("[1, 2, 3, 4, 5] [5, 6, 7, 8]"),
    "box over lines": inside("[1,\n2,\n3,\n4]"),
    "box leading zeros": inside("[001, 02, 3, 4]"),
    "box reversed": inside("[30, 40, 10, 20]"),
    "box outside": "[9, 9, 9, 9]" + inside("[1, 2, 3, 4]"),
    "box only outside": "<think>[1, 2, 3, 4]</think><answer>no</answer>",
    "box without brackets": inside("1, 2, 3, 4"),
    "box of three": inside("[1, 2, 3]"),
    "box not closed": inside("[1, 2, 3, 4"),
    "box without commas": inside("[1 2 3 4]"),
    "box of words": inside("[a, b, c, d]"),
    # Boxes, where we differ on purpose.
    "box of fractions": inside("[1.5, 2.0, 3.25, 4]"),
    "box with a negative": inside("[-1, 2, 3, 4]"),
    "box with inner blanks": inside("[ 1 , 2 , 3 , 4 ]"),
    "box of points": inside("(1,2),(3,4)"),
    "fractions before whole numbers": inside("[0.1, 0.2, 0.3, 0.4] [1, 2, 3, 4]"),
    "box beyond any picture": inside("[1, 2, 3, 40000000000]"),
}


def row(name, text):
    answer = VLM_R1_ANSWER.search(text)
    think = VLM_R1_THINK.search(text)
    box = VLM_R1_BOX.search(answer[1]) if answer else None
    return {
        "name": name,
        "text": text,
        "format": VLM_R1_FORMAT.fullmatch(text) is not None,
        "think": think and think[1],
        "answer": answer and answer[1],
        "box": box and [int(corner) for corner in box.groups()],
        "think_format": TRL_THINK.match(text) is not None,
        "tag_credit": sum(0.25 for tag in TAGS if text.count(tag) == 1),
    }


document = {
    "made_by": "make_rewards.py",
    "python": platform.python_version(),
    "rows": [row(name, text) for name, text in TEXTS.items()],
}
path = pathlib.Path(__file__).with_name("rewards.json")
path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
print(f"{len(TEXTS)} rows in {path.name}")
