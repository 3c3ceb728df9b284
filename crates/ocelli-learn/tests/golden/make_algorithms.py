"""Golden vectors of credit and objectives: the real TRL, and verl's and EasyR1's formulas written twice.

    python make_algorithms.py > algorithms.json

Advantages and losses of TRL come from `GRPOTrainer._compute_loss` and `GRPOTrainer._generate_and_score_completions`' arithmetic, run on a
stub that returns given log-probabilities. What TRL lacks is written from the papers and the published definitions in two independent
ways (vectorised over the padded batch, and token by token in plain Python), which must agree before anything is written.
"""

import json
import math
import random
import sys
import types
from collections import defaultdict

import torch
import trl
from trl import GRPOTrainer
from trl.experimental.gmpo import GMPOTrainer

torch.set_default_dtype(torch.float64)


class Accelerator:
    """One process."""

    num_processes = 1
    sync_gradients = True

    def gather(self, x):
        return x

    def reduce(self, x, reduction="sum"):
        return x

    def pad_across_processes(self, x, dim=0, pad_index=0):
        return x


def stub(cls, loss_type, keys):
    """A trainer without a model, a data set or weights."""
    trainer = object.__new__(cls)
    args = dict(delta=None, sapo_temperature_pos=1.0, sapo_temperature_neg=1.05, vespo_k_pos=2.0, vespo_lambda_pos=3.0,
                vespo_k_neg=3.0, vespo_lambda_neg=2.0, use_bias_correction_kl=False, steps_per_generation=1, entropy_target=0.2)
    args.update({k: v for k, v in keys.items() if k in args})
    trainer.args = types.SimpleNamespace(**args)
    trainer.accelerator = Accelerator()
    trainer.model = types.SimpleNamespace(training=True)
    trainer.loss_type = loss_type
    trainer.beta = keys.get("beta", 0.0)
    trainer.epsilon_low = keys.get("epsilon", 0.2)
    trainer.epsilon_high = keys.get("epsilon_high", trainer.epsilon_low)
    trainer.importance_sampling_level = keys.get("importance_sampling_level", "token")
    trainer.top_entropy_quantile = keys.get("top_entropy_quantile", 1.0)
    trainer.off_policy_mask_threshold = keys.get("off_policy_mask_threshold")
    trainer.entropy_coef = keys.get("entropy_coef", 0.0)
    trainer._entropy_bonus_enabled = trainer.entropy_coef != 0.0
    trainer.use_adaptive_entropy = False
    trainer.use_vllm = False
    trainer.vllm_importance_sampling_correction = False
    trainer.aux_loss_enabled = False
    trainer.max_completion_length = keys.get("max_completion_length", 7)
    trainer.current_gradient_accumulation_steps = 1
    trainer._metrics = defaultdict(lambda: defaultdict(list))
    return trainer


def run_trl(batch, loss_type, keys, cls=GRPOTrainer):
    trainer = stub(cls, loss_type, keys)
    logprob = batch["logprob"].clone().requires_grad_()
    entropy = batch["entropy"].clone().requires_grad_()
    trainer._get_per_token_logps_and_entropies = lambda *a, **k: (logprob, entropy, None)
    n, t = logprob.shape
    inputs = dict(prompt_ids=torch.zeros(n, 1, dtype=torch.long), prompt_mask=torch.ones(n, 1),
                  completion_ids=torch.zeros(n, t, dtype=torch.long), completion_mask=batch["mask"],
                  advantages=batch["advantage"], old_per_token_logps=batch["old"], ref_per_token_logps=batch["reference"],
                  num_items_in_batch=batch["mask"].sum())
    loss = trainer._compute_loss(None, inputs)
    loss.backward()
    metrics = {k: float(v[0]) for k, v in trainer._metrics["train"].items()}
    zeros = torch.zeros_like(logprob)
    return loss.item(), logprob.grad if logprob.grad is not None else zeros, metrics


