"""Makes `step.json` and `step.safetensors` beside this script: whole optimizer steps of TRL's `GRPOTrainer`.

    python make_step.py

Versions used: Python 3.11, torch 2.15.0, transformers 5.23.0, trl 1.16.0, accelerate 1.15.0; those that really ran are in `step.json`.

The model is the preset `tiny-qwen2_5_vl` with the changes in `OVERRIDES` and weights from a linear congruential generator, so both
languages make it and no checkpoint is stored. Prompts have pictures, which the same generator makes.

The trainer is TRL's own but for three places: completions come from a list instead of `generate`, rewards from a table, and where an arm
says `injected`, the old log-probabilities are the current ones plus seeded noise (`_generate_and_score_completions` gives its result with
that one entry exchanged). Advantages, forward and backward passes, loss, gradient accumulation, clipping by global norm and AdamW are the
library's. All is f32 on the CPU in one thread, without dropout, with a constant learning rate.

An arm holds its settings twice, as keys of `GRPOConfig` (`trl`) and as tables of a recipe (`algorithm`, `rollout`, `batch`, `optim`), and
what TRL made of them: advantages of the answers, log-probabilities before the step, old ones, loss and gradient norm of each optimizer step,
metrics of the last one.
`step.safetensors` has for each arm, parameters in the order of their published names:

    ARM.change  [sum of min(size, KEPT)] f32   the change of `KEPT` values of each parameter: number k of n is value k * size // n
    ARM.norm    [parameters] f32               the norm of each parameter's whole change
"""

import json
import math
import pathlib
import platform
import tempfile

import accelerate
import safetensors.torch
import torch
import transformers
import trl
from datasets import Dataset
from PIL import Image
from transformers import AutoTokenizer, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from trl import GRPOConfig, GRPOTrainer

HERE = pathlib.Path(__file__).parent
PRESET = HERE.parents[2] / "ocelli-model" / "assets" / "tiny-qwen2_5_vl"
KEPT = 48
GROUP = 4
LONGEST = 8
END = 747
REFERENCE_SCALE = 0.75
OVERRIDES = {"vision_hidden_size": 32, "vision_depth": 2, "vision_intermediate_size": 32, "num_hidden_layers": 1}

# A question and the sizes of its pictures. No size is changed by the processor.
PROMPTS = [
    ("Where is the red circle?", [[140, 56]]),
    ("How many digits are in the two images?", [[56, 84], [84, 56]]),
    ("Which digit is in the image?", [[84, 84]]),
]
# Tokens of each completion; those of `LONGEST` are cut, the others end their turn.
LENGTHS = [[5, 3, 8, 1], [4, 6, 2, 8], [7, 3, 5, 2]]
# The third group is dead: all rewards are the same.
REWARDS = [[0.0, 1.0, 0.25, 1.0], [0.3, 0.9, 0.1, 0.7], [0.5, 0.5, 0.5, 0.5]]
SECOND_REWARDS = [[1.0, 0.0, 0.0, 0.5], [0.2, 0.4, 0.8, 0.6], [1.0, 0.0, 1.0, 1.0]]
# Nothing could be said of some answers.
UNJUDGED = [[0.0, None, 0.25, 1.0], [0.3, 0.9, None, 0.7], [None, None, None, None]]


# Adam's epsilon is large enough that gradients count and not only their signs. With 1e-8 the sign of a gradient that is rounding alone would be
# a whole step: of all 368,864 values two then differ by more than 1e-6, which can be seen with a larger `KEPT`.
STEP = {"learning_rate": 1e-4, "adam_epsilon": 1e-5}


def arm(trl_keys, algorithm, *, rollout=None, batch=None, optim=None, rewards=(REWARDS,), weights=(1.0,), injected=True):
    return dict(trl=trl_keys, algorithm=algorithm, rollout=rollout or {}, batch=batch or {}, optim={**STEP, **(optim or {})},
                rewards=list(rewards), weights=list(weights), injected=injected)


