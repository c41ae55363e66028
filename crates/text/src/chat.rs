//! Conversations as the text that a model was trained on, by the template that its publisher put beside it.

use crate::{
    Day, TextError,
    json::to_json,
    special::{LARGEST_FILE, SETTINGS, keys, special_tokens},
};
use minijinja::{Environment, Error, ErrorKind, context, syntax::SyntaxConfig, value::Serde};
use refit_io::file::read_file;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Steps after which a template is stopped: many times what the longest published ones need.
const FUEL: u64 = 2_000_000;
/// The template where a file names several.
const DEFAULT: &str = "default";

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`, or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// What the user says.
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            role: "user".into(),
            content: content.into(),
        }
    }

    /// What the system says before all else.
    pub fn system(content: impl Into<String>) -> Self {
        Self {
            role: "system".into(),
            content: content.into(),
        }
    }
}

/// The Jinja template of a model: `chat_template.jinja`, or the key `chat_template` of `tokenizer_config.json` or of
/// `chat_template.json`. What it marks as `generation` is rendered as it stands there.
///
/// A template comes from whoever published the model and is run for a bounded number of steps, without files or network. Their
/// memory is not bounded: a template that doubles a text or a list at every step can take all there is. Only the
/// day is told to it, by `strftime_now`, as it is where models are trained and served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    path: PathBuf,
    source: String,
    /// Tokens that the template may name, such as `bos_token`.
    tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Finds the template of the model in `folder`; `None` where its publisher gave none.
    ///
    /// # Errors
    /// A file that is damaged, or several templates of which none is called `default`.
    ///
    /// # Example
    /// ```
    /// use refit_text::{ChatTemplate, Day, Message};
    /// # use refit_io::atomic::{Overwrite, write_file};
    /// # let home = tempfile::tempdir()?;
    /// # let template = "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}\n{% endfor %}<assistant>";
    /// # write_file(home.path().join("chat_template.jinja"), template.as_bytes(), Overwrite::Refuse)?;
    /// let template = ChatTemplate::open(home.path())?.expect("the folder has one");
    /// assert_eq!(template.render(&[Message::user("Who are you?")], Day::now())?, "<user>Who are you?\n<assistant>");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(folder: impl AsRef<Path>) -> Result<Option<Self>, TextError> {
        let folder = folder.as_ref();
        let Some((path, source)) = find(folder)? else {
            return Ok(None);
        };
        let template = Self {
            source: without_marks(&source).into_owned(),
            path,
            tokens: special_tokens(folder)?,
        };
        template.environment(Day::now())?; // says what is wrong before anything else is done
        Ok(Some(template))
    }

    /// The conversation so far and the beginning of the answer, on some day.
    ///
    /// # Errors
    /// What the template says is wrong with the conversation; a template that asks for what there is not, or never ends.
    pub fn render(&self, messages: &[Message], day: Day) -> Result<String, TextError> {
        let environment = self.environment(day)?;
        let template = environment
            .get_template(DEFAULT)
            .map_err(|e| self.failed(&e))?;
        let tokens = minijinja::Value::from(Serde(&self.tokens));
        // There is nothing to call or to read beside the conversation, which templates are told by none.
        let (tools, documents) = ((), ());
        let values = context! {
            messages => Serde(messages), add_generation_prompt => true, tools, documents, ..tokens
        };
        template.render(values).map_err(|e| self.failed(&e))
    }

    fn environment(&self, day: Day) -> Result<Environment<'_>, TextError> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        // As transformers has it.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|e| self.failed(&e))?);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |problem: String| -> Result<String, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, problem))
            },
        );
        environment.add_function("strftime_now", move |format: String| {
            let problem = || format!("`{format}` is no format of a day");
            let told = day.format(&format);
            told.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, problem()))
        });
        environment.add_filter("tojson", to_json);
        environment
            .add_template(DEFAULT, &self.source)
            .map_err(|e| self.failed(&e))?;
        Ok(environment)
    }

    fn failed(&self, error: &Error) -> TextError {
        wrong(&self.path, error)
    }
}

