//! The keys of a node whose verifier is a plug-in, a judge or a remote graph. Nothing is started and nobody is asked.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Kind, RewardModelConfig, Service, model};
use crate::builder::hint;
use crate::config::NODE_KEYS;
use crate::plugin::{Completions, PluginConfig, PluginError, Style};
use crate::suggest::closest;
use crate::{RewardError, Verifier};

#[cfg(feature = "judge")]
use super::Shown;
#[cfg(feature = "judge")]
use crate::client::RemoteConfig;
#[cfg(feature = "judge")]
use crate::scorer::{JudgeConfig, JudgeScorer};
#[cfg(feature = "judge")]
use crate::verifier::{AnswerIn, Place};

/// `docs/python-rewards.md`.
const PLUGIN_KEYS: [&str; 9] = [
    "style",
    "completions",
    "kwargs",
    "workers",
    "timeout_seconds",
    "start_timeout_seconds",
    "memory_mb",
    "python",
    "retries",
];

#[cfg(feature = "judge")]
const JUDGE_KEYS: [&str; 16] = [
    "section",
    "url",
    "model",
    "api_key_env",
    "system",
    "prompt",
    "scale",
    "read",
    "max_tokens",
    "concurrency",
    "attempts",
    "time_limit_seconds",
    "first_wait_seconds",
    "cache",
    "answer_in",
    "pictures",
];

#[cfg(feature = "judge")]
const REMOTE_KEYS: [&str; 7] = [
    "servers",
    "token_env",
    "nodes",
    "batch",
    "concurrency",
    "attempts",
    "time_limit_seconds",
];

/// Each further try may wait for the time limit once more.
const MOST_RETRIES: u32 = 10;

/// The keys of a plug-in as they were given.
#[derive(Deserialize)]
struct PluginKeys {
    style: Option<Style>,
    completions: Option<Completions>,
    kwargs: Option<Map<String, Value>>,
    workers: Option<usize>,
    timeout_seconds: Option<f64>,
    start_timeout_seconds: Option<f64>,
    memory_mb: Option<u64>,
    python: Option<PathBuf>,
    retries: Option<u32>,
}

#[cfg(feature = "judge")]
fn answer_section() -> String {
    Place::SECTION.to_owned()
}

/// The keys of a judge that say what it is shown.
#[cfg(feature = "judge")]
#[derive(Deserialize)]
struct ShownKeys {
    #[serde(default)]
    answer_in: AnswerIn,
    #[serde(default = "answer_section")]
    section: String,
    #[serde(default)]
    pictures: bool,
}

/// Whether a verifier's name is meant to be a plug-in's: `file.py:function`, also when the function is missing.
pub(crate) fn is_plugin(name: &str) -> bool {
    name.contains(".py:") || name.ends_with(".py")
}

/// All names that a node's `verifier` may have, plug-ins aside.
pub(crate) fn known_names() -> Vec<&'static str> {
    Verifier::NAMES.into_iter().chain(Service::NAMES).collect()
}

/// The service that `verifier` names, with the keys in `settings`; `None` for names of other verifiers. `node` is the
/// node's position. The file of a plug-in is looked for when `with_files`.
///
/// # Errors
/// When a key is unknown or has a value that it does not take.
pub(crate) fn read(
    node: usize,
    verifier: &str,
    settings: &Map<String, Value>,
    with_files: bool,
) -> Option<Result<Service, RewardError>> {
    let setting = |problem: String| RewardError::Setting {
        node,
        owner: format!("the verifier `{verifier}`"),
        problem,
    };
    let kind = match verifier {
        name if is_plugin(name) => {
            plugin(name, settings, with_files).map_err(|wrong| match wrong {
                Wrong::Key(problem) => setting(problem),
                Wrong::Plugin(error) => RewardError::Plugin { node, error },
            })
        }
        "judge" => judge(settings).map_err(setting),
        "stub_judge" => stub_judge(settings).map_err(setting),
        "remote" => remote(settings).map_err(setting),
        "reward_model" => reward_model(settings).map_err(setting),
        _ => return None,
    };
    Some(kind.map(Service::new))
}