def make_batch(seed, lengths, spread):
    """A padded batch with garbage in the padding."""
    g = torch.Generator().manual_seed(seed)
    n, t = len(lengths), max(max(lengths), 1)
    draw = lambda scale: torch.randn(n, t, generator=g) * scale
    mask = torch.tensor([[1.0 if j < length else 0.0 for j in range(t)] for length in lengths])
    logprob = -draw(1.0).abs() - 0.1
    batch = dict(mask=mask, logprob=logprob, old=logprob + draw(spread), reference=logprob + draw(0.5), entropy=draw(1.0).abs(),
                 advantage=torch.randn(n, generator=g))
    if n > 1:
        batch["advantage"][0] = 0.0  # a dead group
    # f32 inputs, so that both sides begin with the same numbers
    return {k: v.float().double() for k, v in batch.items()}


def packed(x, mask):
    return [float(v) for v in x[mask.bool()]]


# ---- what TRL lacks, written twice ----

LIMIT = 20.0


def written_vectorised(batch, name, p):
    mask, a = batch["mask"], batch["advantage"][:, None]
    logprob = batch["logprob"].clone().requires_grad_()
    d = logprob - batch["old"]
    count = mask.sum(1, keepdim=True).clamp(min=1)
    mean = lambda x: (x * mask).sum(1, keepdim=True) / count
    if name == "gspo_token":
        d = mean(d).detach() + logprob - logprob.detach()
    if name in ("dual_clip", "gspo_token"):
        r = d.clamp(-LIMIT, LIMIT).exp()
        l = torch.maximum(-a * r, -a * r.clamp(1 - p["low"], 1 + p["high"]))
        if "c" in p:
            l = torch.where(a < 0, torch.minimum(l, -a * p["c"]), l)
    elif name == "rloo":
        r = ((d * mask).sum(1, keepdim=True)).clamp(-LIMIT, LIMIT).exp().expand_as(d)
        l = -torch.minimum(r * a, r.clamp(1 - p["low"], 1 + p["high"]) * a)
    elif name == "cispo_verl":
        l = -a * logprob * d.clamp(-LIMIT, LIMIT).exp().clamp(1 - p["low"], 1 + p["high"]).detach()
    elif name == "reinforce":
        l = -a * logprob
    elif name == "kl_cov":
        valid = mask.bool()
        adv = a.expand_as(d)[valid]
        lp = logprob.detach()[valid]
        cov = (adv - adv.mean()) * (lp - lp.mean())
        k = max(1, int(p["ratio"] * cov.numel()))
        chosen = torch.zeros_like(cov)
        chosen[torch.topk(cov, k).indices] = 1.0
        weight = torch.zeros_like(d)
        weight[valid] = chosen
        l = -a * d.clamp(-LIMIT, LIMIT).exp() + p["coef"] * d.abs() * weight
    loss = (l * mask).sum() / mask.sum() if p["aggregation"] == "token-mean" else mean(l).mean()
    loss.backward()
    return loss.item(), logprob.grad


def written_by_token(batch, name, p):
    """Loss and analytic gradient, one token at a time."""
    n = batch["mask"].shape[0]
    rows = [[j for j in range(batch["mask"].shape[1]) if batch["mask"][i, j] > 0] for i in range(n)]
    total = sum(map(len, rows))
    grad = torch.zeros_like(batch["logprob"])
    at = lambda x, i, j: float(x[i, j])
    chosen = set()
    if name == "kl_cov":
        cells = [(i, j) for i in range(n) for j in rows[i]]
        ma = sum(float(batch["advantage"][i]) for i, _ in cells) / total
        ml = sum(at(batch["logprob"], i, j) for i, j in cells) / total
        cells.sort(key=lambda c: -(float(batch["advantage"][c[0]]) - ma) * (at(batch["logprob"], *c) - ml))
        chosen = set(cells[: max(1, int(p["ratio"] * total))])
    loss = 0.0
    for i in range(n):
        a, length = float(batch["advantage"][i]), len(rows[i])
        ds = [at(batch["logprob"], i, j) - at(batch["old"], i, j) for j in rows[i]]
        for k, j in enumerate(rows[i]):
            w = 1 / total if p["aggregation"] == "token-mean" else 1 / (n * length)
            d, through = ds[k], {j: 1.0}
            if name == "gspo_token":
                d = sum(ds) / length
            if name == "rloo":
                d, through = sum(ds), {jj: 1.0 for jj in rows[i]}
            inside = -LIMIT <= d <= LIMIT
            r = math.exp(max(-LIMIT, min(LIMIT, d)))
            dr = r if inside else 0.0
            logprob = at(batch["logprob"], i, j)
            if name in ("dual_clip", "gspo_token", "rloo"):
                clipped = min(max(r, 1 - p["low"]), 1 + p["high"])
                l, dl = (-a * r, -a * dr) if -a * r >= -a * clipped else (-a * clipped, 0.0)
                if clipped == r:
                    dl = -a * dr
                if a < 0 and "c" in p and l > -a * p["c"]:
                    l, dl = -a * p["c"], 0.0
            elif name == "cispo_verl":
                weight = min(max(r, 1 - p["low"]), 1 + p["high"])
                l, dl = -a * weight * logprob, -a * weight
            elif name == "reinforce":
                l, dl = -a * logprob, -a
            elif name == "kl_cov":
                extra = p["coef"] if (i, j) in chosen else 0.0
                l, dl = -a * r + extra * abs(d), -a * dr + extra * ((d > 0) - (d < 0))
            loss += w * l
            for jj, share in through.items():
                grad[i, jj] += w * dl * share
    return loss, grad


