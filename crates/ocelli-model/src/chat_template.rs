//! Conversations to prompts, by the checkpoint's own Jinja template.
//!
//! Owns where a template is found and the surroundings that transformers gives it (`utils/chat_template_utils.py`,
//! 5.23): block trimming, loop controls, Python's string methods, `raise_exception`, `strftime_now` and `tojson`. It
//! knows nothing of tokens.

mod python_json;
mod strftime;

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{AutoEscape, Environment, ErrorKind, Value as TemplateValue};
use ocelli_core::{Message, Part};
use serde_json::{Map, Value, json};

use crate::processing_error::ProcessingError;

/// A parsed chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    file: String,
    constants: Map<String, Value>,
    /// Whether contents are given as plain strings, as templates of language models expect them.
    plain: bool,
}

impl ChatTemplate {
    /// The same for a language model alone: contents are strings, not lists of typed parts.
    #[must_use]
    pub fn of_plain_texts(self) -> Self {
        Self {
            plain: true,
            ..self
        }
    }

    /// Parses a template; `file` names it in errors.
    ///
    /// # Errors
    /// With the line if it does not parse.
    pub fn new(source: &str, file: &str) -> Result<Self, ProcessingError> {
        let mut environment = environment();
        environment
            .add_template_owned(file.to_owned(), source.to_owned())
            .map_err(|error| ProcessingError::TemplateSyntax {
                file: file.to_owned(),
                line: error.line().unwrap_or(1),
                reason: reason(&error),
            })?;
        Ok(Self {
            environment,
            file: file.to_owned(),
            constants: Map::new(),
            plain: false,
        })
    }

    /// Finds the template of a checkpoint in `chat_template.jinja`, `chat_template.json` or `tokenizer_config.json`, in
    /// this order. The tokens named in the last (`bos_token`, `eos_token`, …) become variables of the template.
    /// `read` gives the bytes of a file by name, or `None` if there is no such file.
    ///
    /// # Errors
    /// Those of `read`, if a file is no text or not the JSON expected, if there is no template, or if it does not parse.
    pub fn from_files<'a>(
        mut read: impl FnMut(&str) -> Result<Option<Cow<'a, [u8]>>, ProcessingError>,
    ) -> Result<Self, ProcessingError> {
        let config_file = "tokenizer_config.json";
        let config = match read(config_file)? {
            Some(bytes) => parse_object(&bytes, config_file)?,
            None => Map::new(),
        };
        let mut template = if let Some(bytes) = read("chat_template.jinja")? {
            Self::new(text(&bytes, "chat_template.jinja")?, "chat_template.jinja")?
        } else if let Some(bytes) = read("chat_template.json")? {
            let object = parse_object(&bytes, "chat_template.json")?;
            Self::new(
                &embedded(&object, "chat_template.json")?,
                "chat_template.json",
            )?
        } else {
            Self::new(&embedded(&config, config_file)?, config_file)?
        };
        for name in ["bos_token", "eos_token", "pad_token", "unk_token"] {
            // A token is written as its text or as an object that describes it.
            let token = config
                .get(name)
                .map(|token| token.get("content").unwrap_or(token));
            if let Some(Value::String(token)) = token {
                template
                    .constants
                    .insert(name.to_owned(), Value::from(token.as_str()));
            }
        }
        Ok(template)
    }

    /// The prompt of a conversation. `add_generation_prompt` opens the assistant's turn at the end, `extra` holds
    /// further variables of the template (`add_vision_id`, `enable_thinking`, `tools`, …).
    ///
    /// # Errors
    /// With the line if the template fails on the conversation.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &Map<String, Value>,
    ) -> Result<String, ProcessingError> {
        let value = if self.plain {
            plain_value
        } else {
            message_value
        };
        let messages = messages.iter().map(value).collect();
        self.render_values(messages, add_generation_prompt, extra)
    }

    /// The same for messages as JSON, which may have plain strings as content, tool calls, and whatever else the
    /// template understands.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_values(
        &self,
        messages: Vec<Value>,
        add_generation_prompt: bool,
        extra: &Map<String, Value>,
    ) -> Result<String, ProcessingError> {
        let mut context = self.constants.clone();
        context.extend(
            extra
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        context.insert("messages".to_owned(), Value::Array(messages));
        context.insert(
            "add_generation_prompt".to_owned(),
            Value::Bool(add_generation_prompt),
        );
        self.environment
            .get_template(&self.file)
            .and_then(|template| template.render(Serde(&context)))
            .map_err(|error| ProcessingError::TemplateRender {
                file: self.file.clone(),
                line: error.line().unwrap_or(1),
                reason: reason(&error),
            })
    }
}

/// Instructions of a template after which it is taken not to end: a hundred times those of the longest conversations.
const FUEL: u64 = 20_000_000;

