//! What the environment says about the hub.

use std::{ffi::OsString, fmt, path::PathBuf};

/// The hub that is meant when nothing else is said.
const PUBLIC_HUB: &str = "https://huggingface.co";

/// A secret of the user. It has no text form, so that it cannot reach a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a token; `None` where it is empty or no single printable word.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let printable = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        printable.then(|| Self(text.to_owned()))
    }

    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Settings that other tools of the hub read from the environment, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubEnv {
    /// Folder of the cache: `HF_HUB_CACHE`, `HF_HOME/hub`, `XDG_CACHE_HOME/huggingface/hub` or
    /// `~/.cache/huggingface/hub`.
    pub cache: Option<PathBuf>,
    /// Address of the hub: `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// `HF_TOKEN`.
    pub token: Option<Token>,
    /// Whether `HF_TOKEN` is set to what can be no token.
    pub token_is_malformed: bool,
    /// Whether no request may be made: `HF_HUB_OFFLINE` is `1`, `on`, `yes` or `true`.
    pub offline: bool,
}

impl HubEnv {
    /// Asks `variable` for each setting; the program gives `std::env::var_os`, a test gives a table.
    ///
    /// ```
    /// use refit_io::hub::HubEnv;
    /// let env = HubEnv::read(|name| (name == "HF_HOME").then(|| "/data/hf".into()));
    /// assert_eq!(env.cache.as_deref(), Some("/data/hf/hub".as_ref()));
    /// assert_eq!(env.endpoint, "https://huggingface.co");
    /// ```
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let text = |name| set(name).and_then(|value| value.into_string().ok());
        let path = |name, below: &str| set(name).map(|value| PathBuf::from(value).join(below));
        let cache = set("HF_HUB_CACHE")
            .map(PathBuf::from)
            .or_else(|| path("HF_HOME", "hub"))
            .or_else(|| path("XDG_CACHE_HOME", "huggingface/hub"))
            .or_else(|| path("HOME", ".cache/huggingface/hub"))
            .or_else(|| path("USERPROFILE", ".cache/huggingface/hub"));
        let token = set("HF_TOKEN").map(|token| token.to_str().and_then(Token::new));
        let offline = text("HF_HUB_OFFLINE").map(|word| word.to_ascii_lowercase());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| PUBLIC_HUB.to_owned());
        Self {
            cache,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token_is_malformed: token == Some(None),
            token: token.flatten(),
            offline: matches!(offline.as_deref(), Some("1" | "on" | "yes" | "true")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(set: &[(&str, &str)]) -> HubEnv {
        HubEnv::read(|name| {
            let found = set.iter().find(|pair| pair.0 == name);
            found.map(|pair| pair.1.into())
        })
    }

    #[test]
    fn the_nearest_setting_of_the_cache_wins() {
        let all = [
            ("HF_HUB_CACHE", "/a"),
            ("HF_HOME", "/b"),
            ("XDG_CACHE_HOME", "/c"),
            ("HOME", "/d"),
        ];
        let expected = [
            "/a",
            "/b/hub",
            "/c/huggingface/hub",
            "/d/.cache/huggingface/hub",
        ];
        for (i, expected) in expected.iter().enumerate() {
            assert_eq!(env(&all[i..]).cache, Some(expected.into()));
        }
        assert_eq!(env(&[]).cache, None);
        assert_eq!(
            env(&[("HF_HUB_CACHE", ""), ("HOME", "/d")]).cache,
            env(&all[3..]).cache
        );
    }

    #[test]
    fn requests_are_forbidden_in_the_words_of_other_tools() {
        for (word, expected) in [
            ("1", true),
            ("True", true),
            ("ON", true),
            ("0", false),
            ("", false),
        ] {
            assert_eq!(env(&[("HF_HUB_OFFLINE", word)]).offline, expected, "{word}");
        }
        assert!(!env(&[]).offline);
    }

    #[test]
    fn a_token_has_no_text_form() {
        let env = env(&[
            ("HF_TOKEN", " hf_secret\n"),
            ("HF_ENDPOINT", "http://hub.local/"),
        ]);
        assert_eq!(env.token.as_ref().unwrap().header(), "Bearer hf_secret");
        assert_eq!(env.endpoint, "http://hub.local");
        assert!(!format!("{env:?}").contains("secret"));
        assert!(!env.token_is_malformed);
        let bad = self::env(&[("HF_TOKEN", "two words")]);
        assert!(bad.token_is_malformed && bad.token.is_none());
        assert_eq!(Token::new("two words"), None);
        assert_eq!(Token::new("a\r\nb: c"), None);
    }
}