GSPO = dict(loss_type="grpo", importance_sampling_level="sequence", epsilon=3e-4, epsilon_high=4e-4)
TWO = dict(rewards=(REWARDS, SECOND_REWARDS), weights=(1.0, 0.5))
ARMS = {
    "grpo": arm(dict(loss_type="grpo"), dict(preset="grpo")),
    "dr_grpo": arm(dict(loss_type="dr_grpo", scale_rewards="none"), dict(preset="dr_grpo")),
    "dapo": arm(dict(loss_type="dapo", epsilon_high=0.28), dict(preset="dapo")),
    "bnpo": arm(dict(loss_type="bnpo"), dict(loss_type="bnpo")),
    "cispo": arm(dict(loss_type="cispo", epsilon_high=5.0), dict(preset="cispo")),
    "cispo_capped": arm(dict(loss_type="cispo", epsilon_high=1.2), dict(preset="cispo", epsilon_high=1.2)),
    "gspo": arm(GSPO, dict(preset="gspo")),
    "sapo": arm(dict(loss_type="sapo"), dict(preset="sapo")),
    "luspo": arm({**GSPO, "loss_type": "luspo"}, dict(preset="luspo")),
    "vespo": arm(dict(loss_type="vespo"), dict(preset="vespo")),
    "lite_ppo": arm(dict(loss_type="dapo", scale_rewards="batch"), dict(preset="lite_ppo")),
    "gdpo": arm(dict(loss_type="grpo", multi_objective_aggregation="normalize_then_sum"), dict(preset="gdpo"), **TWO),
    "two_rewards": arm(dict(loss_type="grpo"), dict(preset="grpo"), **TWO),
    "unjudged": arm(dict(loss_type="grpo"), dict(preset="grpo"), rewards=(UNJUDGED,)),
    "delta": arm(dict(loss_type="grpo", delta=1.5), dict(preset="grpo", delta=1.5)),
    "kl": arm(dict(loss_type="grpo", beta=0.04, use_bias_correction_kl=False), dict(preset="vlm-r1")),
    "kl_corrected": arm(dict(loss_type="grpo", beta=0.04), dict(preset="vlm-r1", use_bias_correction_kl=True)),
    "cut_answers": arm(dict(loss_type="dapo", epsilon_high=0.28, mask_truncated_completions=True),
                       dict(preset="dapo", mask_truncated_completions=True)),
    "temperature": arm(dict(loss_type="grpo", temperature=0.7), dict(preset="grpo"), rollout=dict(temperature=0.7)),
    "entropy": arm(dict(loss_type="grpo", entropy_coef=0.05), dict(preset="grpo", entropy_coef=0.05)),
    # The trees of 4 answers each have about 60 rows.
    "micro_batches": arm(dict(loss_type="dapo", epsilon_high=0.28, gradient_accumulation_steps=3), dict(preset="dapo"),
                         batch=dict(max_tokens=1)),
    "weight_decay": arm(dict(loss_type="grpo", weight_decay=0.1), dict(preset="grpo"),
                        optim=dict(weight_decay=0.1, weight_decay_rule="transformers")),
    "unclipped_gradient": arm(dict(loss_type="grpo", max_grad_norm=0.0), dict(preset="grpo"), optim=dict(max_grad_norm=0.0)),
    "small_gradient": arm(dict(loss_type="grpo", max_grad_norm=0.01), dict(preset="grpo"), optim=dict(max_grad_norm=0.01)),
    "small_epsilon": arm(dict(loss_type="grpo"), dict(preset="grpo"), optim=dict(adam_epsilon=1e-8)),
    # Nothing injected: the old log-probabilities are TRL's own.
    "defaults": arm({}, dict(preset="dapo", epsilon_high=0.2), optim=dict(learning_rate=1e-6, adam_epsilon=1e-8), injected=False),
    "two_iterations": arm(dict(loss_type="grpo", num_iterations=2), dict(preset="grpo", num_iterations=2), injected=False),
    "two_iterations_gspo": arm({**GSPO, "num_iterations": 2}, dict(preset="gspo", num_iterations=2), injected=False),
}


class Numbers:
    """A linear congruential generator that both languages can run; the upper 24 bits are used."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 1664525 + 1013904223) % 2**32
        return self.state >> 8

    def below(self, limit):
        return (self.next() >> 8) % limit


def published_name(name):
    """The name in published checkpoints of a parameter of the loaded model."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def named(model):
    """Parameters by published name, in order. The head is tied to the embedding."""
    return dict(sorted((published_name(name), p) for name, p in model.named_parameters()))


def configuration():
    config = json.loads((PRESET / "config.json").read_text())
    for section, key in [("vision_config", "hidden_size"), ("vision_config", "depth"), ("vision_config", "intermediate_size")]:
        config[section][key] = OVERRIDES[f"vision_{key}"]
    config["vision_config"]["fullatt_block_indexes"] = [OVERRIDES["vision_depth"] - 1]
    config["text_config"]["num_hidden_layers"] = OVERRIDES["num_hidden_layers"]
    config["text_config"].pop("layer_types")
    return Qwen2_5_VLConfig.from_dict(config)