/// Jinja as transformers sets it up.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build().expect("the usual delimiters are valid"));
    // A prompt is never HTML, and a template out of a .json file is not JSON.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| {
        Err::<TemplateValue, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", to_json);
    environment
}

fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    strftime::strftime(format, now.as_secs()).map_err(|code| {
        let detail = format!("strftime_now does not know {code}");
        minijinja::Error::new(ErrorKind::InvalidOperation, detail)
    })
}

fn to_json(value: &TemplateValue, options: Kwargs) -> Result<String, minijinja::Error> {
    let refuse = |detail| minijinja::Error::new(ErrorKind::InvalidOperation, detail);
    if value.is_undefined() {
        return Err(refuse("tojson of an undefined value"));
    }
    let indent = match options.get::<Option<TemplateValue>>("indent")? {
        None => None,
        Some(indent) if indent.is_none() => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?),
        }),
    };
    let style = python_json::Style {
        indent,
        separators: match options.get::<Option<Vec<String>>>("separators")?.as_deref() {
            None => None,
            Some([comma, colon]) => Some((comma.clone(), colon.clone())),
            Some(_) => return Err(refuse("separators of tojson are two strings")),
        },
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
    };
    options.assert_all_used()?;
    let value =
        serde_json::to_value(value).map_err(|_| refuse("tojson of a value that is not data"))?;
    Ok(python_json::dumps(&value, &style))
}

/// A message as templates of vision-language models expect it: always a list of typed parts.
fn message_value(message: &Message) -> Value {
    let part = |part: &Part| match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Image { .. } => json!({"type": "image"}),
        Part::Video { .. } => json!({"type": "video"}),
        // The published template of Qwen2-Audio looks for the key, not for the type.
        Part::Audio { .. } => json!({"type": "audio", "audio": null}),
    };
    json!({
        "role": message.role,
        "content": message.content.iter().map(part).collect::<Vec<_>>(),
    })
}

/// A message as templates of language models expect it: its texts as one string.
fn plain_value(message: &Message) -> Value {
    json!({ "role": message.role, "content": message.plain_text() })
}

/// The template that a JSON file holds as `chat_template`: one text, or a list of named ones with a default.
fn embedded(object: &Map<String, Value>, file: &str) -> Result<String, ProcessingError> {
    match object.get("chat_template") {
        Some(Value::String(source)) => Ok(source.clone()),
        Some(Value::Array(named)) => {
            let default = named.iter().find(|entry| entry["name"] == "default");
            match default.and_then(|entry| entry["template"].as_str()) {
                Some(source) => Ok(source.to_owned()),
                None => Err(ProcessingError::TemplateNames {
                    file: file.to_owned(),
                    found: named
                        .iter()
                        .filter_map(|entry| entry["name"].as_str().map(str::to_owned))
                        .collect(),
                }),
            }
        }
        _ => Err(ProcessingError::Missing {
            wanted: "chat template (chat_template.jinja, or chat_template in tokenizer_config.json)",
        }),
    }
}

fn parse_object(bytes: &[u8], file: &str) -> Result<Map<String, Value>, ProcessingError> {
    serde_json::from_slice(bytes).map_err(|source| ProcessingError::Json {
        file: file.to_owned(),
        source,
    })
}

fn text<'a>(bytes: &'a [u8], file: &str) -> Result<&'a str, ProcessingError> {
    std::str::from_utf8(bytes).map_err(|error| ProcessingError::NotText {
        file: file.to_owned(),
        valid_up_to: error.valid_up_to(),
    })
}

