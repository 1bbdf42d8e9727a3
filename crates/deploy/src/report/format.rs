//! Numbers as people read them.
//!
//! Three significant digits are kept: more would claim a precision that the measurements do not have.

/// A measured number: three significant digits, thousands apart.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size == 0.0 || size >= 99.95 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ if size >= 0.001 => 3,
        _ => return format!("{value:.1e}"),
    };
    let text = format!("{value:.decimals$}");
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let whole = digits.split('.').next().unwrap_or_default().len();
    let mut out = String::from(sign);
    for (index, c) in digits.char_indices() {
        if index > 0 && index < whole && (whole - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A whole number, thousands apart.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, c) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A score of 0 to 1 with three decimals, as papers print them.
pub(super) fn score(value: Option<f64>) -> String {
    value.map_or_else(|| "n/a".to_owned(), |value| format!("{value:.3}"))
}

/// A time in milliseconds, with its unit.
pub(super) fn milliseconds(value: f64) -> String {
    format!("{} ms", number(value))
}

/// A time in seconds, with the unit that fits.
pub(super) fn seconds(value: f64) -> String {
    if value < 0.9995 {
        milliseconds(value * 1000.0)
    } else if value < 120.0 {
        format!("{} s", number(value))
    } else {
        format!("{} min {:02} s", (value / 60.0) as u64, (value % 60.0) as u64)
    }
}

/// A size in megabytes (10⁶) or gigabytes, kilobytes below one megabyte.
pub(super) fn bytes(value: u64) -> String {
    let value = value as f64;
    if value < 1000.0 {
        format!("{value} B")
    } else if value < 1e6 {
        format!("{} kB", number(value / 1e3))
    } else if value < 1e9 {
        format!("{} MB", number(value / 1e6))
    } else {
        format!("{} GB", number(value / 1e9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.000_012, "1.2e-5"),
            (0.012_34, "0.012"),
            (0.9999, "1.00"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (99.99, "100"),
            (123.4, "123"),
            (10_035.2, "10,035"),
            (-1234.5, "-1,234"),
            (1_234_567.0, "1,234,567"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!([999, 1000, 1_234_567].map(count), ["999", "1,000", "1,234,567"]);
    }

    #[test]
    fn units_fit_the_size() {
        assert_eq!([0.0123, 1.5, 61.2, 3725.0].map(seconds), ["12.3 ms", "1.50 s", "61.2 s", "62 min 05 s"]);
        assert_eq!(
            [12, 4500, 20_400_000, 23_600_000_000].map(bytes),
            ["12 B", "4.50 kB", "20.4 MB", "23.6 GB"]
        );
        assert_eq!([score(Some(0.7184)), score(None)], ["0.718", "n/a"]);
    }
}