def agree(one, two, what):
    (la, ga), (lb, gb) = one, two
    scale = max(1.0, ga.abs().max().item())
    assert abs(la - lb) <= 1e-9 * max(1.0, abs(la)), (what, la, lb)
    assert (ga - gb).abs().max().item() <= 1e-9 * scale, (what, (ga - gb).abs().max())


# ---- losses ----

BATCHES = {
    "mild": make_batch(1, [5, 3, 7, 1, 4, 6], 0.2),
    "short": make_batch(2, [1, 1], 0.3),
    "one": make_batch(3, [4], 0.3),
    "extreme": make_batch(4, [6, 2, 5, 7], 4.0),
    "on_policy": make_batch(5, [3, 7, 2], 0.0),
}

TRL_CASES = [
    ("grpo", {}), ("grpo", dict(epsilon=0.2, epsilon_high=0.28)), ("grpo", dict(beta=0.04)),
    ("grpo", dict(beta=0.1, use_bias_correction_kl=True)), ("grpo", dict(delta=1.5)),
    ("grpo", dict(importance_sampling_level="sequence", epsilon=3e-4, epsilon_high=4e-4)),
    ("grpo", dict(importance_sampling_level="sequence", epsilon=0.2, epsilon_high=0.28, beta=0.04)),
    ("grpo", dict(entropy_coef=0.01)), ("grpo", dict(off_policy_mask_threshold=0.05)),
    ("bnpo", {}), ("dr_grpo", {}), ("dapo", {}), ("dapo", dict(epsilon_high=0.28, beta=0.02)),
    ("dapo", dict(importance_sampling_level="sequence")), ("dapo", dict(top_entropy_quantile=0.4)),
    ("cispo", dict(epsilon_high=5.0)), ("cispo", dict(epsilon_high=1.2)), ("sapo", {}),
    ("sapo", dict(sapo_temperature_pos=2.0, sapo_temperature_neg=3.0)),
    ("luspo", dict(importance_sampling_level="sequence")), ("vespo", {}), ("gmpo", dict(epsilon=0.4, epsilon_high=0.4)),
]

WRITTEN_CASES = [
    ("dual_clip", dict(low=0.2, high=0.3, c=3.0, aggregation="token-mean")),
    ("gspo_token", dict(low=3e-4, high=4e-4, aggregation="seq-mean-token-mean")),
    ("rloo", dict(low=0.2, high=0.2, aggregation="seq-mean-token-mean")),
    ("cispo_verl", dict(low=0.0, high=4.0, aggregation="token-mean")),
    ("cispo_verl", dict(low=0.2, high=0.2, aggregation="seq-mean-token-mean")),
    ("reinforce", dict(aggregation="token-mean")),
    ("kl_cov", dict(ratio=0.2, coef=0.5, aggregation="token-mean")),
]

