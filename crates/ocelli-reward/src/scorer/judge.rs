//! A judge behind the chat-completions interface that OpenAI, vLLM, SGLang and others share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cache::Cache;
use super::template::{Filled, Template};
use super::{Reading, Scale, Score, ScoreImage, ScoreRequest, Scorer, ScorerError};
use crate::http::{Backoff, Http, HttpFailure, checked_url, seconds, secret};

/// Which judge to ask, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeConfig {
    /// The server's address up to and with its version, such as `http://127.0.0.1:8000/v1`.
    pub url: String,
    /// The model's name on that server.
    pub model: String,
    /// The environment variable that holds the key. No key is sent by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// The system message; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The user message, with `{question}`, `{answer}`, `{gold}` and `{image}` where those belong.
    pub prompt: String,
    /// The scores the judge may give.
    pub scale: Scale,
    /// Where in its reply the score stands: `whole` (the default), `first`, `last` or `{ after = "…" }`.
    #[serde(default)]
    pub read: Reading,
    /// Longest reply, in tokens.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: u32,
    /// Requests under way at once.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Tries before a request is given up.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Time for one try, in seconds.
    #[serde(default = "default_time_limit")]
    pub time_limit_seconds: f64,
    /// Wait after the first try, in seconds; it doubles with each further one, up to 30 seconds.
    #[serde(default = "default_first_wait")]
    pub first_wait_seconds: f64,
    /// Folder for replies, so that the same request is asked once. None are kept by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
}

fn default_max_tokens() -> u32 {
    512
}

fn default_concurrency() -> usize {
    8
}

fn default_attempts() -> u32 {
    4
}

fn default_time_limit() -> f64 {
    60.0
}

fn default_first_wait() -> f64 {
    0.5
}

/// A checked [`JudgeConfig`], ready to ask.
pub struct JudgeScorer {
    http: Http,
    url: String,
    model: String,
    system: Option<String>,
    template: Template,
    scale: Scale,
    reading: Reading,
    max_tokens: u32,
    concurrency: usize,
    attempts: u32,
    backoff: Backoff,
    cache: Option<Cache>,
}

/// The part of a chat completion that is read.
#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Reply,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Reply {
    content: Option<String>,
}

impl JudgeScorer {
    /// Checks `config`, reads the key and opens the cache. Nothing is asked yet.
    ///
    /// # Errors
    /// Says which key has which wrong value.
    pub fn new(config: &JudgeConfig) -> Result<Self, String> {
        for (key, is_zero) in [
            ("max_tokens", config.max_tokens == 0),
            ("concurrency", config.concurrency == 0),
            ("attempts", config.attempts == 0),
        ] {
            if is_zero {
                return Err(format!("judge: `{key} = 0` is not allowed"));
            }
        }
        let told = |error: String| format!("judge: {error}");
        config.scale.check(&config.read).map_err(told)?;
        let key = secret(config.api_key_env.as_deref()).map_err(told)?;
        let time_limit = seconds("time_limit_seconds", config.time_limit_seconds).map_err(told)?;
        let first = seconds("first_wait_seconds", config.first_wait_seconds).map_err(told)?;
        let cache = config.cache.as_deref().map(|folder| {
            Cache::open(folder)
                .map_err(|error| told(format!("cache {}: {error}", folder.display())))
        });
        Ok(Self {
            http: Http::new(time_limit, key),
            url: format!(
                "{}/chat/completions",
                checked_url(&config.url).map_err(told)?
            ),
            model: config.model.clone(),
            system: config.system.clone(),
            template: Template::parse(&config.prompt).map_err(told)?,
            scale: config.scale.clone(),
            reading: config.read.clone(),
            max_tokens: config.max_tokens,
            concurrency: config.concurrency,
            attempts: config.attempts,
            backoff: Backoff {
                first,
                ..Backoff::USUAL
            },
            cache: cache.transpose()?,
        })
    }

    /// Whether the prompt has a place for pictures.
    pub(crate) fn shows_images(&self) -> bool {
        self.template.shows_images()
    }