/// Where the template of a model stands, and its text.
fn find(folder: &Path) -> Result<Option<(PathBuf, String)>, TextError> {
    let file = folder.join("chat_template.jinja");
    match read_file(&file, LARGEST_FILE) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes).map_err(|_| wrong(&file, "it is not UTF-8"))?;
            return Ok(Some((file, text)));
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    for name in [SETTINGS, "chat_template.json"] {
        let file = folder.join(name);
        let keys = keys(&file)?.unwrap_or_default();
        let Some(found) = keys.get("chat_template").filter(|value| !value.is_null()) else {
            continue;
        };
        let source = named(found).ok_or_else(|| {
            let problem = "`chat_template` is neither a text nor a list with one called `default`";
            wrong(&file, problem)
        })?;
        return Ok(Some((file, source.to_owned())));
    }
    Ok(None)
}

/// The template without its marks of what the model says, `{% generation %}` and `{% endgeneration %}`, which are of use in
/// training alone: blocks that are always rendered stand in their place, so that white space around them stays what it was.
fn without_marks(source: &str) -> Cow<'_, str> {
    let mark = |block: &str| {
        let word = block
            .trim_start_matches(['-', '+'])
            .trim_end_matches(['-', '+']);
        match word.trim() {
            "generation" => Some(block.replace("generation", "if true")),
            "endgeneration" => Some(block.replace("endgeneration", "endif")),
            _ => None,
        }
    };
    let mut found = Cow::Borrowed(source);
    let (mut from, mut written) = (0, 0);
    while let Some(open) = source[from..].find("{%") {
        let start = from + open + 2;
        let Some(length) = source[start..].find("%}") else {
            break;
        };
        from = start + length + 2;
        if let Some(block) = mark(&source[start..start + length]) {
            let done = match found {
                Cow::Borrowed(_) => String::new(),
                Cow::Owned(done) => done,
            };
            found = Cow::Owned(done + &source[written..start] + &block);
            written = start + length;
        }
    }
    match found {
        Cow::Borrowed(_) => found,
        Cow::Owned(done) => Cow::Owned(done + &source[written..]),
    }
}

fn wrong(path: &Path, problem: impl std::fmt::Display) -> TextError {
    TextError::ChatTemplate {
        path: path.into(),
        problem: problem.to_string(),
    }
}