batches = {}
losses = []
for name, batch in BATCHES.items():
    mask = batch["mask"]
    batches[name] = dict(lengths=[int(x) for x in mask.sum(1)], advantage=[float(a) for a in batch["advantage"]],
                         **{k: packed(batch[k], mask) for k in ("logprob", "old", "reference", "entropy")})
    for loss_type, keys in TRL_CASES:
        cls = GMPOTrainer if loss_type == "gmpo" else GRPOTrainer
        value, gradient, metrics = run_trl(batch, loss_type, keys, cls)
        if not math.isfinite(value) or not torch.isfinite(gradient).all():
            continue
        assert gradient[mask == 0].abs().sum() == 0
        losses.append(dict(batch=name, source="trl", loss_type=loss_type, keys=keys, value=value, gradient=packed(gradient, mask),
                           metrics={k: v for k, v in metrics.items() if math.isfinite(v)}))
    for kind, p in WRITTEN_CASES:
        if kind == "kl_cov" and len(mask) == 1:
            continue  # one advantage: all covariances are zero, and the choice is anyone's
        one, two = written_vectorised(batch, kind, p), written_by_token(batch, kind, p)
        agree(one, two, (name, kind))
        losses.append(dict(batch=name, source="written", loss_type=kind, keys=p, value=one[0], gradient=packed(one[1], mask), metrics={}))

# ---- advantages: TRL's arithmetic on reward matrices ----

from trl.trainer.utils import nanstd


def trl_advantages(table, weights, g, scale, aggregation):
    """The lines of `_generate_and_score_completions` between the rewards and the advantages, taken from the installed file and run."""
    import inspect

    source = inspect.getsource(GRPOTrainer._generate_and_score_completions).splitlines()
    first = next(i for i, line in enumerate(source) if "unscorable_mask = torch.isnan" in line)
    last = next(i for i in range(first, len(source)) if "Slice to keep only the local part" in source[i] or "process_slice = slice" in source[i])
    indent = len(source[first]) - len(source[first].lstrip())
    code = "\n".join(line[indent:] for line in source[first:last])
    this = types.SimpleNamespace(multi_objective_aggregation=aggregation, scale_rewards=scale, reward_weights=weights,
                                 reward_funcs=[None] * table.shape[1])
    scope = dict(torch=torch, nanstd=nanstd, self=this, rewards_per_func=table, num_generations=g, device="cpu", mode="train")
    exec(code, scope)
    return torch.nan_to_num(scope["advantages"], nan=0.0)


def rloo_advantages(rewards, g, normalize):
    import inspect
    from trl import RLOOTrainer

    source = inspect.getsource(RLOOTrainer._generate_and_score_completions).splitlines()
    first = next(i for i, line in enumerate(source) if line.strip() == "grouped_rewards = rewards.view(-1, num_generations)")
    last = next(i for i in range(first, len(source)) if "torch.nan_to_num(advantages" in source[i]) + 1
    indent = len(source[first]) - len(source[first].lstrip())
    code = "\n".join(line[indent:] for line in source[first:last])
    scope = dict(torch=torch, nanstd=nanstd, self=types.SimpleNamespace(normalize_advantages=normalize), rewards=rewards.clone(),
                 num_generations=g, mode="train")
    exec(code, scope)
    return scope["advantages"]


NAN = float("nan")
TABLES = [
    ([[0.0], [1.0], [0.0], [1.0], [0.5], [0.5], [0.5], [0.5]], [1.0], 4),
    ([[0.3, 1.0], [0.9, 0.0], [0.1, 1.0], [0.7, 1.0], [0.2, 0.0], [0.4, 0.0]], [1.0, 0.5], 3),
    ([[0.3, NAN], [0.9, 0.0], [NAN, NAN], [0.7, 1.0], [0.2, NAN], [0.4, NAN]], [1.0, 0.5], 3),
    ([[1.0], [0.0], [0.25], [0.75]], [1.0], 2),
]
number = lambda x: None if math.isnan(x) else float(x)
advantages = []
for table, weights, g in TABLES:
    t, w = torch.tensor(table), torch.tensor(weights)
    summed = (t * w).nansum(1)
    summed[torch.isnan(t).all(1)] = NAN
    row = dict(scores=[[number(x) for x in r] for r in table], weights=weights, size=g, rewards=[number(x) for x in summed])
    for scale in ("group", "batch", "none"):
        row[scale] = trl_advantages(t, w, g, scale, "sum_then_normalize").tolist()
    row["gdpo"] = trl_advantages(t, w, g, "group", "normalize_then_sum").tolist()
    for normalize in (False, True):
        row["rloo_normalized" if normalize else "rloo"] = rloo_advantages(summed, g, normalize).tolist()
    advantages.append(row)

