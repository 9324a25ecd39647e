//! Checks the tags on the wire against the tables of supported fields, before anything is decoded.

use prost::encoding::{WireType, decode_key, decode_varint};

use crate::Nack;
use crate::tables::{Shape, Table};

/// How deep messages may nest; the supported ones need 14.
const DEPTH_MAX: usize = 32;

/// The `@type` prefix of every `Any`.
pub(crate) const TYPE_PREFIX: &str = "type.googleapis.com/";

/// Checks that `wire` has only fields that `table` supports, down to the last message in it.
///
/// # Errors
/// The first other field, by its full name. `resource` is left empty.
pub(crate) fn check(table: &Table, wire: &[u8]) -> Result<(), Nack> {
    message(table, wire, 0)
}

fn refuse(field: impl Into<String>, why: impl Into<String>) -> Nack {
    Nack { resource: String::new(), field: field.into(), why: why.into() }
}

fn message(table: &Table, mut wire: &[u8], depth: usize) -> Result<(), Nack> {
    if depth > DEPTH_MAX {
        return Err(refuse(table.name, "nested too deep"));
    }
    while !wire.is_empty() {
        let (number, payload) = next(table.name, &mut wire)?;
        let Some((_, name, shape)) = table.known.iter().find(|(known, _, _)| *known == number) else {
            return Err(match refused_name(table, number) {
                Some(name) => refuse(format!("{}.{name}", table.name), "not supported by Squall"),
                None => refuse(format!("{} field {number}", table.name), "unknown"),
            });
        };
        let field = || format!("{}.{name}", table.name);
        match (shape, payload) {
            (Shape::Leaf, _) => {}
            (Shape::Message(inner), Some(payload)) => message(inner, payload, depth + 1)?,
            (Shape::Any(types), Some(payload)) => any(&field(), types, payload, depth + 1)?,
            (Shape::AnyMap(types), Some(payload)) => entry(&field(), types, payload, depth + 1)?,
            (Shape::Message(_) | Shape::Any(_) | Shape::AnyMap(_), None) => {
                return Err(refuse(field(), "malformed: not a message"));
            }
        }
    }
    Ok(())
}

fn refused_name(table: &Table, number: u32) -> Option<&'static str> {
    let number = number.to_string();
    table
        .refused
        .split(", ")
        .filter_map(|entry| entry.split_once(' '))
        .find(|(key, _)| *key == number)
        .map(|(_, name)| name)
}

/// Checks an `Any`: its type must be one of `types`, and its content good for it.
fn any(field: &str, types: &[&Table], mut wire: &[u8], depth: usize) -> Result<(), Nack> {
    let (mut name, mut content): (&str, &[u8]) = ("", &[]);
    while !wire.is_empty() {
        match next(field, &mut wire)? {
            (1, Some(text)) => name = std::str::from_utf8(text).map_err(|_| refuse(field, "malformed type URL"))?,
            (2, Some(bytes)) => content = bytes,
            (number, _) => return Err(refuse(format!("google.protobuf.Any field {number}"), "unknown")),
        }
    }
    let short = name.strip_prefix(TYPE_PREFIX).unwrap_or(name);
    match types.iter().find(|table| table.name == short) {
        Some(table) => message(table, content, depth + 1),
        None => Err(refuse(field, format!("`{short}` is not supported here"))),
    }
}

/// Checks an entry of a map from text to `Any`.
fn entry(field: &str, types: &[&Table], mut wire: &[u8], depth: usize) -> Result<(), Nack> {
    while !wire.is_empty() {
        match next(field, &mut wire)? {
            (1, Some(_)) => {}
            (2, Some(value)) => any(field, types, value, depth + 1)?,
            (number, _) => return Err(refuse(format!("{field} field {number}"), "unknown")),
        }
    }
    Ok(())
}

/// The next field: its number, and its bytes if it is delimited by a length.
fn next<'w>(within: &str, wire: &mut &'w [u8]) -> Result<(u32, Option<&'w [u8]>), Nack> {
    let malformed = || refuse(within, "malformed protobuf");
    let (number, kind) = decode_key(wire).map_err(|_| malformed())?;
    let skip = match kind {
        WireType::Varint => {
            decode_varint(wire).map_err(|_| malformed())?;
            0
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => {
            let length = decode_varint(wire).map_err(|_| malformed())?;
            let length = usize::try_from(length).map_err(|_| malformed())?;
            let (payload, rest) = wire.split_at_checked(length).ok_or_else(malformed)?;
            *wire = rest;
            return Ok((number, Some(payload)));
        }
        WireType::StartGroup | WireType::EndGroup => return Err(malformed()),
    };
    *wire = wire.get(skip..).ok_or_else(malformed)?;
    Ok((number, None))
}
