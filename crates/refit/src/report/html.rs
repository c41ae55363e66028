//! Building markup so that text can never become markup.
//!
//! Names of tasks and files come from users' folders. Tags and attribute names are `&'static str`, everything else is
//! escaped on its way in, and there is no way to append raw text from outside.

use std::fmt::{Display, Write};

/// Attributes of an element.
pub(crate) type Attrs<'a> = &'a [(&'static str, &'a dyn Display)];

/// Markup under construction (HTML and SVG alike).
#[derive(Debug, Default)]
pub(crate) struct Html {
    text: String,
}

impl Html {
    /// Appends escaped text.
    pub(crate) fn text(&mut self, text: impl Display) -> &mut Self {
        write!(Escape(&mut self.text), "{text}").expect("a string takes everything");
        self
    }

    /// Appends `<tag attrs>`, whatever `inner` adds, and `</tag>`.
    pub(crate) fn el(
        &mut self,
        tag: &'static str,
        attrs: Attrs<'_>,
        inner: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.open(tag, attrs, ">");
        inner(self);
        self.text.push_str("</");
        self.text.push_str(tag);
        self.text.push('>');
        self
    }

    /// Appends an element that holds nothing but text.
    pub(crate) fn leaf(
        &mut self,
        tag: &'static str,
        attrs: Attrs<'_>,
        text: impl Display,
    ) -> &mut Self {
        self.el(tag, attrs, |h| {
            h.text(text);
        })
    }

    /// Appends an element without content, such as `<meta>` or an SVG `<line>`.
    pub(crate) fn empty(&mut self, tag: &'static str, attrs: Attrs<'_>) -> &mut Self {
        self.open(tag, attrs, "/>");
        self
    }

    /// Appends the style sheet of the program, which is trusted because it is compiled in.
    pub(crate) fn style(&mut self, sheet: &'static str) -> &mut Self {
        self.text.push_str("<style>");
        self.text.push_str(sheet);
        self.text.push_str("</style>");
        self
    }

    /// Appends the document type.
    pub(crate) fn doctype(&mut self) -> &mut Self {
        self.text.push_str("<!doctype html>\n");
        self
    }

    /// Appends a part that is wider than a narrow screen: it scrolls on its own, by keyboard too.
    pub(crate) fn scroll(&mut self, label: &str, body: impl FnOnce(&mut Self)) -> &mut Self {
        let attrs: Attrs<'_> = &[
            ("class", &"scroll"),
            ("tabindex", &0),
            ("role", &"region"),
            ("aria-label", &label),
        ];
        self.el("div", attrs, body)
    }

    /// Ends a line, to keep the file pleasant to read.
    pub(crate) fn newline(&mut self) -> &mut Self {
        self.text.push('\n');
        self
    }

    /// The finished text.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn open(&mut self, tag: &'static str, attrs: Attrs<'_>, end: &str) {
        self.text.push('<');
        self.text.push_str(tag);
        for (name, value) in attrs {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.text(value);
            self.text.push('"');
        }
        self.text.push_str(end);
    }
}

/// Escapes what passes through, for text and for quoted attribute values.
struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Control characters are not allowed in a document, and text that turns the reading direction
                // could make a name look like another one.
                c if is_unsafe(c) => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

fn is_unsafe(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_are_escaped() {
        let hostile = "\"><script>alert('x')</script>&\u{202e}\0";
        let mut h = Html::default();
        h.leaf("td", &[("title", &hostile)], hostile);
        let escaped =
            "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;\u{fffd}\u{fffd}";
        assert_eq!(
            h.finish(),
            format!("<td title=\"{escaped}\">{escaped}</td>")
        );
    }

    #[test]
    fn elements_nest() {
        let mut h = Html::default();
        h.el("p", &[], |h| {
            h.text("a")
                .leaf("b", &[("class", &"k")], 3)
                .empty("br", &[]);
        });
        assert_eq!(h.finish(), "<p>a<b class=\"k\">3</b><br/></p>");
    }
}
