"""One measurement of the Python side, in a process of its own so that its peak of memory is its own: prints JSON.

    python bench/peers/peer.py grpo|generate|sft '{"model": …, "data": …, "threads": 2, "generations": 8, "tokens": 64, …}'

grpo is TRL's GRPOTrainer, a prompt a step; generate is transformers' `generate` with the prompt once for each answer, as TRL calls
it; sft is the plain loop over transformers' model with torch's fused AdamW. Attention is sdpa, the picture processor torchvision's.
"""

import json
import os
import pathlib
import resource
import sys
import tempfile
import time

work = json.loads(sys.argv[2])
os.environ["OMP_NUM_THREADS"] = str(work["threads"])

import torch  # noqa: E402
import transformers  # noqa: E402
from PIL import Image  # noqa: E402

torch.set_num_threads(work["threads"])
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.manual_seed(0)


def rows():
    folder = pathlib.Path(work["data"])
    for line in (folder / "train.jsonl").read_text().splitlines():
        row = json.loads(line)
        ask, answer = (turn["value"] for turn in row["conversations"])
        yield Image.open(folder / row["image"]).convert("RGB"), ask.removeprefix("<image>"), answer


def load():
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
        work["model"], dtype=torch.float32, attn_implementation="sdpa")
    return model, transformers.AutoProcessor.from_pretrained(work["model"])


def grpo():
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    made = [{"image": image, "prompt": [{"role": "user", "content": ask}]} for image, ask, _ in rows()]
    ends, lengths = [time.perf_counter()], []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *_, **__):
            ends.append(time.perf_counter())

    def variety(completion_ids, **_):
        lengths.extend(map(len, completion_ids))
        return [len(set(ids)) / len(ids) for ids in completion_ids]

    model, processor = load()
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=work["generations"], num_generations=work["generations"],
            max_completion_length=work["tokens"], max_steps=work["steps"], temperature=1.0, beta=work.get("beta", 0.0),
            learning_rate=1e-6, lr_scheduler_type="constant", bf16=False, use_cpu=True, gradient_checkpointing=False,
            logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True, seed=0, optim="adamw_torch_fused",
            torch_compile=work.get("compile", False))
        trainer = GRPOTrainer(model=model, reward_funcs=variety, args=config, train_dataset=Dataset.from_list(made),
                              processing_class=processor, callbacks=[Clock()])
        trainer.train()
    return [b - a for a, b in zip(ends[1:], ends[2:])], sum(lengths) / len(lengths)


def rendered(processor, asks):
    turns = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": ask}]}] for ask in asks]
    return [processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False) for turn in turns]


def generate():
    model, processor = load()
    model.eval()
    count = work["generations"]
    times, lengths = [], []
    for _, (image, ask, _) in zip(range(work["steps"]), rows()):
        began = time.perf_counter()
        inputs = processor(text=rendered(processor, [ask] * count), images=[image] * count, return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=work["tokens"], do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                                 suppress_tokens=[model.config.image_token_id])
        times.append(time.perf_counter() - began)
        answers = ids[:, inputs["input_ids"].shape[1]:]
        ended = torch.isin(answers, torch.tensor(model.generation_config.eos_token_id)).int()
        first = torch.where(ended.amax(1) > 0, ended.argmax(1) + 1, answers.shape[1])
        lengths.append(first.float().mean().item())
    return times[1:], sum(lengths) / len(lengths)


def sft():
    model, processor = load()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0, fused=True)
    forward = torch.compile(model) if work.get("compile") else model
    made, times, size = list(rows()), [], work["generations"]
    for step in range(work["steps"]):
        began = time.perf_counter()
        batch = [made[(step * size + i) % len(made)] for i in range(size)]
        images, asks, answers = map(list, zip(*batch))
        texts = [text + answer + "<|im_end|>" for text, answer in zip(rendered(processor, asks), answers)]
        # Rows differ in their picture alone, so none is padded.
        inputs = processor(text=texts, images=images, return_tensors="pt")
        labels = inputs["input_ids"].clone()
        told = len(processor.tokenizer(answers[0] + "<|im_end|>")["input_ids"])
        labels[:, :-told] = -100
        loss = forward(**inputs, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - began)
    return times[1:], float(told)


times, length = {"grpo": grpo, "generate": generate, "sft": sft}[sys.argv[1]]()
print(json.dumps({"times": times, "length": length, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
