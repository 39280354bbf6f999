//! Messages as values with names, read and written by shape: for tests that compare answers field by field, or say
//! requests in one way for all versions.
//!
//! It knows nothing of the `kafka-protocol` crate, so that the two are also a check of each other.

use super::shape::{Field, Item, Kind, Shape};
use super::{Fault, Limits, Malformed, check};
use uuid::Uuid;

/// A field's value. Booleans are 0 and 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: of a string, bytes, a list or an optional struct.
    Null,
    /// A number of 1, 2, 4 or 8 bytes.
    Number(i64),
    /// 16 bytes.
    Id(Uuid),
    /// A string; what is not UTF-8 is replaced.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An array.
    List(Vec<Value>),
    /// A struct: the fields that the version has, in the order of the wire, those with tags only if they are there.
    Fields(Vec<(String, Value)>),
}

/// Reads `body`.
pub(crate) fn read(shape: &Shape, version: i16, flexible: bool, body: &[u8]) -> Result<Value, Malformed> {
    check(shape, version, flexible, body, &Limits { max_array_elements: usize::MAX })?;
    let mut reader = Reading { rest: body, version, flexible };
    let read = reader.fields(shape);
    read.ok_or(Malformed { fault: Fault::Undecodable, field: "", position: body.len() - reader.rest.len() })
}

struct Reading<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
}

impl<'a> Reading<'a> {
    fn fields(&mut self, shape: &Shape) -> Option<Value> {
        let (mut fields, version) = (Vec::new(), self.version);
        for field in shape.0.iter().filter(|field| field.tag.is_none() && field.is_in(version)) {
            fields.push((field.name.to_owned(), self.one(field)?));
        }
        if self.flexible {
            for _ in 0..self.varint()? {
                let tag = self.varint()?;
                let size = self.varint()? as usize;
                match shape.0.iter().find(|field| field.tag == Some(tag) && field.is_in(self.version)) {
                    Some(field) => fields.push((field.name.to_owned(), self.one(field)?)),
                    None => drop(self.take(size)?),
                }
            }
        }
        Some(Value::Fields(fields))
    }

    fn one(&mut self, field: &Field) -> Option<Value> {
        Some(match field.kind {
            Kind::Fixed(size) => self.fixed(size)?,
            Kind::Text => self.text()?,
            Kind::Blob => match self.length()? {
                None => Value::Null,
                Some(length) => Value::Bytes(self.take(length)?.to_vec()),
            },
            Kind::List(item) => match self.length()? {
                None => Value::Null,
                Some(count) => {
                    let mut list = Vec::new();
                    for _ in 0..count {
                        list.push(match item {
                            Item::Fixed(size) => self.fixed(size)?,
                            Item::Text => self.text()?,
                            Item::Struct(shape) => self.fields(&shape)?,
                        });
                    }
                    Value::List(list)
                }
            },
            Kind::Struct(shape) => self.fields(&shape)?,
            Kind::Optional(shape) => match self.take(1)? {
                [1] => self.fields(&shape)?,
                _ => Value::Null,
            },
        })
    }

    fn fixed(&mut self, size: usize) -> Option<Value> {
        let bytes = self.take(size)?;
        if let Ok(id) = <[u8; 16]>::try_from(bytes) {
            return Some(Value::Id(Uuid::from_bytes(id)));
        }
        let sign: i64 = if bytes.first()? & 0x80 == 0 { 0 } else { -1 };
        Some(Value::Number(bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte))))
    }

    fn text(&mut self) -> Option<Value> {
        let length = if self.flexible {
            self.length()?
        } else {
            usize::try_from(i16::from_be_bytes(self.take(2)?.try_into().ok()?)).ok()
        };
        Some(match length {
            None => Value::Null,
            Some(length) => Value::Text(String::from_utf8_lossy(self.take(length)?).into_owned()),
        })
    }

    /// The inner `None` is null.
    fn length(&mut self) -> Option<Option<usize>> {
        if self.flexible {
            return Some((self.varint()? as usize).checked_sub(1));
        }
        Some(usize::try_from(i32::from_be_bytes(self.take(4)?.try_into().ok()?)).ok())
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = u32::from(*self.take(1)?.first()?);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }
}

/// Writes the fields of `value` that `version` has. Those that it does not give are 0, null or empty; tagged ones are left
/// out.
///
/// # Errors
/// A field of another kind than the shape's, or one that no version has: the name.
pub(crate) fn write(shape: &Shape, version: i16, flexible: bool, value: &Value) -> Result<Vec<u8>, String> {
    let mut writing = Writing { bytes: Vec::new(), version, flexible };
    writing.fields(shape, value, "")?;
    Ok(writing.bytes)
}

struct Writing {
    bytes: Vec<u8>,
    version: i16,
    flexible: bool,
}