def fill(model):
    """Uniform numbers: gains around 1, all others around 0; exact in f32 or rounded once."""
    numbers = Numbers(1)
    with torch.no_grad():
        for name, parameter in named(model).items():
            width = 0.125 if "patch_embed" in name else 0.25
            centre = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
            drawn = torch.tensor([numbers.next() for _ in range(parameter.numel())], dtype=torch.float64)
            parameter.copy_((centre + (drawn / 2**24 - 0.5) * width).view(parameter.shape))


def picture(number, width, height):
    numbers = Numbers(1000 + number)
    return Image.frombytes("RGB", (width, height), bytes(numbers.next() >> 16 for _ in range(width * height * 3)))


def completions():
    """Random ordinary tokens, one list an answer."""
    numbers = Numbers(2)
    groups = []
    for lengths in LENGTHS:
        groups.append([])
        for length in lengths:
            tokens = [numbers.below(700) for _ in range(length)]
            if length < LONGEST:
                tokens[-1] = END
            groups[-1].append(tokens)
    return groups


def prompts():
    rows, number = [], 0
    for text, sizes in PROMPTS:
        pictures = []
        for width, height in sizes:
            pictures.append(picture(number, width, height))
            number += 1
        rows.append(dict(prompt=[dict(role="user", content=text)], images=pictures))
    return rows


def noise(length, numbers):
    """What is added to the current log-probabilities: mostly within 0.4, one in four up to 2."""
    wide = [numbers.below(4) == 0 for _ in range(length)]
    return [(4.0 if w else 0.8) * (numbers.next() / 2**24 - 0.5) for w in wide]


class Processor(Qwen2_5_VLProcessor):
    """Without a video processor, which needs torchvision."""

    def check_argument_for_proper_class(self, name, argument):
        return None if argument is None else super().check_argument_for_proper_class(name, argument)


def processor():
    """As the trainer would load it. One that pads on the right is taken without a word, and image tokens get the positions of text."""
    tokenizer = AutoTokenizer.from_pretrained(PRESET, padding_side="left")
    return Processor(image_processor=Qwen2VLImageProcessorPil.from_pretrained(PRESET), tokenizer=tokenizer, video_processor=None,
                     chat_template=(PRESET / "chat_template.jinja").read_text())


