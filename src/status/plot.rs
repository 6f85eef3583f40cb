//! What was counted in the last hour as small drawings, which need no script.

use std::fmt::Write;

use metrics::{EVERY, Sample};

/// In units of the drawing; its width is one for each sample.
const HEIGHT: f64 = 40.0;

/// A line in a drawing.
pub struct Line<'a> {
    /// Its class, which the page's style gives a colour.
    pub class: &'a str,
    /// Its value in each sample.
    pub value: fn(&Sample) -> f64,
}

/// A drawing with a caption, which says what it shows, the last value and the highest one.
pub fn figure(
    history: &[Option<Sample>],
    title: &str,
    lines: &[Line<'_>],
    shown: fn(f64) -> String,
) -> String {
    let samples = || history.iter().flatten();
    let main = lines.first().map(|line| line.value);
    let last = samples().next_back().zip(main).map(|(sample, value)| shown(value(sample)));
    let highest = lines.iter().flat_map(|line| samples().map(line.value)).fold(0.0, f64::max);
    let caption = match last {
        None => format!("{title}: nothing yet"),
        Some(last) => format!("{title} <b>{last}</b>, at most {}", shown(highest)),
    };
    let drawing = drawing(history, title, lines, highest);
    format!("<figure>{drawing}<figcaption>{caption}</figcaption></figure>\n")
}

/// The requests of the last hour, for a row of a table. Three samples make one point.
pub fn spark(history: &[Option<Sample>]) -> String {
    let groups = history.chunks(3);
    let merged: Vec<_> = groups
        .map(|group| {
            let add = |sum: Sample, sample: &Sample| Sample {
                requests: sum.requests.saturating_add(sample.requests),
                ..sum
            };
            let is_known = group.iter().any(Option::is_some);
            is_known.then(|| group.iter().flatten().fold(Sample::default(), add))
        })
        .collect();
    let lines = [Line { class: "a", value: |sample| sample.requests.into() }];
    let highest = merged.iter().flatten().map(lines[0].value).fold(0.0, f64::max);
    match highest > 0.0 {
        true => drawing(&merged, "requests in the last hour", &lines, highest),
        false => String::new(),
    }
}

fn drawing(history: &[Option<Sample>], title: &str, lines: &[Line<'_>], highest: f64) -> String {
    let width = history.len().max(2) - 1;
    let mut text = format!(
        "<svg viewBox=\"0 -1 {width} {}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{title}\">",
        HEIGHT + 2.0
    );
    // What is named first is drawn last, above the others.
    for line in lines.iter().rev() {
        let _ = write!(text, "<path class=\"{}\" d=\"", line.class);
        let mut pen_is_down = false;
        for (place, sample) in history.iter().enumerate() {
            let Some(sample) = sample else {
                pen_is_down = false;
                continue;
            };
            let part = if highest > 0.0 { (line.value)(sample) / highest } else { 0.0 };
            let height = ((1.0 - part) * HEIGHT * 10.0).round() / 10.0;
            let order = if std::mem::replace(&mut pen_is_down, true) { 'L' } else { 'M' };
            let _ = write!(text, "{order}{place} {height}");
            // A lone sample is a point.
            if order == 'M' {
                text.push_str("h.01");
            }
        }
        text.push_str("\"/>");
    }
    text.push_str("</svg>");
    text
}

/// Requests per second.
pub fn per_second(requests: u32) -> f64 {
    f64::from(requests) / EVERY.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_gaps_where_no_sample_was_taken() {
        let sample = |requests| Some(Sample { requests, ..Sample::default() });
        let lines = [Line { class: "a", value: |sample| sample.requests.into() }];
        let history = [sample(0), sample(4), None, sample(2)];
        let text = drawing(&history, "requests", &lines, 4.0);
        assert!(text.contains("d=\"M0 40h.01L1 0M3 20h.01\""), "{text}");
    }

    #[test]
    fn nothing_is_drawn_in_a_row_where_nothing_was_asked() {
        assert_eq!(spark(&[None; 6]), "");
        assert_eq!(spark(&[Some(Sample::default()); 6]), "");
        let busy = Sample { requests: 1, ..Sample::default() };
        assert!(spark(&[Some(busy); 6]).contains("<path"));
    }
}