/// The template itself, or the one called `default` of a list.
fn named(found: &Value) -> Option<&str> {
    if let Some(text) = found.as_str() {
        return Some(text);
    }
    let mut all = found.as_array()?.iter();
    let default = all.find(|one| one.get("name").and_then(Value::as_str) == Some(DEFAULT));
    default?.get("template")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_io::atomic::{Overwrite, write_file};
    use serde_json::json;
    use tempfile::TempDir;

    fn folder(settings: &Value) -> TempDir {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tokenizer_config.json");
        write_file(path, settings.to_string().as_bytes(), Overwrite::Refuse).unwrap();
        home
    }

    fn render(template: &ChatTemplate, messages: &[Message]) -> Result<String, TextError> {
        template.render(messages, "2026-02-03".parse().unwrap())
    }

    #[test]
    fn a_template_is_told_what_there_is_not_and_writes_json_as_python_does() {
        let source =
            "{% if tools is not none %}TOOLS{% endif %}{% if documents is none %}none{% endif %}
{{- messages[0].content | tojson }}{{ strftime_now('%Q') if messages | length > 1 }}";
        let template = open(&json!({ "chat_template": source })).unwrap().unwrap();
        let one = Message::user("Hi <b> & 'é'");
        let found = render(&template, std::slice::from_ref(&one)).unwrap();
        assert_eq!(found, "none\"Hi <b> & 'é'\"");
        let error = render(&template, &[one.clone(), one])
            .unwrap_err()
            .to_string();
        assert!(error.contains("`%Q` is no format of a day"), "{error}");
    }

    fn open(settings: &Value) -> Result<Option<ChatTemplate>, TextError> {
        ChatTemplate::open(folder(settings).path())
    }

    /// Our own, with what published ones use: trimmed blocks, methods of Python, a namespace, loop variables, tests.
    const TURNS: &str = "{{- bos_token }}
{%- set state = namespace(system='') %}
{%- for turn in messages %}
    {%- if turn['role'] == 'system' %}
        {%- set state.system = turn['content'].strip() %}
    {%- endif %}
{%- endfor %}
{%- for turn in messages if turn.role != 'system' %}
    {%- if (turn.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('turns must alternate') }}
    {%- endif %}
    {{- '[' + turn.role.upper() + ']' + ((state.system + '|') if loop.first and state.system else '') + turn.content }}
{%- endfor %}
{%- if add_generation_prompt and tools is none and not documents %}{{- strftime_now('[%d %b %Y]') }}{%- endif %}";

    #[test]
    fn a_conversation_becomes_the_text_of_its_template() {
        let settings =
            json!({ "chat_template": TURNS, "bos_token": { "content": "<s>" }, "pad_token": null });
        let template = open(&settings).unwrap().unwrap();
        let found = render(
            &template,
            &[Message::system(" be short "), Message::user("Hi")],
        );
        assert_eq!(found.unwrap(), "<s>[USER]be short|Hi[03 Feb 2026]");
        let error = render(&template, &[Message::user("a"), Message::user("b")]).unwrap_err();
        assert!(
            error.to_string().contains("turns must alternate"),
            "{error}"
        );
    }

    #[test]
    fn the_default_of_several_is_taken_and_a_file_goes_first() {
        let several = json!({ "chat_template": [
            { "name": "tool_use", "template": "tools" }, { "name": "default", "template": "turns" },
        ] });
        let home = folder(&several);
        let render = || render(&ChatTemplate::open(home.path()).unwrap().unwrap(), &[]).unwrap();
        assert_eq!(render(), "turns");
        write_file(
            home.path().join("chat_template.jinja"),
            b"file\n",
            Overwrite::Refuse,
        )
        .unwrap();
        assert_eq!(render(), "file"); // as Jinja does
    }

    #[test]
    fn a_token_that_only_the_list_of_special_ones_names_is_there() {
        let home = folder(
            &json!({ "chat_template": "{{ bos_token }}|{{ eos_token }}", "eos_token": "</s>" }),
        );
        let render = || {
            let template = ChatTemplate::open(home.path()).unwrap().unwrap();
            super::tests::render(&template, &[]).unwrap()
        };
        assert_eq!(render(), "|</s>");
        let map = br#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "<end>"}"#;
        let path = home.path().join("special_tokens_map.json");
        write_file(path, map, Overwrite::Refuse).unwrap();
        assert_eq!(render(), "<s>|</s>");
    }

    #[test]
    fn a_template_may_stand_in_a_file_of_its_own() {
        let home = folder(&json!({ "bos_token": "<s>" }));
        let own = br#"{"chat_template": "{{ bos_token }}own"}"#;
        let path = home.path().join("chat_template.json");
        write_file(path, own, Overwrite::Refuse).unwrap();
        let render = || {
            let template = ChatTemplate::open(home.path()).unwrap().unwrap();
            super::tests::render(&template, &[]).unwrap()
        };
        assert_eq!(render(), "<s>own");
        let settings = home.path().join("tokenizer_config.json");
        let text = br#"{"chat_template": "settings"}"#;
        write_file(settings, text, Overwrite::Replace).unwrap();
        assert_eq!(render(), "settings");
    }

    #[test]
    fn marks_of_what_the_model_says_change_nothing() {
        let turns = "{% for turn in messages %}
{{ turn.role }}:
{%- generation %}
  {{ turn.content }}
{% endgeneration -%}

{% endfor %}";
        let template = open(&json!({ "chat_template": turns })).unwrap().unwrap();
        let found = render(&template, &[Message::user("a"), Message::user("b")]);
        assert_eq!(found.unwrap(), "user:  a\nuser:  b\n");
        assert_eq!(
            without_marks("{% if generation %}x"),
            "{% if generation %}x"
        );
        assert_eq!(without_marks("{% a"), "{% a");
    }

    /// Python's formatting by `%` is no part of Jinja here: it is told, not guessed.
    #[test]
    fn a_percent_sign_between_texts_is_refused() {
        let template = open(&json!({ "chat_template": "{{ '%s!' % messages[0].content }}" }));
        let error = render(&template.unwrap().unwrap(), &[Message::user("a")]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("tried to use % operator on unsupported types string and string"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_template_is_told_and_none_is_no_error() {
        assert_eq!(open(&json!({})).unwrap(), None);
        assert_eq!(
            ChatTemplate::open(tempfile::tempdir().unwrap().path()).unwrap(),
            None
        );
        for bad in [
            json!("{% for %}"),
            json!(7),
            json!([{ "name": "tools", "template": "" }]),
        ] {
            let error = open(&json!({ "chat_template": bad })).unwrap_err();
            assert!(matches!(error, TextError::ChatTemplate { .. }), "{error}");
        }
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let endless =
            "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}";
        let template = open(&json!({ "chat_template": endless })).unwrap().unwrap();
        let error = render(&template, &[]).unwrap_err().to_string();
        assert!(error.contains("fuel"), "{error}");
    }
}