impl Writing {
    fn fields(&mut self, shape: &Shape, value: &Value, name: &str) -> Result<(), String> {
        let Value::Fields(given) = value else { return Err(format!("{name} has fields, not {value:?}")) };
        if let Some((stray, _)) = given.iter().find(|(given, _)| !shape.0.iter().any(|field| field.name == *given)) {
            return Err(format!("{name} has no field {stray}"));
        }
        let find = |field: &Field| given.iter().find(|(given, _)| *given == field.name).map(|(_, value)| value);
        let version = self.version;
        for field in shape.0.iter().filter(|field| field.tag.is_none() && field.is_in(version)) {
            self.one(field, find(field))?;
        }
        if self.flexible {
            let tagged = shape.0.iter().filter(|field| field.tag.is_some() && field.is_in(version));
            let tagged: Vec<_> = tagged.filter_map(|field| Some((field, find(field)?))).collect();
            self.varint(tagged.len());
            for (field, value) in tagged {
                let outside = std::mem::take(&mut self.bytes);
                self.one(field, Some(value))?;
                let value = std::mem::replace(&mut self.bytes, outside);
                self.varint(field.tag.unwrap_or_default() as usize);
                self.varint(value.len());
                self.bytes.extend(value);
            }
        }
        Ok(())
    }

    fn one(&mut self, field: &Field, value: Option<&Value>) -> Result<(), String> {
        let is_text = matches!(field.kind, Kind::Text);
        let wrong = |value: &Value| Err(format!("{} cannot be {value:?}", field.name));
        match (field.kind, value) {
            (Kind::Optional(_), None | Some(Value::Null)) => self.bytes.push(0xff),
            (Kind::Fixed(size), None) => self.bytes.extend(vec![0; size]),
            (Kind::Struct(shape), None) => self.fields(&shape, &Value::Fields(Vec::new()), field.name)?,
            // Null is also said where the message has none: that is somebody's request, too.
            (_, Some(Value::Null)) => self.length(None, is_text),
            (_, None) => self.length((!field.nullable).then_some(0), is_text),
            (Kind::Fixed(size), Some(value)) => self.fixed(size, value).or_else(|()| wrong(value))?,
            (Kind::Text, Some(Value::Text(text))) => self.sized(text.as_bytes(), true),
            (Kind::Blob, Some(Value::Bytes(bytes))) => self.sized(bytes, false),
            (Kind::List(item), Some(Value::List(list))) => {
                self.length(Some(list.len()), false);
                for value in list {
                    match (item, value) {
                        (Item::Fixed(size), value) => self.fixed(size, value).or_else(|()| wrong(value))?,
                        (Item::Text, Value::Text(text)) => self.sized(text.as_bytes(), true),
                        (Item::Struct(shape), value) => self.fields(&shape, value, field.name)?,
                        (Item::Text, value) => return wrong(value),
                    }
                }
            }
            (Kind::Struct(shape), Some(value)) => self.fields(&shape, value, field.name)?,
            (Kind::Optional(shape), Some(value)) => {
                self.bytes.push(1);
                self.fields(&shape, value, field.name)?;
            }
            (_, Some(value)) => return wrong(value),
        }
        Ok(())
    }

    fn fixed(&mut self, size: usize, value: &Value) -> Result<(), ()> {
        match value {
            Value::Id(id) if size == 16 => self.bytes.extend(id.as_bytes()),
            Value::Number(number) if size <= 8 => {
                let bytes = number.to_be_bytes();
                self.bytes.extend(bytes.get(8 - size..).unwrap_or_default());
            }
            _ => return Err(()),
        }
        Ok(())
    }

    fn sized(&mut self, bytes: &[u8], text: bool) {
        self.length(Some(bytes.len()), text);
        self.bytes.extend(bytes);
    }

    fn length(&mut self, length: Option<usize>, text: bool) {
        match length {
            _ if self.flexible => self.varint(length.map_or(0, |length| length + 1)),
            _ if text => self.bytes.extend(length.map_or(-1, |length| length as i16).to_be_bytes()),
            _ => self.bytes.extend(length.map_or(-1, |length| length as i32).to_be_bytes()),
        }
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::APIS;
    use crate::guard::fill;

    #[test]
    fn what_was_read_is_written_as_it_was() {
        for api in APIS {
            for version in api.accepted_from..=api.newest {
                let flexible = api.is_flexible(version);
                for (shape, seed) in [api.request, api.response].into_iter().flat_map(|shape| [(shape, 1), (shape, 2)])
                {
                    let full = fill::full(shape, version, flexible, seed);
                    let value = read(shape, version, flexible, &full).unwrap();
                    assert_eq!(write(shape, version, flexible, &value).unwrap(), full, "{} v{version}", api.name);
                    // Null or empty here and there, but without tagged fields that nobody knows.
                    let some = fill::known(shape, version, flexible, seed);
                    let value = read(shape, version, flexible, &some).unwrap();
                    assert_eq!(write(shape, version, flexible, &value).unwrap(), some, "{} v{version}", api.name);
                }
            }
        }
    }

    #[test]
    fn numbers_have_signs_and_strays_are_named() {
        let api = APIS.iter().find(|api| api.name == "Heartbeat").unwrap();
        let text = |text: &str| Value::Text(text.to_owned());
        let fields = vec![("group_id".to_owned(), text("g")), ("generation_id".to_owned(), Value::Number(-2))];
        let bytes = write(api.request, 0, false, &Value::Fields(fields.clone())).unwrap();
        assert_eq!(bytes, [0, 1, b'g', 0xff, 0xff, 0xff, 0xfe, 0, 0]);
        let Value::Fields(read) = read(api.request, 0, false, &bytes).unwrap() else { panic!() };
        assert_eq!(read[..2], fields[..]);
        let stray = Value::Fields(vec![("grop_id".to_owned(), text("g"))]);
        assert!(write(api.request, 0, false, &stray).unwrap_err().contains("grop_id"));
    }
}
