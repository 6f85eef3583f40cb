//! Values of other sources, as words of a command line.

use clap::{Arg, ArgAction};
use toml::Value;

use super::{key, values_of};

/// The words of the command line that say the same as this value.
pub fn written(arg: &Arg, value: &Value) -> Result<Vec<String>, String> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return Ok(if flag(value)? { vec![format!("--{}", key(arg))] } else { Vec::new() });
    }
    let values = values_of(arg);
    let words = match arg.get_action() {
        ArgAction::Append => listed(value, values)?,
        _ => vec![scalar(value)?],
    };
    if words.len() % values != 0 {
        return Err(format!("it takes {values} values each time"));
    }
    Ok(match arg.get_long() {
        None => words,
        Some(long) if values == 1 => words.iter().map(|word| format!("--{long}={word}")).collect(),
        Some(long) => words
            .chunks(values)
            .flat_map(|values| [&[format!("--{long}")], values].concat())
            .collect(),
    })
}

/// The values of an option that may be repeated, and takes so many of them each time.
pub fn listed(value: &Value, values: usize) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => shlex::split(text).ok_or("its quotes are not closed".to_owned()),
        Value::Array(items) => flat(items),
        // As in url-alias = { "/static" = "files" }.
        Value::Table(table) if values == 2 => {
            let pairs = table.iter().map(|(name, value)| Ok([name.clone(), scalar(value)?]));
            Ok(pairs.collect::<Result<Vec<_>, String>>()?.concat())
        }
        other => Ok(vec![scalar(other)?]),
    }
}

/// The values in an array, and those in arrays in it.
fn flat(items: &[Value]) -> Result<Vec<String>, String> {
    let each = items.iter().map(|item| match item {
        Value::Array(inner) => flat(inner),
        other => Ok(vec![scalar(other)?]),
    });
    Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
}

fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        other => Err(format!("it takes no {}", other.type_str())),
    }
}

fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Boolean(flag) => Ok(*flag),
        Value::Integer(0) => Ok(false),
        Value::Integer(1) => Ok(true),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        },
        other => Err(format!("it takes true or false, and no {}", other.type_str())),
    }
}
