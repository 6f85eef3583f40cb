//! How things are printed: tables, ages, sizes and names.

use std::borrow::Cow;
use std::io::{self, Write};

/// Writes rows below a head, each column as wide as it has to be.
pub fn write<const N: usize>(
    out: &mut impl Write,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> io::Result<()> {
    let rows: Vec<_> = [head.map(str::to_owned)].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// A name as users write it.
pub fn or_global(name: &[u8]) -> Cow<'_, str> {
    match name {
        [] => "%{GLOBAL}".into(),
        // What would steer a terminal is no part of a name.
        name => String::from_utf8_lossy(name).replace(char::is_control, "?").into(),
    }
}

/// Text of a worker's, which could be anything.
pub fn plain(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// How old something is.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A size in memory.
pub fn size(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// The bound of a quantile in seconds, if any has been observed.
pub fn quantile(histogram: &metrics::Histogram, part: f64) -> String {
    match histogram.quantile(part) {
        _ if histogram.count() == 0 => "-".to_owned(),
        None => ">60 s".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds} s"),
    }
}