/// What is wrong with a plug-in.
enum Wrong {
    Key(String),
    Plugin(PluginError),
}

impl From<PluginError> for Wrong {
    fn from(error: PluginError) -> Self {
        Self::Plugin(error)
    }
}

fn plugin(name: &str, settings: &Map<String, Value>, with_files: bool) -> Result<Kind, Wrong> {
    let parsed = PluginConfig::parse(name)?;
    let keys: PluginKeys = typed(settings, &PLUGIN_KEYS).map_err(Wrong::Key)?;
    let config = PluginConfig {
        style: keys.style,
        completions: keys.completions,
        kwargs: keys.kwargs.unwrap_or_default(),
        workers: keys.workers.unwrap_or(parsed.workers),
        timeout_seconds: keys.timeout_seconds.unwrap_or(parsed.timeout_seconds),
        start_timeout_seconds: keys
            .start_timeout_seconds
            .unwrap_or(parsed.start_timeout_seconds),
        memory_mb: keys.memory_mb,
        python: keys.python,
        ..parsed
    };
    config.check()?;
    let retries = keys.retries.unwrap_or(0);
    if retries > MOST_RETRIES {
        return Err(Wrong::Key(format!(
            "`retries = {retries}` is not allowed; it takes a number from 0 to {MOST_RETRIES}"
        )));
    }
    if with_files {
        config.check_file()?;
    }
    Ok(Kind::Plugin { config, retries })
}

fn reward_model(settings: &Map<String, Value>) -> Result<Kind, String> {
    let config: RewardModelConfig = typed(settings, &model::KEYS)?;
    config.check()?;
    Ok(Kind::RewardModel(config))
}

