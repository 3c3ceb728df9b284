"""Golden vectors of a reward model's loss on pairs: the real TRL.

    python make_reward_model.py > reward_model.json

`RewardTrainer.compute_loss` runs on a stub that returns given numbers. TRL knows no ties: theirs are the chances of Rao and Kupper 1967,
written down plainly and differentiated by PyTorch.
"""

import json
import sys
import types
from collections import defaultdict

import torch
import trl
from trl import RewardTrainer

torch.set_default_dtype(torch.float64)


class Accelerator:
    """One process."""

    def gather(self, x):
        return x

    gather_for_metrics = gather


def numbers(seed, pairs, spread):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randn(pairs, generator=generator) * spread
    rounded = lambda t: torch.tensor([round(v, 6) for v in t.tolist()])
    return rounded(draw()), rounded(draw()), rounded(draw().abs())


def of_trl(seed, pairs, spread, with_margin, center):
    chosen, rejected, margin = numbers(seed, pairs, spread)
    logits = torch.cat([chosen, rejected]).unsqueeze(-1).requires_grad_()
    model = lambda **_: types.SimpleNamespace(logits=logits)
    trainer = types.SimpleNamespace(
        model=types.SimpleNamespace(training=True),
        args=types.SimpleNamespace(center_rewards_coefficient=center),
        accelerator=Accelerator(),
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {"attention_mask": torch.ones(2 * pairs, 3)}
    if with_margin:
        inputs["margin"] = margin
    loss = RewardTrainer.compute_loss(trainer, model, inputs)
    loss.backward()
    gradient = logits.grad.squeeze(-1)
    metrics = {name: values[0] for name, values in trainer._metrics["train"].items() if name != "num_tokens"}
    return {
        "chosen": chosen.tolist(),
        "rejected": rejected.tolist(),
        "margin": margin.tolist() if with_margin else [0.0] * pairs,
        "tie": [0.0] * pairs,
        "tie_margin": None,
        "center": center,
        "loss": loss.item(),
        "chosen_gradient": gradient[:pairs].tolist(),
        "rejected_gradient": gradient[pairs:].tolist(),
        "metrics": metrics,
    }


def with_ties(seed, pairs, spread, width, center):
    chosen, rejected, _ = numbers(seed, pairs, spread)
    tie = torch.arange(pairs) % 2
    chosen.requires_grad_()
    rejected.requires_grad_()
    difference = chosen - rejected
    won = torch.sigmoid(difference - width)
    tied = 1 - won - torch.sigmoid(-difference - width)
    loss = -torch.where(tie == 1, tied, won).log().mean()
    if center is not None:
        loss = loss + center * ((chosen + rejected) ** 2).mean()
    loss.backward()
    return {
        "chosen": chosen.tolist(),
        "rejected": rejected.tolist(),
        "margin": [0.0] * pairs,
        "tie": tie.double().tolist(),
        "tie_margin": width,
        "center": center,
        "loss": loss.item(),
        "chosen_gradient": chosen.grad.tolist(),
        "rejected_gradient": rejected.grad.tolist(),
        "metrics": {},
    }


def main():
    cases = [
        of_trl(1, 5, 1.0, False, None),
        of_trl(2, 4, 3.0, True, None),
        of_trl(3, 6, 1.0, False, 0.01),
        of_trl(4, 3, 2.0, True, 0.5),
        of_trl(5, 1, 8.0, False, None),
        with_ties(6, 6, 1.0, 0.5, None),
        with_ties(7, 4, 4.0, 0.05, None),
        with_ties(8, 5, 1.0, 2.0, 0.1),
    ]
    made_with = f"trl {trl.__version__}, torch {torch.__version__}"
    json.dump({"made_with": made_with, "cases": cases}, sys.stdout)


main()
