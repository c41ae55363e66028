//! `--config FILE`: flags from a YAML file.
//!
//! The file's pairs are put in front of the flags of the command line, so that there is one parser, one set of names
//! and one set of checks, and so that the command line wins. Settings that have no flag are left to the verb.

use super::{Cli, demo, error::CliError};
use crate::yaml::read_mapping;
use clap::{Arg, Command, CommandFactory};
use refit_core::{ConfigError, nearest};
use serde_json::Value;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Puts the pairs of a `--config` file, if one is given, behind the verb.
pub(super) fn expand(mut args: Vec<OsString>) -> Result<Vec<OsString>, CliError> {
    let Some(path) = config_path(&args) else {
        return Ok(args);
    };
    let command = Cli::command();
    let Some(verb) = args.get(1).and_then(|v| command.find_subcommand(v)) else {
        return Ok(args); // the parser knows better what is wrong
    };
    let settings = settings_of(verb);
    let mut flags = Vec::new();
    for (key, value) in read_mapping(&path)? {
        match find(verb, &key) {
            Some(arg) => push(&mut flags, arg, &key, &value).map_err(|e| in_file(&e, &path))?,
            None if settings.contains(&key) => {} // read by the verb, which knows its preset
            None => return Err(unknown(verb, &settings, &key, &path)),
        }
    }
    args.splice(2..2, flags.into_iter().map(OsString::from));
    Ok(args)
}

/// The value of `--config`, in either spelling.
fn config_path(args: &[OsString]) -> Option<PathBuf> {
    let mut words = args.iter().skip(1).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(path) = word.to_str().and_then(|w| w.strip_prefix("--config=")) {
            return Some(path.into());
        }
    }
    None
}

fn find<'a>(verb: &'a Command, key: &str) -> Option<&'a Arg> {
    verb.get_arguments()
        .find(|arg| arg.get_long() == Some(key) && key != "config")
}

/// Keys that a verb takes from the file beside its flags.
fn settings_of(verb: &Command) -> Vec<String> {
    match verb.get_name() {
        "demo" => demo::setting_keys(),
        _ => Vec::new(),
    }
}

fn unknown(verb: &Command, settings: &[String], key: &str, path: &Path) -> CliError {
    let flags = verb.get_arguments().filter_map(Arg::get_long);
    let valid = flags
        .filter(|name| *name != "config")
        .chain(settings.iter().map(String::as_str));
    let error = CliError::plain(
        super::error::Exit::BadInput,
        format!(
            "`{}` sets `{key}`, which `refit {}` does not know",
            path.display(),
            verb.get_name()
        ),
    );
    match nearest(key, valid) {
        Some(name) => error.hint(format!("did you mean `{name}`?")),
        None => error.hint(format!(
            "`refit {} --help` lists what can be set",
            verb.get_name()
        )),
    }
}

fn in_file(error: &ConfigError, path: &Path) -> CliError {
    CliError::plain(
        super::error::Exit::BadInput,
        format!("`{}`: {error}", path.display()),
    )
}

/// Appends `value` as the command line would spell it.
fn push(flags: &mut Vec<String>, arg: &Arg, key: &str, value: &Value) -> Result<(), ConfigError> {
    let takes_value = arg.get_action().takes_values();
    let expected = if takes_value {
        "a single value"
    } else {
        "true or false"
    };
    match value {
        Value::Bool(true) if !takes_value => flags.push(format!("--{key}")),
        Value::Bool(false) if !takes_value => {}
        Value::Null => {}
        Value::Bool(on) if takes_value => flags.push(format!("--{key}={on}")),
        Value::Number(number) if takes_value => flags.push(format!("--{key}={number}")),
        Value::String(text) if takes_value => flags.push(format!("--{key}={text}")),
        Value::Array(items) => {
            return items.iter().try_for_each(|item| match item {
                Value::Array(_) => Err(ConfigError::range(key.to_owned(), item, expected)),
                item => push(flags, arg, key, item),
            });
        }
        other => return Err(ConfigError::range(key.to_owned(), other, expected)),
    }
    Ok(())
}