#[cfg(feature = "judge")]
fn judge(settings: &Map<String, Value>) -> Result<Kind, String> {
    let shown = shown(settings)?;
    let own = |key: &str| !["answer_in", "section", "pictures"].contains(&key);
    let rest: Map<String, Value> = settings
        .iter()
        .filter(|(key, _)| own(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let config: JudgeConfig = typed(&rest, &JUDGE_KEYS)?;
    // The key's variable and the cache's folder are for the machine that trains.
    let checked = JudgeScorer::new(&JudgeConfig {
        api_key_env: None,
        cache: None,
        ..config.clone()
    })
    .map_err(|problem| problem.trim_start_matches("judge: ").to_owned())?;
    match (checked.shows_images(), shown.pictures) {
        (true, false) => Err(
            "the prompt has `{image}`, and no picture is sent; set `pictures = true`".to_owned(),
        ),
        (false, true) => Err(
            "`pictures = true` has no effect on a prompt without `{image}`; remove it, or say in the prompt where the \
             pictures belong"
                .to_owned(),
        ),
        _ => Ok(Kind::Judge {
            config: Box::new(config),
            shown,
        }),
    }
}

/// The stand-in takes the keys of the judge that it stands for, and reads what the judge is shown only.
#[cfg(feature = "judge")]
fn stub_judge(settings: &Map<String, Value>) -> Result<Kind, String> {
    Ok(Kind::StubJudge {
        shown: shown(settings)?,
    })
}

#[cfg(feature = "judge")]
fn shown(settings: &Map<String, Value>) -> Result<Shown, String> {
    let ShownKeys {
        answer_in,
        section,
        pictures,
    } = typed(settings, &JUDGE_KEYS)?;
    let place = Place { answer_in, section };
    if place.answer_in != AnswerIn::Text {
        place.check_section("section", &place.section)?;
    } else if settings.contains_key("section") {
        return Err(
            "`section` has no effect, with `answer_in = \"text\"` the whole turn is judged; remove it".to_owned(),
        );
    }
    Ok(Shown { place, pictures })
}

#[cfg(feature = "judge")]
fn remote(settings: &Map<String, Value>) -> Result<Kind, String> {
    let config: RemoteConfig = typed(settings, &REMOTE_KEYS)?;
    config.check().map_err(|error| error.to_string())?;
    Ok(Kind::Remote(config))
}

#[cfg(not(feature = "judge"))]
use self::{not_built as judge, not_built as stub_judge, not_built as remote};

#[cfg(not(feature = "judge"))]
fn not_built(_: &Map<String, Value>) -> Result<Kind, String> {
    Err("this build asks no other machines; build it with the feature `judge`".to_owned())
}

/// `settings` as a `T`, which reads the keys `known`.
///
/// # Errors
/// Names the key that is unknown, with the nearest known one, or that has a wrong value.
fn typed<T: DeserializeOwned>(settings: &Map<String, Value>, known: &[&str]) -> Result<T, String> {
    if let Some(unknown) = settings.keys().find(|key| !known.contains(&key.as_str())) {
        // A key that all nodes have may have been misspelt too.
        let all = known.iter().chain(&NODE_KEYS).copied();
        let mend = match closest(unknown, all) {
            Some(key) => format!("did you mean `{key}`?"),
            None => hint(unknown, known),
        };
        return Err(format!("there is no key `{unknown}`; {mend}"));
    }
    let read = |settings: &Map<String, Value>| {
        serde_json::from_value::<T>(Value::Object(settings.clone())).map_err(|e| e.to_string())
    };
    read(settings).map_err(|problem| {
        // The key whose absence makes another error, or none, is the one in question.
        let guilty = settings.iter().find(|(key, _)| {
            let mut others = settings.clone();
            others.remove(*key);
            read(&others).err().as_ref() != Some(&problem)
        });
        match guilty {
            Some((key, value)) if !problem.starts_with("missing field") => {
                format!("`{key} = {value}` is not allowed: {problem}")
            }
            _ => problem,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(node: &str) -> String {
        let node: crate::NodeConfig = toml::from_str(node).unwrap();
        let verifier = node.verifier.as_deref().unwrap();
        let error = read(3, verifier, &node.settings, false)
            .unwrap()
            .unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("reward node 3: "), "{error}");
        error
    }

    #[test]
    fn a_plug_in_takes_its_keys() {
        let text = r#"
            style = "verl"
            kwargs = { scale = 2 }
            workers = 4
            timeout_seconds = 2.5
            memory_mb = 4096
            retries = 1
        "#;
        let settings = toml::from_str(text).unwrap();
        let service = read(0, "a/b.py:f", &settings, false).unwrap().unwrap();
        let Kind::Plugin { config, retries } = service.kind else {
            panic!("{service:?}");
        };
        let wanted = PluginConfig {
            style: Some(Style::Verl),
            kwargs: Map::from_iter([("scale".to_owned(), 2.into())]),
            workers: 4,
            timeout_seconds: 2.5,
            memory_mb: Some(4096),
            ..PluginConfig::parse("a/b.py:f").unwrap()
        };
        assert_eq!((config, retries), (wanted, 1));
        assert!(read(0, "tags", &settings, false).is_none());
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        for (node, message) in [
            (
                "verifier = \"a.py:f\"\ntimeout_second = 3",
                "the verifier `a.py:f`: there is no key `timeout_second`; did you mean `timeout_seconds`?",
            ),
            (
                "verifier = \"a.py:f\"\nwieght = 3",
                "did you mean `weight`?",
            ),
            (
                "verifier = \"a.py:f\"\nxyz = 3",
                "there is no key `xyz`; there are: style, ",
            ),
            (
                "verifier = \"a.py:f\"\nworkers = \"two\"",
                "`workers = \"two\"` is not allowed: invalid type: string \"two\", expected usize",
            ),
            (
                "verifier = \"a.py:f\"\nstyle = \"ppo\"\nkwargs = {}",
                "`style = \"ppo\"` is not allowed: unknown variant `ppo`",
            ),
            (
                "verifier = \"a.py:f\"\nworkers = 0",
                "the plug-in reward `a.py:f`: `workers = 0` is not allowed",
            ),
            (
                "verifier = \"a.py:f\"\ntimeout_seconds = 0",
                "`timeout_seconds = 0` is not allowed; it takes seconds above 0",
            ),
            (
                "verifier = \"a.py:f\"\nmemory_mb = 0",
                "`memory_mb = 0` is not allowed",
            ),
            (
                "verifier = \"a.py:f\"\nretries = 11",
                "`retries = 11` is not allowed; it takes a number from 0 to 10",
            ),
            ("verifier = \"reward_model\"", "missing field `path`"),
            (
                "verifier = \"reward_model\"\npath = \"a\"\nquestions = \"b\"",
                "did you mean `question`?",
            ),
            (
                "verifier = \"reward_model\"\npath = \"a\"\nby = \"score\"\nyes = \"y\"",
                "`yes` has no effect with `by = \"score\"`",
            ),
            (
                "verifier = \"reward_model\"\npath = \"a\"\nmax_tokens = 0",
                "a number from 1 on",
            ),
            ("verifier = \"a.py\"", "`a.py` is no plug-in reward"),
            ("verifier = \"a.py:f()\"", "`a.py:f()` is no plug-in reward"),
        ] {
            let error = error(node);
            assert!(error.contains(message), "{node}: {error}");
        }
    }

    #[cfg(feature = "judge")]
    #[test]
    fn wrong_keys_of_judges_and_servers_are_named() {
        const JUDGE: &str =
            "verifier = \"judge\"\nurl = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"\n";
        for (node, message) in [
            (
                format!("{JUDGE}scale = \"yes_no\""),
                "missing field `prompt`",
            ),
            (
                format!("{JUDGE}scale = \"yes_no\"\nprompt = \"{{answer}}\"\ncachee = \"c\""),
                "there is no key `cachee`; did you mean `cache`?",
            ),
            (
                format!("{JUDGE}scale = \"yes_no\"\nprompt = \"{{answer}}\"\nattempts = 0"),
                "the verifier `judge`: `attempts = 0` is not allowed",
            ),
            (
                format!("{JUDGE}scale = \"yes_no\"\nprompt = \"{{answer}}\"\nattempts = \"x\""),
                "`attempts = \"x\"` is not allowed: invalid type",
            ),
            (
                format!("{JUDGE}scale = \"yesno\"\nprompt = \"{{answer}}\""),
                "`scale = \"yesno\"` is not allowed: unknown variant",
            ),
            (
                format!("{JUDGE}scale = \"yes_no\"\nprompt = \"{{answer}}{{image}}\""),
                "set `pictures = true`",
            ),
            (
                format!("{JUDGE}scale = \"yes_no\"\nprompt = \"{{answer}}\"\npictures = true"),
                "`pictures = true` has no effect on a prompt without `{image}`",
            ),
            (
                "verifier = \"stub_judge\"\nanswr_in = \"text\"".to_owned(),
                "did you mean `answer_in`?",
            ),
            (
                "verifier = \"remote\"".to_owned(),
                "missing field `servers`",
            ),
            (
                "verifier = \"remote\"\nservers = []".to_owned(),
                "`servers` needs at least one",
            ),
            (
                "verifier = \"remote\"\nservers = [\"10.0.0.1\"]".to_owned(),
                "`10.0.0.1` is not the address",
            ),
            (
                "verifier = \"remote\"\nserver = [\"http://a:1\"]".to_owned(),
                "did you mean `servers`?",
            ),
        ] {
            let error = error(&node);
            assert!(error.contains(message), "{node}: {error}");
        }
    }

    #[cfg(feature = "judge")]
    #[test]
    fn the_lists_of_keys_are_complete() {
        let judge: JudgeConfig = toml::from_str(
            r#"
            url = "http://127.0.0.1:1"
            model = "m"
            api_key_env = "OCELLI_NOT_SET"
            system = "s"
            prompt = "{answer}"
            scale = "yes_no"
            cache = "c"
            "#,
        )
        .unwrap();
        let remote = RemoteConfig {
            token_env: Some("t".into()),
            nodes: Some(Vec::new()),
            ..RemoteConfig::new(Vec::new())
        };
        let keys =
            |value: Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        for (written, listed, more) in [
            (serde_json::to_value(&judge), &JUDGE_KEYS[..], 3),
            (serde_json::to_value(&remote), &REMOTE_KEYS[..], 0),
        ] {
            let written = keys(written.unwrap());
            assert_eq!(written.len() + more, listed.len());
            assert!(written.iter().all(|key| listed.contains(&key.as_str())));
        }
    }
}
