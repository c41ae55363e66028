//! JSON as Python writes it, which chat templates were tried with.

use minijinja::{Error, ErrorKind, Value, value::Kwargs};
use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};
use std::io::{self, Write};

/// Most spaces by which a level is moved in.
const MOST_INDENT: usize = 64;

/// The filter `tojson` of chat templates: `json.dumps` with its arguments `indent`, `separators`, `ensure_ascii` and
/// `sort_keys`.
#[expect(clippy::needless_pass_by_value, reason = "as filters are called")]
pub(crate) fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let failed = |problem: String| Error::new(ErrorKind::InvalidOperation, problem);
    let between = if indent.is_some() { "," } else { ", " };
    let [between, colon] = match separators.as_deref() {
        None => [between.to_owned(), ": ".to_owned()],
        Some([between, colon]) => [between.clone(), colon.clone()],
        Some(_) => return Err(failed("`separators` are two texts".to_owned())),
    };
    let indent = indent.map(|spaces| " ".repeat(spaces.min(MOST_INDENT)));
    let layout = Layout {
        between,
        colon,
        indent,
        ascii: ascii.unwrap_or(false),
        depth: 0,
        is_empty: true,
    };
    let mut text = Vec::new();
    let mut out = Serializer::with_formatter(&mut text, layout);
    let written = match sorted {
        Some(true) => serde_json::to_value(&value).and_then(|mut value| {
            value.sort_all_objects();
            value.serialize(&mut out)
        }),
        _ => value.serialize(&mut out),
    };
    written.map_err(|error| failed(error.to_string()))?;
    String::from_utf8(text).map_err(|error| failed(error.to_string()))
}

/// Where spaces and line breaks stand.
struct Layout {
    between: String,
    colon: String,
    /// Spaces of a level, where each value has a line of its own.
    indent: Option<String>,
    /// Whether other than the first 128 characters are written by number.
    ascii: bool,
    depth: usize,
    /// Whether the list or object that ends next has no value.
    is_empty: bool,
}

impl Layout {
    fn open(&mut self, out: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        out.write_all(bracket)
    }

    fn close(&mut self, out: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if !self.is_empty {
            self.break_line(out)?;
        }
        self.is_empty = false;
        out.write_all(bracket)
    }

    fn next(&mut self, out: &mut (impl Write + ?Sized), first: bool) -> io::Result<()> {
        if !first {
            out.write_all(self.between.as_bytes())?;
        }
        self.is_empty = false;
        self.break_line(out)
    }

    fn break_line(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let Some(indent) = &self.indent else {
            return Ok(());
        };
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(indent.as_bytes()))
    }
}

impl Formatter for Layout {
    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"]")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"}")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(self.colon.as_bytes())
    }

    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.ascii {
            return out.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            if character.is_ascii() {
                write!(out, "{character}")?;
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    fn rendered(call: &str) -> String {
        let mut environment = Environment::new();
        environment.add_filter("tojson", super::to_json);
        let value = serde_json::json!({ "b": ["<é>", 1.5, null], "a": {}, "c": "it's \"😀\"" });
        let value = minijinja::Value::from(minijinja::value::Serde(&value));
        let template = format!("{{{{ value | {call} }}}}");
        environment
            .render_str(&template, context! { value })
            .unwrap()
    }

    /// From `json.dumps(value, ..)` of Python 3.11, keys in the order in which they come here.
    #[test]
    fn values_are_written_as_python_writes_them() {
        for (call, expected) in [
            (
                "tojson(sort_keys=true)",
                r#"{"a": {}, "b": ["<é>", 1.5, null], "c": "it's \"😀\""}"#,
            ),
            (
                "tojson(sort_keys=true, ensure_ascii=true, separators=[',', ':'])",
                r#"{"a":{},"b":["<\u00e9>",1.5,null],"c":"it's \"\ud83d\ude00\""}"#,
            ),
            (
                "tojson(sort_keys=true, indent=2)",
                "{\n  \"a\": {},\n  \"b\": [\n    \"<é>\",\n    1.5,\n    null\n  ],\n  \"c\": \"it's \\\"😀\\\"\"\n}",
            ),
        ] {
            assert_eq!(rendered(call), expected);
        }
    }
}
