"""Writes grammars.json: what the published format and answer patterns say about hostile texts.

Run with Python 3.11 or later and TRL: python make_grammars.py. Patterns by system: VLM-R1 (generic format, referring
expressions for Qwen and InternVL), EasyR1 (r1v, math, dapo), TRL (think_format_reward is called itself), OneThinker,
Visionary-R1, V-Triune (tag counts); and two of our own that only Python's `re` can judge: optional sections, and the
last, second and only match.
"""

import json
import pathlib
import platform
import random
import re

import trl
from trl.rewards import think_format_reward

VLM_R1 = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
QWEN_REC = re.compile(
    r"<think>.*?</think>\s*<answer>.*?\{.*\[\d+,\s*\d+,\s*\d+,\s*\d+\].*\}.*?</answer>", re.DOTALL
)
INTERNVL_REC = re.compile(
    r"<think>.*?</think>\s*<answer>.*?\[\d+,\s*\d+,\s*\d+,\s*\d+\].*?</answer>", re.DOTALL
)
EASY_R1_MATH = re.compile(r"<think>.*</think>.*\\boxed\{.*\}.*", re.DOTALL)
ONE_THINKER = re.compile(r"\A\s*<think>.*?</think>\s*<answer>.*?</answer>\s*\Z", re.DOTALL)
VISIONARY = re.compile(r"<info>.*?</info>\s<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
OPTIONAL = re.compile(
    r"\s*(?:<info>.*?</info>\s*)?(?:<think>.*?</think>\s*)?<answer>.*?</answer>\s*", re.DOTALL
)
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
ANSWER_ON_ONE_LINE = re.compile(r"<answer>(.*?)</answer>")
DAPO = re.compile(r"(?i)Answer\s*:\s*([^\n]+)")
V_TRIUNE = ["<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"]


def squeeze(text):
    return re.sub(r"\s*(<|>|/)\s*", r"\1", text)


def last_boxed(text):
    """The contents of the last boxed, as mathruler takes them."""
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    contents = text[start + len(r"\boxed{") :]
    depth = 0
    for at, character in enumerate(contents):
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return contents[:at].strip()
    return None


def judge(text):
    answer = ANSWER.search(text)
    answers = ANSWER.findall(text)
    one_line = ANSWER_ON_ONE_LINE.search(text)
    dapo = DAPO.findall(text[-300:])
    squeezed = squeeze(text)
    return {
        "text": text,
        "vlm_r1": VLM_R1.fullmatch(text) is not None,
        "vlm_r1_rec": QWEN_REC.search(text) is not None,
        "vlm_r1_rec_internvl": INTERNVL_REC.search(text) is not None,
        "easy_r1_math": EASY_R1_MATH.fullmatch(squeezed) is not None,
        "trl_think": think_format_reward([[{"content": text}]]) == [1.0],
        "one_thinker": ONE_THINKER.fullmatch(text) is not None,
        "info_think_answer": VISIONARY.fullmatch(text) is not None,
        "optional": OPTIONAL.fullmatch(text) is not None,
        "first": answer and answer[1],
        "last": answers[-1] if answers else None,
        "second": answers[1] if len(answers) > 1 else None,
        "only": answers[0] if len(answers) == 1 else None,
        "r1v": one_line[1] if one_line else text,
        "math_boxed": last_boxed(squeezed),
        "boxed": last_boxed(text),
        "dapo": dapo[-1] if dapo else None,
        "after_think": text.split("</think>")[-1] if "</think>" in text else None,
        "v_triune": sum(0.25 for mark in V_TRIUNE if text.count(mark) == 1),
    }


NAMED = [
    "",
    "7",
    "<think>t</think><answer>7</answer>",
    " <think>t</think> <answer>7</answer>\n",
    "<think>t</think>\x1c\x1f<answer>7</answer>",
    "<think>t</think>\u200b<answer>7</answer>",
    "<think>t</think>\u3000\u0085<answer>7</answer>",
    "<info>i</info> <think>t</think><answer>7</answer>",
    "<info>i</info><think>t</think><answer>7</answer>",
    "<info>i</info>\n\n<think>t</think><answer>7</answer>",
    "<info>i</info>\n<think>t</think>\n\n<answer>7</answer>",
    "<info>i</info> x</info> <think>t</think><answer>7</answer>",
    "<think>a</think>b</think><answer>7</answer>",
    "<think>a</think> x <answer>1</answer> <think>b</think> <answer>2</answer>",
    "<answer>\n7\n</answer><answer>8</answer>",
    "<answer>a\n<answer>7</answer>",
    "<answer>1</answer><answer>2</answer><answer>3",
    "< think >t< / think > \\boxed{7}",
    " <think> t </think> \\boxed{7} . ",
    "<think>t</think>\\boxed{\\frac{1}{2}} and } more",
    "<think>t</think>\\boxed{\\boxed{5}}",
    "<think>t</think>\\boxed{5} then \\boxed{6",
    "<think>t</think>\\boxed {5}",
    "\\boxed{}",
    "\\boxed{{{}}}",
    "\\boxed{ a b }",
    "\\boxed{5}<think>t</think>",
    "<think>t \\boxed{5}</think>",
    "Answer: 7",
    "answer : 7\nANSWER:\n\n 8 ",
    "Answer:",
    "Answer: ",
    "Answer:\n",
    "Answer: \n\t\n",
    "Answer:\n \n",
    "Answer Answer: 7",
    "The answer is Answer:Answer: 7",
    "Answer: 1\n" + "x" * 300,
    "Answer: " + "x" * 300,
    "Answer: 1\n" + "é" * 289,
    "Answer: 1\n" + "é" * 290,
    "Answer: 1\n" + "é" * 291,
    "<think>t<think></think>",
    "<think>t</think></think> 7",
    "\n<think>t</think>",
    "x<think>t</think>",
    "<think></think>",
    "<think>\nt\n</think>\n<answer>\n7\n</answer>",
    "<think>\nt\n</think>\n\n<answer>\n7\n</answer>",
    "<think>\nt\n</think>\n<think>\n\n<answer>\n7\n</answer>",
    "<think>t</think><answer>{'b': [1, 2,3,\n4]}</answer>",
    "x <think>t</think><answer>[1,2,3,4] {}</answer> y",
    "<think>t</think><answer>{[1,2,3,4]</answer>}</answer>",
    "<think>t</think><answer>{[1,2,3,4.0]} [1 ,2,3,4]</answer>",
    "<think>{</think><answer>[1,2,3,4]}</answer>",
    "<think>t</think><answer>{[[1,2,3,4]]}</answer>",
    "<think>t</think>{<answer>[1,2,3,4]</answer>",
    "<think>t</think> <think>u</think><answer>{[1,2,3,4]}</answer>",
]
PIECES = [
    "<think>", "</think>", "<answer>", "</answer>", "<info>", "</info>", " ", "\n", "7", "x", "é", "<", "{", "}",
    "[1, 2,3,4]", "\\boxed{", "}", "Answer:", "\x1c", "\t",
]  # fmt: skip
OPENS = ["<info>", "<think>", "<answer>"]


def random_text(draw):
    """Half the texts are any pieces, half are a turn with a few pieces put in or taken out."""
    if draw.random() < 0.5:
        return "".join(draw.choices(PIECES, k=draw.randint(1, 12)))
    turn = ["<info>", "i", "</info>", " ", "<think>", "t", "</think>", "\n", "<answer>", "{[1,2,3,4]}", "</answer>"]
    if draw.random() < 0.5:
        turn = turn[4:]
    if draw.random() < 0.2:
        turn = [" ", "<", "think", " >", "t", "</think>", "so ", "\\boxed{", "{7}", "}", "."]
    for _ in range(draw.randint(0, 3)):
        at = draw.randrange(len(turn))
        turn[at : at + draw.randint(0, 1)] = [draw.choice(PIECES)] if draw.random() < 0.8 else []
    return "".join(turn)


draw = random.Random(20260)
texts = list(dict.fromkeys(NAMED + [random_text(draw) for _ in range(700)]))
document = {
    "made_by": "make_grammars.py",
    "python": platform.python_version(),
    "trl": trl.__version__,
    "rows": [
        # What is false or not there is left out.
        {key: value for key, value in judge(text).items() if key == "text" or value not in (False, None)}
        for text in texts
    ],
}
path = pathlib.Path(__file__).with_name("grammars.json")
path.write_text(json.dumps(document, ensure_ascii=True, separators=(",", ":")).replace('{"text"', '\n{"text"') + "\n")
for key, value in judge("").items():
    if value is False:
        print(key, sum(key in row for row in document["rows"]), "of", len(texts))
