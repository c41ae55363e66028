//! Chat templates that recipes call by name.

use super::MergingError;
use refit_core::nearest;

/// Names and templates.
const TEMPLATES: [(&str, &str); 5] = [
    ("alpaca", include_str!("templates/alpaca.jinja")),
    ("chatml", include_str!("templates/chatml.jinja")),
    ("exaone", include_str!("templates/exaone.jinja")),
    ("llama3", include_str!("templates/llama3.jinja")),
    ("mistral", include_str!("templates/mistral.jinja")),
];

/// The template that a recipe gives, by name or in full; `None` where it gives none, or `auto`, which is for others to
/// find.
///
/// # Errors
/// [`MergingError::ChatTemplate`] for a name that stands for none.
pub(super) fn chat_template(given: Option<&str>) -> Result<Option<&str>, MergingError> {
    let Some(given) = given.filter(|text| *text != "auto") else {
        return Ok(None);
    };
    let named = TEMPLATES.iter().find(|(name, _)| *name == given);
    if let Some((_, template)) = named {
        return Ok(Some(template));
    }
    if given.contains("{{") || given.contains("{%") {
        return Ok(Some(given));
    }
    let names = TEMPLATES.iter().map(|(name, _)| *name);
    Err(MergingError::ChatTemplate {
        found: given.chars().take(80).collect(),
        nearest: nearest(given, names.chain(["auto"])).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_given_by_name_in_full_or_not_at_all() {
        assert_eq!(chat_template(None).unwrap(), None);
        assert_eq!(chat_template(Some("auto")).unwrap(), None);
        let own = "{% for m in messages %}{{ m.content }}{% endfor %}";
        assert_eq!(chat_template(Some(own)).unwrap(), Some(own));
        for (name, text) in TEMPLATES {
            let found = chat_template(Some(name)).unwrap();
            assert!(
                found == Some(text)
                    && text.contains("add_generation_prompt") != (name == "mistral")
            );
        }
        let Err(MergingError::ChatTemplate { nearest, .. }) = chat_template(Some("lama3")) else {
            panic!("a name that stands for none");
        };
        assert_eq!(nearest.as_deref(), Some("llama3"));
    }
}
