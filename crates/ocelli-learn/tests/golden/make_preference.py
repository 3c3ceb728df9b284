"""Golden vectors of preference losses: the real TRL.

    python make_preference.py > preference.json

`DPOTrainer._compute_loss` runs on a stub that returns given log-probabilities; SimPO is `CPOTrainer.cpo_loss`. Values and
gradients by token.
"""

import json
import sys
import types
from collections import defaultdict

import torch
import trl
from trl import DPOTrainer
from trl.experimental.cpo import CPOTrainer

torch.set_default_dtype(torch.float64)


class Accelerator:
    """One process."""

    device = torch.device("cpu")

    def gather(self, x):
        return x

    gather_for_metrics = gather


def case(seed, lengths, spread):
    """Log-probabilities of `lengths` pairs of answers: `[chosen, rejected]` tokens each, and a reference's."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda n: -torch.rand(n, generator=generator) * 3
    move = lambda n: torch.randn(n, generator=generator) * spread
    answers = []
    for length in (n for pair in lengths for n in pair):
        reference = draw(length)
        answers.append((reference, reference + move(length)))
    return {
        "lengths": [n for pair in lengths for n in pair],
        "logprob": [round(v, 6) for _, new in answers for v in new.tolist()],
        "reference": [round(v, 6) for old, _ in answers for v in old.tolist()],
    }


def padded(values, lengths):
    """TRL's order and padding: all chosen answers, then all rejected ones, a prompt of one token in front."""
    width = max(lengths)
    pieces = torch.tensor(values).split(lengths)
    order = [*pieces[0::2], *pieces[1::2]]
    rows = torch.stack([torch.nn.functional.pad(p, (0, width - len(p))) for p in order])
    mask = torch.stack([torch.arange(width) < len(p) for p in order]).long()
    return rows, mask


def unpadded(rows, lengths):
    """Back to tokens, chosen and rejected in turn."""
    pairs = len(lengths) // 2
    order = [i // 2 + (i % 2) * pairs for i in range(len(lengths))]
    return [v for i, n in zip(order, lengths) for v in rows[i, :n].tolist()]


def dpo(batch, loss_type, beta, smoothing, sft_weight):
    rows, mask = padded(batch["logprob"], batch["lengths"])
    reference, _ = padded(batch["reference"], batch["lengths"])
    rows.requires_grad_()
    completion_mask = torch.nn.functional.pad(mask, (1, 0))
    ones = torch.ones_like(completion_mask)
    ref_chosen, ref_rejected = (reference * mask).sum(1).chunk(2)
    like = torch.zeros_like(rows)

    def model(**_):
        return types.SimpleNamespace(
            log_probs=rows * mask, entropy=like, mean_logits=like, is_top1=like.bool()
        )

    types_and_weights = [(loss_type, 1.0)] + ([("sft", sft_weight)] if sft_weight else [])
    trainer = types.SimpleNamespace(
        model=types.SimpleNamespace(training=True),
        accelerator=Accelerator(),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[t for t, _ in types_and_weights],
        loss_weights=[w for _, w in types_and_weights],
        beta=beta,
        label_smoothing=smoothing,
        args=types.SimpleNamespace(discopop_tau=0.05),
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": ones,
        "attention_mask": ones,
        "completion_mask": completion_mask,
        "ref_chosen_logps": ref_chosen,
        "ref_rejected_logps": ref_rejected,
    }
    loss = DPOTrainer._compute_loss(trainer, model, inputs, False)
    loss = loss[0] if isinstance(loss, tuple) else loss
    loss.backward()
    shown = trainer._metrics["train"]
    names = ["rewards/chosen", "rewards/rejected", "rewards/accuracies"]
    return loss.item(), unpadded(rows.grad, batch["lengths"]), {n: shown[n][0] for n in names}


def simpo(batch, beta, smoothing, margin):
    rows, mask = padded(batch["logprob"], batch["lengths"])
    rows.requires_grad_()
    means = (rows * mask).sum(1) / mask.sum(1)
    chosen, rejected = means.chunk(2)
    trainer = types.SimpleNamespace(
        accelerator=Accelerator(),
        loss_type="simpo",
        beta=beta,
        label_smoothing=smoothing,
        simpo_gamma=margin,
        alpha=0.0,
    )
    losses, chosen_rewards, rejected_rewards = CPOTrainer.cpo_loss(trainer, chosen, rejected)
    losses.mean().backward()
    shown = {
        "rewards/chosen": chosen_rewards.mean().item(),
        "rewards/rejected": rejected_rewards.mean().item(),
        "rewards/accuracies": (chosen_rewards > rejected_rewards).double().mean().item(),
    }
    return losses.mean().item(), unpadded(rows.grad, batch["lengths"]), shown


batches = {
    "mixed": case(0, [(3, 5), (1, 1), (7, 2), (4, 4)], 0.5),
    "far": case(1, [(2, 6), (5, 3)], 12.0),
    "one": case(2, [(1, 3)], 0.01),
}
# TRL's `sigmoid` takes no smoothing any more; with it, cDPO is a mixture of the loss and that of the pair turned round.
kinds = [
    ("sigmoid", 0.1, None, 0.0),
    ("sigmoid", 0.5, None, 0.3),
    ("sigmoid_norm", 0.2, None, 0.0),
    ("hinge", 0.1, None, 0.0),
    ("ipo", 0.1, None, 0.0),
    ("robust", 0.1, 0.2, 0.0),
    ("exo_pair", 0.1, 0.001, 0.0),
    ("nca_pair", 0.1, None, 0.0),
    ("bco_pair", 0.1, None, 0.0),
    ("sppo_hard", 0.1, None, 0.0),
    ("apo_zero", 0.1, None, 0.0),
    ("apo_down", 0.1, None, 1.0),
    ("discopop", 0.05, None, 0.0),
]
losses = []
for name, batch in batches.items():
    for loss_type, beta, smoothing, weight in kinds:
        value, gradient, shown = dpo(batch, loss_type, beta, smoothing or 0.0, weight)
        keys = {"loss_type": loss_type, "beta": beta, "sft_weight": weight}
        if smoothing is not None:
            keys["label_smoothing"] = smoothing
        losses.append({"batch": name, "keys": keys, "value": value, "gradient": gradient, **shown})
    for beta, smoothing, margin in [(2.0, None, 0.5), (2.5, 0.1, 1.0)]:
        value, gradient, shown = simpo(batch, beta, smoothing or 0.0, margin)
        keys = {"loss_type": "simpo", "beta": beta, "margin": margin}
        if smoothing is not None:
            keys["label_smoothing"] = smoothing
        losses.append({"batch": name, "keys": keys, "value": value, "gradient": gradient, **shown})

made_with = {"trl": trl.__version__, "torch": torch.__version__}
json.dump({"made_with": made_with, "batches": batches, "losses": losses}, sys.stdout, indent=1)
