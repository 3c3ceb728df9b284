"""A reward for counting questions in EasyR1's batch form: one list of dicts in, one list of dicts out."""

import re
from typing import Any

REWARD_NAME = "counting"
REWARD_TYPE = "batch"

THOUGHT_THEN_ANSWER = re.compile(r"<think>.*</think>\s*<answer>.*</answer>", re.DOTALL)
ANSWER = re.compile(r"<answer>\s*(-?\d+)\s*</answer>")


def format_reward(response: str) -> float:
    return 1.0 if THOUGHT_THEN_ANSWER.fullmatch(response.strip()) else 0.0


def accuracy_reward(response: str, ground_truth: str) -> float:
    found = ANSWER.search(response)
    return 1.0 if found and int(found.group(1)) == int(ground_truth) else 0.0


def compute_score(reward_inputs: list[dict[str, Any]], format_weight: float = 0.1) -> list[dict[str, float]]:
    if not isinstance(reward_inputs, list):
        raise ValueError("compute_score takes a batch")

    scores = []
    for reward_input in reward_inputs:
        format_score = format_reward(reward_input["response"])
        accuracy_score = accuracy_reward(reward_input["response"], reward_input["ground_truth"])
        scores.append(
            {
                "overall": (1 - format_weight) * accuracy_score + format_weight * format_score,
                "format": format_score,
                "accuracy": accuracy_score,
            }
        )
    return scores
