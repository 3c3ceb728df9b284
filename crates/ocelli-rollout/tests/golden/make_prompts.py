"""Makes the folders beside this script: whole checkpoints as a user has them, and what transformers makes of a conversation.

    python make_prompts.py [FAMILY ...]

Versions used: Python 3.11, torch 2.15.0, transformers 5.23.0, Pillow 13.0.0; they are also in `FAMILY/expected.json`.
A folder holds a tiny random network saved in bfloat16, tokenizer, chat template and processor settings, all written by
`save_pretrained`. `expected.json` has the rendered prompt's ids and a greedy answer of 32 tokens by
`processor.apply_chat_template` and `model.generate`, in f32, for a question about two pictures that
`formula_picture.source` of `ocelli-model/tests/golden` draws (language models are asked without pictures).

The tokenizer is that of the preset `tiny-qwen2_5_vl` with the family's own marks added, the templates are short ones of
the shape that the families' have.
"""

import json
import pathlib
import platform
import sys

import PIL
import torch
import transformers as tf
from PIL import Image
from tokenizers import AddedToken

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parents[2] / "ocelli-model"
sys.path.insert(0, str(MODEL / "tests/golden"))
from formula_picture import source  # noqa: E402

SIZES = [(61, 47), (90, 40)]
QUESTION = "Where is the red circle?"
NEW_TOKENS = 32

