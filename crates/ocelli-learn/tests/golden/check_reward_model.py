"""Tries a checkpoint of a stage `reward` over a language model in transformers.

    python check_reward_model.py runs/judge/checkpoints/1-reward-step-000012 "What is 3 + 1?" "4" "no idea"

Prints the scores of the answers to the prompt; `ocelli score` with the verifier `reward_model` says the same.
"""

import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder, prompt, *answers = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
assert type(model).__name__.endswith("ForSequenceClassification") and model.config.num_labels == 1
assert not info["missing_keys"], info
print("left out:", sorted(info["unexpected_keys"]))
shown = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False)
end = tokenizer.eos_token
for answer in answers:
    # Up to the end of the turn, where the score is read; templates add a line break after it.
    ids = tokenizer(shown + answer + end, return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        print(f"{answer}: {model(ids).logits[0, 0].item():.6f}")
