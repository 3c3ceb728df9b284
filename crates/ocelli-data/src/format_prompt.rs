//! EasyR1's format prompt: a Jinja file that a question is put into.

use std::fs;
use std::path::Path;

use minijinja::{Environment, context};

use crate::error::DataError;

/// A parsed format prompt. Its one variable is `content`, the question.
#[derive(Clone, Debug)]
pub(crate) struct FormatPrompt {
    environment: Environment<'static>,
}

const NAME: &str = "format_prompt";

impl FormatPrompt {
    /// Reads the file `path`. White space at its ends is left out, as EasyR1 does.
    ///
    /// # Errors
    /// If it cannot be read, does not parse, or does not show `content`.
    pub(crate) fn read(path: &Path) -> Result<Self, DataError> {
        let text = fs::read_to_string(path).map_err(|source| DataError::read(path, source))?;
        Self::parse(&text).map_err(|problem| DataError::file(path, problem))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment
            .add_template_owned(NAME, text.trim().to_owned())
            .map_err(|error| format!("no Jinja template: {error}"))?;
        let prompt = Self { environment };
        if prompt.fill("1")? == prompt.fill("2")? {
            return Err(
                "the question does not show: write `{{ content }}` where it goes".to_owned(),
            );
        }
        Ok(prompt)
    }

    /// The template with `content` in it.
    ///
    /// # Errors
    /// What the template does not take.
    pub(crate) fn fill(&self, content: &str) -> Result<String, String> {
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(context! { content }))
            .map_err(|error| format!("the format prompt cannot be filled: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_filled_in_as_jinja_does() {
        let text =
            "\n{{ content | trim }} Reason in <think> </think>, then {\"a\": 1} \\boxed{}.\n\n";
        let prompt = FormatPrompt::parse(text).unwrap();
        assert_eq!(
            prompt.fill(" <image>3 < 4 & \"5\"?\n").unwrap(),
            "<image>3 < 4 & \"5\"? Reason in <think> </think>, then {\"a\": 1} \\boxed{}."
        );
        let python = FormatPrompt::parse("{{ content.strip() }}!").unwrap();
        assert_eq!(python.fill(" a ").unwrap(), "a!");
    }

    #[test]
    fn templates_without_a_question_and_broken_ones_are_refused() {
        for (text, wanted) in [
            ("Think first.", "{{ content }}"),
            ("{{ question }}", "{{ content }}"),
            ("{{ content", "no Jinja template"),
            ("{{ content | frobnicate }}", "frobnicate"),
        ] {
            let error = FormatPrompt::parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