fn reason(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ocelli_core::Role;
    use proptest::prelude::*;

    use super::*;
    use crate::preset::Preset;

    fn render(source: &str, extra: Value) -> Result<String, ProcessingError> {
        let extra = extra.as_object().cloned().unwrap_or_default();
        ChatTemplate::new(source, "chat_template.jinja")?.render(&[], false, &extra)
    }

    fn from(files: &[(&str, &str)]) -> Result<ChatTemplate, ProcessingError> {
        ChatTemplate::from_files(|name| {
            let found = files.iter().find(|(file, _)| *file == name);
            Ok(found.map(|(_, content)| Cow::Borrowed(content.as_bytes())))
        })
    }

    #[test]
    fn the_preset_renders_a_question_about_a_picture() {
        let preset = Preset::find("tiny-qwen2_5_vl").unwrap();
        let template =
            ChatTemplate::from_files(|name| Ok(preset.file(name).map(Cow::Borrowed))).unwrap();
        let content = vec![
            Part::Image { index: 0 },
            Part::Text {
                text: "Where is it?".into(),
            },
        ];
        let question = Message {
            role: Role::User,
            content,
        };
        let prompt = template.render(&[question], true, &Map::new()).unwrap();
        let wanted = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n\
            <|vision_start|><|image_pad|><|vision_end|>Where is it?<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(prompt, wanted);
    }

    #[test]
    fn the_surroundings_are_those_of_transformers() {
        assert_eq!(
            render("  {% if true %}\n  a\n  {% endif %}\nb\n", json!({})).unwrap(),
            "  a\nb"
        );
        assert_eq!(
            render(
                "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
                json!({})
            )
            .unwrap(),
            "01"
        );
        assert_eq!(
            render("{{ x.strip().split(',')[-1] }}", json!({"x": " a,b "})).unwrap(),
            "b"
        );
        assert_eq!(
            render("{{ x }}{{ missing }}", json!({"x": "<&>"})).unwrap(),
            "<&>"
        );
        assert_eq!(
            render("{{ strftime_now('%Y')|length }}", json!({})).unwrap(),
            "4"
        );
        let json = json!({"x": {"b": [1, 2.0], "a": "<é>"}});
        assert_eq!(
            render("{{ x|tojson }}", json.clone()).unwrap(),
            r#"{"b": [1, 2.0], "a": "<é>"}"#
        );
        let source = "{{ x|tojson(sort_keys=true, ensure_ascii=true, separators=(',', ':')) }}";
        assert_eq!(
            render(source, json.clone()).unwrap(),
            r#"{"a":"<\u00e9>","b":[1,2.0]}"#
        );
        assert_eq!(
            render("{{ x.b|tojson(indent=1) }}", json).unwrap(),
            "[\n 1,\n 2.0\n]"
        );
    }

    #[test]
    fn errors_name_file_and_line() {
        for (source, wanted) in [
            (
                "a\n{% if %}",
                "chat_template.jinja, line 2: the chat template does not parse: ",
            ),
            (
                "a\nb\n{{ raise_exception('no system turn') }}",
                "chat_template.jinja, line 3: the chat template refuses this conversation: no system turn",
            ),
            (
                "\n{{ strftime_now('%Q') }}",
                "chat_template.jinja, line 2: the chat template refuses this conversation: strf",
            ),
            (
                "{{ x|tojson }}",
                "chat_template.jinja, line 1: the chat template refuses this conversation: tojson of an",
            ),
            (
                "{{ 1|tojson(colour=2) }}",
                "chat_template.jinja, line 1: the chat template refuses this conversation: unk",
            ),
        ] {
            let message = render(source, json!({})).unwrap_err().to_string();
            assert!(message.starts_with(wanted), "{message}");
        }
    }

    #[test]
    fn templates_are_found_in_order() {
        let jinja = ("chat_template.jinja", "jinja");
        let json = ("chat_template.json", r#"{"chat_template": "json"}"#);
        let config = (
            "tokenizer_config.json",
            r#"{"chat_template": "config", "bos_token": "<s>"}"#,
        );
        assert_eq!(
            from(&[config, json, jinja])
                .unwrap()
                .render(&[], false, &Map::new())
                .unwrap(),
            "jinja"
        );
        assert_eq!(
            from(&[config, json])
                .unwrap()
                .render(&[], false, &Map::new())
                .unwrap(),
            "json"
        );
        assert_eq!(
            from(&[config])
                .unwrap()
                .render(&[], false, &Map::new())
                .unwrap(),
            "config"
        );
        let named = r#"{"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "y"}]}"#;
        assert_eq!(
            from(&[("tokenizer_config.json", named)])
                .unwrap()
                .render(&[], false, &Map::new())
                .unwrap(),
            "y"
        );
        let tokens =
            r#"{"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": null}"#;
        let template = from(&[
            ("tokenizer_config.json", tokens),
            ("chat_template.jinja", "{{ bos_token }}{{ eos_token }}"),
        ]);
        assert_eq!(
            template.unwrap().render(&[], false, &Map::new()).unwrap(),
            "<s></s>"
        );
    }

    #[test]
    fn checkpoints_without_a_usable_template_are_refused() {
        assert!(
            from(&[])
                .unwrap_err()
                .to_string()
                .starts_with("no chat template")
        );
        let unnamed = (
            "tokenizer_config.json",
            r#"{"chat_template": [{"name": "rag", "template": "x"}]}"#,
        );
        let message = from(&[unnamed]).unwrap_err().to_string();
        assert!(
            message.starts_with("tokenizer_config.json: chat_template lists [\"rag\"]"),
            "{message}"
        );
        let message = from(&[("chat_template.json", "[]")])
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("chat_template.json: "), "{message}");
        let bad = ChatTemplate::from_files(|name| {
            Ok((name == "chat_template.jinja").then(|| Cow::Borrowed(&b"a\xff"[..])))
        });
        assert!(
            bad.unwrap_err()
                .to_string()
                .contains("not UTF-8 text from byte 1")
        );
    }

    proptest! {
        #[test]
        fn any_template_text_parses_or_errs(source in "[{}%a-z0-9 '|.\\[\\]()\n-]{0,60}") {
            if let Ok(template) = ChatTemplate::new(&source, "chat_template.jinja") {
                let _ = template.render(&[], true, &Map::new());
            }
        }
    }
}