    /// The whole request as the server gets it. Equal requests have equal bodies.
    fn body(&self, request: &ScoreRequest) -> Result<Vec<u8>, ScorerError> {
        let mut messages = Vec::new();
        if let Some(system) = &self.system {
            messages.push(json!({"role": "system", "content": system}));
        }
        let content = match self.template.fill(request)?.as_slice() {
            // A bare text is what servers without pictures understand.
            [Filled::Text(text)] => json!(text),
            parts => parts
                .iter()
                .flat_map(|part| match part {
                    Filled::Text(text) => vec![json!({"type": "text", "text": text})],
                    Filled::Images => request.images.iter().map(image_part).collect(),
                })
                .collect(),
        };
        messages.push(json!({"role": "user", "content": content}));
        let body = json!({
            "model": self.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": self.max_tokens,
        });
        Ok(body.to_string().into_bytes())
    }

    /// The score of one request body, from the cache or from the server.
    fn score_body(&self, body: &[u8]) -> Result<Score, ScorerError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.url.len() as u64).to_le_bytes());
        hasher.update(self.url.as_bytes());
        hasher.update(body);
        let key = hasher.finalize();
        let kept = self.cache.as_ref().and_then(|cache| cache.get(&key));
        // A kept reply that cannot be read is asked for again: the scale may be another than it was.
        if let Some(reply) = kept
            && let Ok(score) = self.read(reply, true)
        {
            return Ok(score);
        }
        let score = self.read(self.ask(body, &key)?, false)?;
        if let Some(cache) = &self.cache {
            // A reply that cannot be kept costs a request the next time, and nothing now.
            let _ = cache.put(&key, &score.reply);
        }
        Ok(score)
    }

    fn read(&self, reply: String, cached: bool) -> Result<Score, ScorerError> {
        match self.scale.read(&reply, &self.reading) {
            Ok((value, grades)) => Ok(Score {
                value,
                grades,
                reply,
                cached,
            }),
            Err(reason) => Err(ScorerError::Unreadable {
                reply: self.http.excerpt(reply.as_bytes()),
                reason,
            }),
        }
    }

    /// The judge's words, after as many tries as it takes.
    fn ask(&self, body: &[u8], key: &blake3::Hash) -> Result<String, ScorerError> {
        let mut attempt = 0;
        loop {
            let failure = match self.ask_once(body) {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(error)) => return Err(error),
                Err(failure) => failure,
            };
            attempt += 1;
            if !failure.retryable {
                return Err(ScorerError::Refused {
                    message: failure.message,
                });
            }
            if attempt >= self.attempts {
                return Err(ScorerError::Outage {
                    attempts: attempt,
                    message: failure.message,
                });
            }
            let salt = key.as_bytes();
            let wait = self.backoff.wait(attempt - 1, failure.retry_after, salt);
            std::thread::sleep(wait);
        }
    }

    /// One try: the judge's words, an error that is final, or a failure of the way there.
    fn ask_once(&self, body: &[u8]) -> Result<Result<String, ScorerError>, HttpFailure> {
        let reply = self.http.post(&self.url, body)?;
        let not_chat = |reason: &str| {
            let excerpt = self.http.excerpt(&reply);
            HttpFailure::retryable(format!(
                "{}: {excerpt:?} is not a chat completion: {reason}",
                self.url
            ))
        };
        let completion: Completion =
            serde_json::from_slice(&reply).map_err(|error| not_chat(&error.to_string()))?;
        let choice = completion.choices.into_iter().next();
        let choice = choice.ok_or_else(|| not_chat("it has no choice"))?;
        let text = choice.message.content.unwrap_or_default();
        // The value that a reply ends with may be the middle of what the judge wanted to say.
        if choice.finish_reason.as_deref() == Some("length") {
            return Ok(Err(ScorerError::Unreadable {
                reply: self.http.excerpt(text.as_bytes()),
                reason: format!("it was cut at max_tokens = {}", self.max_tokens),
            }));
        }
        Ok(Ok(text))
    }
}

