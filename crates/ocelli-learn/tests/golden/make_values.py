"""Golden vectors of PPO's advantages and losses: the real TRL.

    pip download --no-deps trl==0.29.0 && unzip trl-0.29.0-*.whl -d old
    python make_values.py old > values.json

TRL 1.16.0 has no PPO trainer any more, so the one of 0.29.0 is run here. Its training loop is one long
method, so the two passages that compute are cut out of its source and run on given log-probabilities, values and scores.

TRL pads answers to one width. An answer that is shorter has one state more than tokens, the one after its last token, where its
score stands; one of full width has its score on its last token. Padding is taken out again here.
"""

import ast
import json
import sys
import textwrap
import types
from pathlib import Path

import torch

torch.set_default_dtype(torch.float64)

SOURCE = Path(sys.argv[1], "trl/experimental/ppo/ppo_trainer.py").read_text()
INVALID_LOGPROB = 1.0


def functions(*names):
    """Some functions of the module, by themselves."""
    space = {"torch": torch}
    for node in ast.parse(SOURCE).body:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            exec(ast.get_source_segment(SOURCE, node), space)
    return space


def passage(first, last):
    """The lines of the training loop from the one that begins with `first` to the one that begins with `last`."""
    lines = SOURCE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith(first))
    end = next(i for i in range(start, len(lines)) if lines[i].strip().startswith(last))
    return textwrap.dedent("\n".join(lines[start : end + 1]))


WHITEN = functions("masked_mean", "masked_var", "masked_whiten")
CREDIT = passage("logr = ref_logprobs - logprobs", "advantages = torch.masked_fill(advantages, padding_mask, 0)")
LOSS = passage("vpred = torch.masked_fill(vpred", "loss = pg_loss + args.vf_coef * vf_loss")


def padded(pieces, width, fill=0.0):
    return torch.stack([torch.nn.functional.pad(p, (0, width - len(p)), value=fill) for p in pieces])


def case(seed, lengths, width, settings):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.rand(n, generator=generator)
    noise = lambda n: torch.randn(n, generator=generator)
    round6 = lambda t: torch.tensor([round(v, 6) for v in t.tolist()])
    states = [min(n + 1, width) for n in lengths]
    old = [round6(-draw(n) * 3) for n in lengths]
    given = {
        "logprob": [round6(o + 0.3 * noise(len(o))) for o in old],
        "old_logprob": old,
        "reference": [round6(o + 0.2 * noise(len(o))) for o in old],
        "old_value": [round6(noise(n)) for n in states],
        "value_moves": [round6(0.4 * noise(n)) for n in states],
        "scores": round6(noise(len(lengths))),
    }
    args = types.SimpleNamespace(
        kl_estimator="k1", kl_coef=0.05, whiten_rewards=False, gamma=1.0, lam=0.95, cliprange=0.2,
        cliprange_value=0.2, vf_coef=0.1,
    )
    args.__dict__.update(settings)

    responses = torch.zeros(len(lengths), width)
    sequence_lengths = torch.tensor(lengths) - 1
    idxs = torch.arange(width).repeat(len(lengths), 1)
    space = {
        **WHITEN,
        "args": args,
        "responses": responses,
        "scores": given["scores"],
        "sequence_lengths": sequence_lengths,
        "sequence_lengths_p1": sequence_lengths + 1,
        "padding_mask": idxs > sequence_lengths.unsqueeze(1),
        "padding_mask_p1": idxs > (sequence_lengths + 1).unsqueeze(1),
        "logprobs": padded(old, width, INVALID_LOGPROB),
        "ref_logprobs": padded(given["reference"], width, INVALID_LOGPROB),
        "values": padded(given["old_value"], width),
    }
    exec(CREDIT, space)

    new = padded(given["logprob"], width, INVALID_LOGPROB).requires_grad_()
    value = padded([v + m for v, m in zip(given["old_value"], given["value_moves"])], width).requires_grad_()
    every = slice(None)
    space.update(
        vpred=value,
        new_logprobs=new,
        micro_batch_inds=every,
        mb_values=space["values"],
        mb_return=space["returns"],
        mb_logprobs=space["logprobs"],
        mb_advantage=space["advantages"],
    )
    exec(LOSS, space)
    space["loss"].backward()

    tokens = lambda t: [row[:n].tolist() for row, n in zip(t, lengths)]
    of_states = lambda t: [row[:n].tolist() for row, n in zip(t, states)]
    number = lambda name: space[name].item()
    return {
        "settings": vars(args),
        "logprob": tokens(new.detach()),
        "old_logprob": tokens(space["logprobs"]),
        "reference": tokens(space["ref_logprobs"]),
        "scores": given["scores"].tolist(),
        "old_value": of_states(space["values"]),
        "value": of_states(value.detach()),
        "rewards": of_states(space["rewards"]),
        "advantages": tokens(space["advantages"]),
        "returns": of_states(space["returns"]),
        "value_loss": number("vf_loss"),
        "value_clipped": number("vf_clipfrac"),
        "policy_loss": number("pg_loss"),
        "loss": number("loss"),
        "logprob_gradient": tokens(new.grad),
        "value_gradient": of_states(value.grad),
    }


def main():
    cases = [
        case(1, [3, 5, 2, 4], 6, {}),
        case(2, [6, 1, 4], 6, {"gamma": 0.9, "lam": 0.5}),
        case(3, [2, 2], 2, {"lam": 1.0, "kl_coef": 0.0}),
        case(4, [7, 3, 7, 1, 5], 7, {"kl_estimator": "k3", "kl_coef": 0.2, "vf_coef": 0.5}),
        case(5, [4, 4, 3], 5, {"whiten_rewards": True, "cliprange_value": 0.05}),
        case(6, [8, 2, 6], 9, {"lam": 0.0, "cliprange": 0.1}),
    ]
    json.dump({"made_with": f"trl 0.29.0, torch {torch.__version__}", "cases": cases}, sys.stdout, indent=None)


main()
