//! Why a plug-in cannot be used. All of these come before training.

/// What is wrong with a plug-in reward, with the mend. `plugin` is `file.py:function` as the recipe writes it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PluginError {
    /// Not of the form `file.py:function`.
    #[error(
        "`{given}` is no plug-in reward; write the file and the function, as in `my_rewards.py:compute_score`"
    )]
    BadName { given: String },
    /// A setting out of range.
    #[error("the plug-in reward `{plugin}`: `{key} = {value}` is not allowed; it takes {wanted}")]
    BadValue {
        plugin: String,
        key: &'static str,
        value: String,
        wanted: &'static str,
    },
    /// There is no such file.
    #[error(
        "the plug-in reward `{plugin}`: there is no file `{looked_at}`; write its path in full, or mend the folder \
         that it starts from"
    )]
    NoFile { plugin: String, looked_at: String },
    /// The interpreter could not be started.
    #[error(
        "the plug-in reward `{plugin}` needs Python, and `{python}` cannot be started ({reason}); install Python 3.8 or \
         later, or name an interpreter with `python` or the environment variable OCELLI_PYTHON"
    )]
    NoInterpreter {
        plugin: String,
        python: String,
        reason: String,
    },
    /// Python cannot read the file.
    #[error("the plug-in reward `{plugin}`: the file is no valid Python: {message}")]
    Syntax { plugin: String, message: String },
    /// An import of the file fails.
    #[error(
        "the plug-in reward `{plugin}`: an import failed: {message}; install what is missing for `{python}`, or name \
         another interpreter with `python` or the environment variable OCELLI_PYTHON"
    )]
    Import {
        plugin: String,
        message: String,
        python: String,
    },
    /// The file raises while it is loaded.
    #[error("the plug-in reward `{plugin}`: loading the file raised {message}")]
    Load { plugin: String, message: String },
    /// The file has no such function.
    #[error("the plug-in reward `{plugin}`: the file has no function `{function}`; {hint}")]
    NoFunction {
        plugin: String,
        function: String,
        /// The nearest name that the file defines, or all of them.
        hint: String,
    },
    /// The name is something else than a function.
    #[error(
        "the plug-in reward `{plugin}`: `{function}` is {found} and no function; name a function"
    )]
    NotAFunction {
        plugin: String,
        function: String,
        found: String,
    },
    /// The calling convention cannot be told from the function.
    #[error(
        "the plug-in reward `{plugin}`: cannot tell how to call it from its arguments ({arguments}); say so with \
         `style = \"easyr1_batch\"`, `\"easyr1\"`, `\"verl\"` or `\"trl\"`"
    )]
    UnknownStyle { plugin: String, arguments: String },
    /// `kwargs` and the function's arguments do not fit.
    #[error("the plug-in reward `{plugin}`: {message}")]
    BadKwargs { plugin: String, message: String },
    /// The worker ended, hung or said something else before it was ready.
    #[error("the plug-in reward `{plugin}`: the worker did not start: {message}")]
    NotStarted { plugin: String, message: String },
}
