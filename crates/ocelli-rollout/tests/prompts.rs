//! Whole checkpoints as a user has them: the same conversation gives the same ids and the same greedy answer as
//! transformers' processor and model. `tests/golden/make_prompts.py` made the folders.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use ocelli_core::{Message, Part, Role};
use ocelli_model::percept::{Extent, Media};

use support::{greedy, numbers, picture, policy, read};

const FAMILIES: [&str; 8] = [
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "internvl",
    "smolvlm",
    "qwen2_audio",
    "qwen3",
    "llama",
];

#[test]
fn conversations_give_the_ids_and_answers_of_transformers() {
    for family in FAMILIES {
        let (policy, expected) = (policy(family), read(family, "expected.json"));
        let pictures = expected["pictures"].as_array().unwrap();
        let images: Vec<_> = pictures
            .iter()
            .enumerate()
            .map(|(i, size)| {
                let [width, height] = [0, 1].map(|side| size[side].as_u64().unwrap() as usize);
                let picture = picture(width, height, i);
                let patches = policy.processor.image(&picture).unwrap();
                let grid = policy.processor.grid(width, height).unwrap();
                assert_eq!(
                    patches.extent,
                    Extent::Picture(grid),
                    "{family}: picture {i}"
                );
                patches
            })
            .collect();
        let question = Part::Text {
            text: expected["question"].as_str().unwrap().to_owned(),
        };
        let shown = (0..images.len()).map(|index| Part::Image { index });
        let messages = [Message {
            role: Role::User,
            content: shown.chain([question]).collect(),
        }];
        let media = Media::of_images(images);
        let context = policy.processor.prompt("row", &messages, &media).unwrap();
        assert_eq!(context.ids, numbers(&expected["input_ids"]), "{family}");
        let extents = media.images.iter().map(|image| image.extent.clone());
        let extents = Media::of_images(extents.collect());
        let length = policy.processor.prompt_length("row", &messages, &extents);
        assert_eq!(length.unwrap(), context.ids.len(), "{family}");

        let answer = numbers(&expected["answer"]);
        let banned = numbers(&expected["banned"]);
        let found = greedy(&policy, context, answer.len(), banned);
        assert_eq!(found, answer, "{family}");
    }
}

#[test]
fn turns_end_where_the_template_ends_them() {
    for (family, end) in [
        ("qwen2_5_vl", "<|im_end|>"),
        ("internvl", "<|im_end|>"),
        ("smolvlm", "<end_of_utterance>"),
        ("llama", "<|im_end|>"),
    ] {
        let policy = policy(family);
        let id = policy.processor.tokenizer.id(end).unwrap();
        assert_eq!(policy.processor.end_of_turn, id, "{family}");
        assert!(policy.rules.stop.contains(&id), "{family}");
        // What follows a turn does not begin with its end twice.
        let next = [Message::text(Role::User, "And now?")];
        let [ended, cut] = [true, false].map(|ended| {
            let ids = policy.processor.continuation(&next, ended);
            ids.unwrap_or_else(|e| panic!("{family}: {e}"))
        });
        assert_eq!(cut[0], id, "{family}");
        assert_eq!(cut[1..], ended, "{family}");
    }
}

#[test]
fn a_language_model_is_shown_no_pictures() {
    let policy = policy("llama");
    let error = policy.processor.image(&picture(9, 9, 0)).unwrap_err();
    assert!(error.to_string().contains("reads no pictures"), "{error}");
}