class Trainer(GRPOTrainer):
    """TRL's trainer on given completions; keeps what passes by."""

    def __init__(self, given, injected, **keys):
        super().__init__(**keys)
        self.given, self.injected = given, injected
        self.losses, self.norms = [], []
        self.kept = {}

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, **_):
        self.kept["prompt_ids"] = prompt_ids[::num_generations]
        assert all(prompt_ids[i] == prompt_ids[i - i % num_generations] for i in range(len(prompt_ids)))
        return [tokens for group in self.given for tokens in group], None

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
        lengths = [len(tokens) for group in self.given for tokens in group]
        # Answers that are left out still have log-probabilities.
        completion_mask = torch.tensor([[int(t < n) for t in range(max(lengths))] for n in lengths])
        mask = torch.cat([output["prompt_mask"], completion_mask], 1)
        pictures = {k: output[k] for k in ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")}
        with torch.no_grad():
            logps, _, _ = self._get_per_token_logps_and_entropies(self.model, ids, mask, max(lengths), **pictures)
        old = logps.clone()
        if self.injected:
            numbers = Numbers(3)
            for row, length in enumerate(lengths):
                old[row, :length] += torch.tensor(noise(length, numbers))
            output["old_per_token_logps"] = old
        elif "old_per_token_logps" in output:
            old = output["old_per_token_logps"]
        self.kept["advantages"] = output["advantages"].tolist()
        for name, values in (("logprobs", logps), ("old_logprobs", old)):
            self.kept[name] = [row[:length].tolist() for row, length in zip(values, lengths)]
        return output

    def compute_loss(self, *args, **keys):
        loss = super().compute_loss(*args, **keys)
        self.losses.append(loss.item())
        return loss

    def log(self, logs, *args, **keys):
        if "grad_norm" in logs:
            self.norms.append(float(logs["grad_norm"]))
        return super().log(logs, *args, **keys)


def reward_functions(tables):
    def function(number, table):
        def reward(prompts, completions, **_):
            rewards = [r for group in table for r in group]
            assert len(rewards) == len(completions)
            return rewards

        reward.__name__ = f"reward_{number}"
        return reward

    return [function(number, table) for number, table in enumerate(tables)]


def run(settings, folder, rows, given):
    keys = settings["trl"]
    accumulation = keys.get("gradient_accumulation_steps", 1)
    iterations = keys.get("num_iterations", 1)
    answers = len(rows) * GROUP
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    before = {name: p.detach().clone() for name, p in named(model).items()}
    with tempfile.TemporaryDirectory() as output:
        args = GRPOConfig(
            output_dir=output, use_cpu=True, bf16=False, activation_checkpointing=False, report_to=[], save_strategy="no",
            disable_tqdm=True, logging_steps=1, max_steps=iterations, lr_scheduler_type="constant",
            per_device_train_batch_size=answers // accumulation, num_generations=GROUP, max_completion_length=LONGEST,
            shuffle_dataset=False, reward_weights=settings["weights"],
            learning_rate=settings["optim"]["learning_rate"], adam_epsilon=settings["optim"]["adam_epsilon"], **keys,
        )
        trainer = Trainer(
            given, settings["injected"], model=model, reward_funcs=reward_functions(settings["rewards"]), args=args,
            train_dataset=Dataset.from_list(rows), processing_class=processor(),
        )
        if trainer.ref_model is not None:
            with torch.no_grad():
                for parameter in trainer.ref_model.parameters():
                    parameter.mul_(REFERENCE_SCALE)
        trainer.train()
    changes = {name: (p.detach().double() - before[name].double()).flatten() for name, p in named(model).items()}
    losses = [sum(trainer.losses[i : i + accumulation]) for i in range(0, len(trainer.losses), accumulation)]
    assert len(losses) == len(trainer.norms) == iterations, (losses, trainer.norms)
    logged = trainer.state.log_history[iterations - 1]
    # Over several micro-batches TRL means their means.
    shown = ("clip_ratio", "cispo", "kl", "entropy") if accumulation == 1 else ()
    metrics = {key: value for key, value in logged.items() if key.startswith(shown)}
    result = dict(**trainer.kept, losses=losses, gradient_norms=trainer.norms, metrics=metrics, optimizer=str(args.optim))
    kept = [change[torch.arange(min(len(change), KEPT)) * len(change) // min(len(change), KEPT)] for change in changes.values()]
    tensors = dict(change=torch.cat(kept).float(), norm=torch.stack([change.norm() for change in changes.values()]).float())
    return result, tensors


def main():
    torch.set_num_threads(1)
    rows, given = prompts(), completions()
    arms, tensors = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        model = Qwen2_5_VLForConditionalGeneration(configuration()).float()
        fill(model)
        model.save_pretrained(folder)
        names = list(named(model))
        for file in PRESET.iterdir():
            if file.name != "config.json":
                (pathlib.Path(folder) / file.name).write_bytes(file.read_bytes())
        for name, settings in ARMS.items():
            result, arm_tensors = run(settings, folder, rows, given)
            prompt_ids, optimizer = result.pop("prompt_ids"), result.pop("optimizer")
            arms[name] = {**settings, **result}
            tensors.update({f"{name}.{k}": v for k, v in arm_tensors.items()})
            print(name, result["losses"], result["gradient_norms"], result["metrics"])
    safetensors.torch.save_file(tensors, HERE / "step.safetensors")
    description = dict(
        made_by=pathlib.Path(__file__).name,
        versions=dict(python=platform.python_version(), torch=torch.__version__, transformers=transformers.__version__, trl=trl.__version__,
                      accelerate=accelerate.__version__),
        optimizer=optimizer, overrides=OVERRIDES, kept=KEPT, reference_scale=REFERENCE_SCALE, max_completion_length=LONGEST,
        parameters=names, questions=[text for text, _ in PROMPTS], pictures=[sizes for _, sizes in PROMPTS], prompt_ids=prompt_ids,
        completions=given, arms=arms,
    )
    assert all(math.isfinite(x) for a in arms.values() for x in a["losses"] + a["gradient_norms"])
    text = json.dumps(description, indent=None)
    (HERE / "step.json").write_text(text.replace('}, "', '},\n"') + "\n")


if __name__ == "__main__":
    main()