TURNS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{% if part.type == 'image' %}PICTURE{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN = TURNS.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>")
INTERN = TURNS.replace("PICTURE", "<IMG_CONTEXT>\n")
SMOL = (
    "<|im_start|>{% for message in messages %}{{ message.role | capitalize }}:{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %} {{ part.text }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
TEXT = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(marks=(), **attributes):
    made = tf.PreTrainedTokenizerFast(
        tokenizer_file=str(MODEL / "assets/tiny-qwen2_5_vl/tokenizer.json"), bos_token="<|endoftext|>",
        eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens=attributes)
    made.add_tokens([AddedToken(mark, special=True) for mark in marks if made.convert_tokens_to_ids(mark) is None])
    for name, token in attributes.items():
        setattr(made, name, token)
    return made


def language(vocabulary, **more):
    return {"vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}} | more


def ids(tok, *marks):
    return [tok.convert_tokens_to_ids(mark) for mark in marks]


def qwen(kind):
    tok = tokenizer(image_token="<|image_pad|>", video_token="<|video_pad|>", vision_bos_token="<|vision_start|>",
                    vision_eos_token="<|vision_end|>")
    image, video, start, end = ids(tok, "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    marks = dict(image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=end)
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    vision = dict(depth=2, num_heads=2, patch_size=6, spatial_merge_size=2, temporal_patch_size=2)
    size = {"shortest_edge": 12 * 12 * 4, "longest_edge": 12 * 12 * 20}
    if kind == "qwen2_vl":
        config = tf.Qwen2VLConfig(text_config=language(len(tok), rope_parameters=rope), tie_word_embeddings=True,
                                  vision_config=vision | dict(embed_dim=32, hidden_size=32, mlp_ratio=2), **marks)
        model = tf.Qwen2VLForConditionalGeneration
        processor = tf.Qwen2VLProcessor
    elif kind == "qwen2_5_vl":
        config = tf.Qwen2_5_VLConfig(
            text_config=language(len(tok), rope_parameters=rope), tie_word_embeddings=True,
            vision_config=vision | dict(hidden_size=32, out_hidden_size=32, intermediate_size=48, window_size=24,
                                        fullatt_block_indexes=[1]), **marks)
        model = tf.Qwen2_5_VLForConditionalGeneration
        processor = tf.Qwen2_5_VLProcessor
    else:
        rope["mrope_interleaved"] = True
        config = tf.Qwen3VLConfig(
            text_config=language(len(tok), head_dim=8, rope_parameters=rope), tie_word_embeddings=True,
            vision_config=vision | dict(hidden_size=32, out_hidden_size=32, intermediate_size=48,
                                        num_position_embeddings=25, deepstack_visual_indexes=[0]), **marks)
        model = tf.Qwen3VLForConditionalGeneration
        processor = tf.Qwen3VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    images = Qwen2VLImageProcessorPil(patch_size=6, merge_size=2, temporal_patch_size=2, size=size)
    video = tf.Qwen3VLVideoProcessor if kind == "qwen3_vl" else tf.Qwen2VLVideoProcessor
    videos = video(patch_size=6, merge_size=2, temporal_patch_size=2)
    return model, config, processor(image_processor=images, tokenizer=tok, video_processor=videos, chat_template=QWEN)


def internvl():
    marks = ["<img>", "</img>", "<IMG_CONTEXT>"]
    tok = tokenizer(marks, start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>",
                    video_token="<video>")
    tok.context_image_token_id = tok.convert_tokens_to_ids("<IMG_CONTEXT>")
    tok.start_image_token_id = tok.convert_tokens_to_ids("<img>")
    tok.end_image_token_id = tok.convert_tokens_to_ids("</img>")
    config = tf.InternVLConfig(
        text_config={"model_type": "qwen2"} | language(len(tok)),
        vision_config=dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                           image_size=[24, 24], patch_size=[6, 6]),
        image_token_id=tok.context_image_token_id, image_seq_length=4, downsample_ratio=0.5, tie_word_embeddings=False)
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
    images = GotOcr2ImageProcessorPil(size={"height": 24, "width": 24}, max_patches=4, crop_to_patches=True)
    processor = tf.InternVLProcessor(image_processor=images, tokenizer=tok, image_seq_length=4, chat_template=INTERN,
                                     video_processor=tf.InternVLVideoProcessor(size={"height": 24, "width": 24}))
    return tf.InternVLForConditionalGeneration, config, processor


def smolvlm():
    marks = ["<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>"]
    marks += [f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5)]
    tok = tokenizer(marks, fake_image_token="<fake_token_around_image>", image_token="<image>",
                    end_of_utterance_token="<end_of_utterance>", global_image_token="<global-img>")
    config = tf.SmolVLMConfig(
        text_config={"model_type": "llama"} | language(len(tok)),
        vision_config=dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                           image_size=24, patch_size=6),
        scale_factor=2, image_token_id=tok.convert_tokens_to_ids("<image>"), tie_word_embeddings=False, pad_token_id=0)
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
    images = SmolVLMImageProcessorPil(size={"longest_edge": 48}, max_image_size={"longest_edge": 24})
    processor = tf.SmolVLMProcessor(image_processor=images, tokenizer=tok, image_seq_len=4, chat_template=SMOL,
                                    video_processor=tf.SmolVLMVideoProcessor())
    return tf.SmolVLMForConditionalGeneration, config, processor


def text(kind):
    tok = tokenizer()
    tok.chat_template = TEXT
    if kind == "llama":
        return tf.LlamaForCausalLM, tf.LlamaConfig(**language(len(tok)), tie_word_embeddings=False), tok
    return tf.Qwen3ForCausalLM, tf.Qwen3Config(**language(len(tok), head_dim=8), tie_word_embeddings=True), tok


FAMILIES = {
    "qwen2_vl": lambda: qwen("qwen2_vl"),
    "qwen2_5_vl": lambda: qwen("qwen2_5_vl"),
    "qwen3_vl": lambda: qwen("qwen3_vl"),
    "internvl": internvl,
    "smolvlm": smolvlm,
    "qwen3": lambda: text("qwen3"),
    "llama": lambda: text("llama"),
}


def ask(processor):
    if isinstance(processor, tf.PreTrainedTokenizerFast):
        messages = [{"role": "user", "content": QUESTION}]
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return processor(prompt, return_tensors="pt", add_special_tokens=False)
    content = [{"type": "image"} for _ in SIZES] + [{"type": "text", "text": QUESTION}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    pictures = [Image.fromarray(source(w, h, i)) for i, (w, h) in enumerate(SIZES)]
    pictures = [pictures] if type(processor).__name__ == "SmolVLMProcessor" else pictures
    return processor(text=[prompt], images=pictures, return_tensors="pt", add_special_tokens=False)


def make(name):
    make_model, config, processor = FAMILIES[name]()
    tok = getattr(processor, "tokenizer", processor)
    given = ask(processor)
    special = sorted(set(tok.all_special_ids) | set(tok.added_tokens_decoder))
    for seed in range(50):
        torch.manual_seed(seed)
        model = make_model._from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=0.25)
                parameter.copy_(parameter.bfloat16().float())
        settings = tf.GenerationConfig(do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=None, pad_token_id=0)
        with torch.no_grad():
            whole = model.generate(**given, generation_config=settings, suppress_tokens=special)[0]
            answer = whole[given["input_ids"].shape[1]:]
            again = dict(given, input_ids=whole[None], attention_mask=torch.ones_like(whole)[None])
            if "mm_token_type_ids" in again:
                old = again["mm_token_type_ids"]
                again["mm_token_type_ids"] = torch.cat([old, old.new_zeros(1, len(answer))], 1)
            logits = model(**again).logits[0, -len(answer) - 1 : -1].clone()
        logits[:, special] = -torch.inf
        best = logits.topk(2).values
        margin = (best[:, 0] - best[:, 1]).min().item()
        if margin > 5e-3 and torch.equal(logits.argmax(-1), answer) and len(answer.unique()) > 8:
            break
    else:
        raise SystemExit(f"{name}: no seed gives clear choices")
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    model.bfloat16().save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": tok.eos_token_id}) + "\n")
    expected = {"made_by": pathlib.Path(__file__).name,
                "versions": {"python": platform.python_version(), "torch": torch.__version__,
                             "transformers": tf.__version__, "pillow": PIL.__version__},
                "seed": seed, "margin": margin, "pictures": [] if "pixel_values" not in given else SIZES,
                "question": QUESTION, "banned": special, "input_ids": given["input_ids"][0].tolist(),
                "answer": answer.tolist()}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(name, seed, margin, len(expected["input_ids"]), sum(p.stat().st_size for p in folder.iterdir()),
          sorted(p.name for p in folder.iterdir()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or FAMILIES:
        make(name)
