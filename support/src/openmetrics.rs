//! Text of OpenMetrics, as the collectors of monitoring systems read it from files.

use std::fmt::Write as _;

/// Families of gauges, written one after the other.
#[derive(Debug, Default)]
pub struct Metrics(String);

impl Metrics {
    /// Begins a family of gauges. Writing to a string cannot fail.
    pub fn family(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} gauge\n# HELP {name} {help}");
    }

    /// Adds a sample to the family that was begun last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// The text, with its end mark.
    #[must_use]
    pub fn end(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}

/// A value of a label: backslash, quote and line feed are escaped, other control characters are dropped.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_cannot_end_early() {
        assert_eq!(escaped("a\\b\"} 1\nc\r"), "a\\\\b\\\"} 1\\nc\u{fffd}");
    }
}
