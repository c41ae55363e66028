//! Numbers as people read them.

/// A share as a percentage with one decimal, without the sign: `73.5`; `–` for what is no number.
pub(crate) fn percent(share: f64) -> String {
    number(100.0 * share, 1)
}

/// A number with `decimals` places; `–` for what is no number.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let text = format!("{value:.decimals$}");
    // A rounded `-0.0` is a zero.
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|b| matches!(b, b'0' | b'.')) => rest.to_owned(),
        _ => text,
    }
}

/// At most two digits, with a power of ten where that is shorter: `9.2e-5`, `1e-4`, `0.15`, `1.6`, `23`; `0` for nothing,
/// `–` for what is no number.
pub(crate) fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let text = format!("{value:.1e}").replace(".0e", "e");
    match text.split_once('e') {
        Some((_, "-1" | "0" | "1")) => text.parse::<f64>().map_or(text, |v| v.to_string()),
        _ => text,
    }
}

/// `10⁻³`; `1` and `10` as they are.
pub(crate) fn power_of_ten(power: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    if (0..=1).contains(&power) {
        return 10_u32.pow(power.unsigned_abs()).to_string();
    }
    let raised = power.to_string();
    let raised = raised.chars().map(|c| match c.to_digit(10) {
        Some(digit) => DIGITS[digit as usize],
        None => '⁻',
    });
    std::iter::once("10".to_owned())
        .chain(raised.map(String::from))
        .collect()
}

/// Seconds: `0.4 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`.
///
/// ```
/// assert_eq!(refit::report::duration(245.0), "4 min 05 s");
/// ```
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".into();
    }
    let whole = seconds.round() as u64;
    if seconds < 0.0095 {
        format!("{:.1} ms", 1e3 * seconds)
    } else if seconds < 9.995 {
        format!("{seconds:.2} s")
    } else if seconds < 99.95 {
        format!("{seconds:.1} s")
    } else if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{} h {:02} min", whole / 3600, whole / 60 % 60)
    }
}

/// Bytes in binary units: `512 B`, `1.5 KiB`, `312 MiB`.
///
/// ```
/// assert_eq!(refit::report::bytes(1536), "1.5 KiB");
/// ```
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(value < 99.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// Counts with thin groups: `269 722`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}'); // narrow, and never broken over lines
        }
        text.push(digit);
    }
    text
}

/// `1 parameter`, `3 078 parameters`.
pub(crate) fn counted(value: u64, noun: &str) -> String {
    let end = if value == 1 { "" } else { "s" };
    format!("{} {noun}{end}", count(value))
}

/// Counts as words where that reads better: `one` to `twelve`, then digits.
pub(crate) fn in_words(value: usize) -> String {
    const WORDS: [&str; 13] = [
        "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve",
    ];
    WORDS
        .get(value)
        .map_or_else(|| value.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_and_nan_is_a_dash() {
        assert_eq!(percent(0.7349), "73.5");
        assert_eq!(percent(-0.0001), "0.0");
        assert_eq!(percent(f64::NAN), "–");
        assert_eq!(number(f64::INFINITY, 2), "–");
        assert_eq!(number(-0.25, 1), "-0.2");
    }

    #[test]
    fn powers_are_written_as_people_write_them() {
        let texts = [-12, -1, 0, 1, 2, 10].map(power_of_ten);
        assert_eq!(texts, ["10⁻¹²", "10⁻¹", "1", "10", "10²", "10¹⁰"]);
        assert_eq!(
            [0.0, 9.234e-5, -0.5].map(scientific),
            ["0", "9.2e-5", "-0.5"]
        );
    }

    #[test]
    fn durations_change_unit_with_size() {
        let texts = [0.0002, 0.4, 12.34, 99.97, 245.0, 7380.0, -1.0].map(duration);
        let expected = [
            "0.2 ms",
            "0.40 s",
            "12.3 s",
            "1 min 40 s",
            "4 min 05 s",
            "2 h 03 min",
            "–",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn powers_of_ten_are_for_what_is_large_or_small() {
        for (value, text) in [
            (0.0, "0"),
            (9.24e-5, "9.2e-5"),
            (0.01, "1e-2"),
            (-0.1, "-0.1"),
            (0.152, "0.15"),
            (0.999, "1"),
            (1.595, "1.6"),
            (23.4, "23"),
            (99.9, "1e2"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(scientific(value), text);
        }
    }

    #[test]
    fn bytes_never_show_four_digits_of_a_unit() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(327_155_712), "312 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn counts_are_grouped_by_three() {
        assert_eq!(count(7), "7");
        assert_eq!(count(269_722), "269\u{202f}722");
        assert_eq!(count(1_000), "1\u{202f}000");
    }
}