# ---- advantages of verl, written twice ----


def verl_token_level(seed):
    """REINFORCE++, its baseline form, GAE, OPO, GPG and pass@k on one padded batch."""
    rng = random.Random(seed)
    lengths, g = [4, 2, 5, 3], 2
    scores = [0.0, 1.0, 0.25, 0.75]
    t = max(lengths)
    mask = torch.tensor([[1.0 if j < n else 0.0 for j in range(t)] for n in lengths])
    rewards = torch.zeros(4, t)
    for i, (n, s) in enumerate(zip(lengths, scores)):
        for j in range(n):
            rewards[i, j] = -0.01 * rng.random()
        rewards[i, n - 1] += s
    values = torch.tensor([[rng.random() for _ in range(t)] for _ in range(4)]) * mask
    gamma, lam = 0.9, 0.8

    def whiten(x):
        n = mask.sum()
        mean = (x * mask).sum() / n
        var = (((x - mean) ** 2) * mask).sum() / n * n / (n - 1)
        return (x - mean) * torch.rsqrt(var + 1e-8) * mask

    returns, running = torch.zeros(4, t), torch.zeros(4)
    for j in reversed(range(t)):
        running = (rewards[:, j] + gamma * running) * mask[:, j]
        returns[:, j] = running
    rpp = whiten(returns)
    s = torch.tensor(scores)
    centred = s - s.view(-1, g).mean(1).repeat_interleave(g)
    rppb = whiten(centred[:, None].expand(4, t) * mask)
    adv, last, nextv = torch.zeros(4, t), torch.zeros(4), torch.zeros(4)
    for j in reversed(range(t)):
        m = mask[:, j]
        delta = rewards[:, j] + gamma * nextv - values[:, j]
        new = delta + gamma * lam * last
        last = new * m + (1 - m) * last
        nextv = values[:, j] * m + (1 - m) * nextv
        adv[:, j] = last
    ln = torch.tensor([float(n) for n in lengths])
    base = ((ln * s).view(-1, g).sum(1) / ln.view(-1, g).sum(1)).repeat_interleave(g)
    gpg = (4 / (s != 0).sum()) * centred
    passk = torch.zeros(4)
    for k in range(0, 4, g):
        top = torch.topk(s[k:k + g], 2)
        passk[k + int(top.indices[0])] = (top.values[0] - top.values[1]) / (s[k:k + g].std() + 1e-6)

    # the same, episode by episode in plain Python
    rows = [[float(rewards[i, j]) for j in range(lengths[i])] for i in range(4)]
    flat = []
    for row in rows:
        out, r = [], 0.0
        for x in reversed(row):
            r = x + gamma * r
            out.append(r)
        flat.append(out[::-1])
    plain = [x for row in flat for x in row]
    mean = sum(plain) / len(plain)
    var = sum((x - mean) ** 2 for x in plain) / (len(plain) - 1)
    check = [(x - mean) / math.sqrt(var + 1e-8) for x in plain]
    assert max(abs(a - b) for a, b in zip(check, packed(rpp, mask))) < 1e-9
    for i in range(4):
        for j in range(lengths[i]):
            v = [float(values[i, k]) for k in range(lengths[i])] + [0.0]
            want = sum((gamma * lam) ** (k - j) * (rows[i][k] + gamma * v[k + 1] - v[k]) for k in range(j, lengths[i]))
            assert abs(want - float(adv[i, j])) < 1e-9
    return dict(lengths=lengths, group=g, scores=scores, gamma=gamma, lam=lam, rewards=rows, values=packed(values, mask), reinforce_plus_plus=packed(rpp, mask),
                reinforce_plus_plus_baseline=packed(rppb, mask), gae=packed(adv, mask), opo=(s - base).tolist(), gpg=gpg.tolist(), pass_at_k=passk.tolist())


def rounded(x):
    if isinstance(x, float):
        return float(f"{x:.12g}")
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return [rounded(v) for v in x] if isinstance(x, (list, tuple)) else x


json.dump(rounded(dict(versions=dict(torch=torch.__version__, trl=trl.__version__, python=sys.version.split()[0]), batches=batches, losses=losses,
                       advantages=advantages, verl=verl_token_level(7))), sys.stdout)
print()