impl Scorer for JudgeScorer {
    fn score(&self, requests: &[ScoreRequest]) -> Vec<Result<Score, ScorerError>> {
        // Equal requests are asked once.
        let mut bodies: Vec<Vec<u8>> = Vec::new();
        let mut known: HashMap<blake3::Hash, usize> = HashMap::new();
        let mut repeated = vec![false; requests.len()];
        let mut wanted = Vec::with_capacity(requests.len());
        for (request, repeated) in requests.iter().zip(&mut repeated) {
            wanted.push(self.body(request).map(|body| {
                let hash = blake3::hash(&body);
                *repeated = known.contains_key(&hash);
                *known.entry(hash).or_insert_with(|| {
                    bodies.push(body);
                    bodies.len() - 1
                })
            }));
        }
        let next = AtomicUsize::new(0);
        let slots: Vec<Mutex<Option<Result<Score, ScorerError>>>> =
            bodies.iter().map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for _ in 0..self.concurrency.min(bodies.len()) {
                scope.spawn(|| {
                    loop {
                        let position = next.fetch_add(1, Ordering::Relaxed);
                        let Some(body) = bodies.get(position) else {
                            break;
                        };
                        let result = self.score_body(body);
                        if let Ok(mut slot) = slots[position].lock() {
                            *slot = Some(result);
                        }
                    }
                });
            }
        });
        let scored: Vec<Result<Score, ScorerError>> = slots
            .into_iter()
            .map(|slot| {
                let result = slot.into_inner().ok().flatten();
                result.expect("each body was asked, or its thread's panic has been passed on")
            })
            .collect();
        let results = wanted.into_iter().zip(repeated).map(|(body, repeated)| {
            let mut score = scored[body?].clone()?;
            score.cached |= repeated;
            Ok(score)
        });
        results.collect()
    }
}

fn image_part(image: &ScoreImage) -> Value {
    let data = STANDARD.encode(&image.bytes);
    let url = format!("data:{};base64,{data}", image.media_type);
    json!({"type": "image_url", "image_url": {"url": url}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> JudgeConfig {
        toml::from_str(
            r#"
            url = "http://127.0.0.1:1/v1/"
            model = "judge"
            system = "Be strict."
            prompt = "{image}Q: {question} A: {answer}"
            scale = "yes_no"
            "#,
        )
        .unwrap()
    }

    #[test]
    fn the_request_is_what_chat_servers_take() {
        let judge = JudgeScorer::new(&config()).unwrap();
        assert_eq!(judge.url, "http://127.0.0.1:1/v1/chat/completions");
        let request = ScoreRequest {
            question: "what?".to_owned(),
            answer: "a \"cat\"".to_owned(),
            gold: None,
            images: vec![ScoreImage::new(b"GIF89a".to_vec()).unwrap()],
        };
        let body: Value = serde_json::from_slice(&judge.body(&request).unwrap()).unwrap();
        assert_eq!(
            body,
            json!({"model": "judge", "temperature": 0, "max_tokens": 512, "messages": [
                {"role": "system", "content": "Be strict."},
                {"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlh"}},
                    {"type": "text", "text": "Q: what? A: a \"cat\""},
                ]},
            ]})
        );
    }

    #[test]
    fn bad_configurations_are_refused() {
        type Change = fn(&mut JudgeConfig);
        let cases: [(Change, &str); 7] = [
            (|c| c.attempts = 0, "`attempts = 0`"),
            (
                |c| c.url = "localhost".to_owned(),
                "`localhost` is not the address",
            ),
            (|c| c.prompt = "{answr}".to_owned(), "`{answr}`"),
            (|c| c.scale = Scale::Tiers(Vec::new()), "`tiers = []`"),
            (|c| c.time_limit_seconds = -1.0, "`time_limit_seconds = -1`"),
            (
                |c| c.api_key_env = Some("OCELLI_NOT_SET".to_owned()),
                "`OCELLI_NOT_SET`",
            ),
            (
                |c| c.cache = Some("/dev/null/a".into()),
                "cache /dev/null/a",
            ),
        ];
        for (change, message) in cases {
            let mut config = config();
            change(&mut config);
            let error = JudgeScorer::new(&config).err().unwrap();
            assert!(
                error.starts_with("judge: ") && error.contains(message),
                "{error}"
            );
        }
    }
}
