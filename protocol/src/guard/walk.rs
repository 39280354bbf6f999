//! The walk itself: a cursor over the bytes that follows a shape.
//!
//! Recursion is as deep as the shapes are nested, which the tables bound; time is linear in the bytes; nothing is
//! allocated.

use super::shape::{Field, Item, Kind, Shape};
use super::{Fault, Limits, Malformed};

/// Walks `body` as `shape` in `version`, in its compact form when `flexible`.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn check(
    shape: &Shape,
    version: i16,
    flexible: bool,
    body: &[u8],
    limits: &Limits,
) -> Result<(), Malformed> {
    let mut walk = Walk { rest: body, elements_left: limits.max_array_elements, version, flexible, field: "" };
    let result = match walk.fields(shape) {
        Ok(()) if walk.rest.is_empty() => Ok(()),
        Ok(()) => Err(Fault::LeftOver),
        Err(fault) => Err(fault),
    };
    result.map_err(|fault| Malformed { fault, field: walk.field, position: body.len() - walk.rest.len() })
}

struct Walk<'a> {
    rest: &'a [u8],
    elements_left: usize,
    version: i16,
    flexible: bool,
    /// The field last entered.
    field: &'static str,
}

impl<'a> Walk<'a> {
    fn fields(&mut self, shape: &Shape) -> Result<(), Fault> {
        for field in shape.0 {
            if field.tag.is_none() && field.is_in(self.version) {
                self.one(field)?;
            }
        }
        if self.flexible { self.tagged(shape) } else { Ok(()) }
    }

    fn one(&mut self, field: &Field) -> Result<(), Fault> {
        self.field = field.name;
        match field.kind {
            Kind::Fixed(size) => self.skip(size),
            Kind::Text => {
                let length = self.text_length(field.nullable)?;
                self.skip(length)
            }
            Kind::Blob => {
                let length = self.length(field.nullable)?;
                self.skip(length.unwrap_or(0))
            }
            Kind::List(item) => self.list(&item, field.nullable),
            Kind::Struct(shape) => self.fields(&shape),
            Kind::Optional(shape) => match self.byte()? {
                1 => self.fields(&shape),
                0xff => Ok(()),
                _ => Err(Fault::NeitherPresentNorAbsent),
            },
        }
    }

    fn list(&mut self, item: &Item, nullable: bool) -> Result<(), Fault> {
        let Some(count) = self.length(nullable)? else { return Ok(()) };
        if count > self.rest.len() / self.least_size(item).max(1) {
            return Err(Fault::CountBeyondEnd);
        }
        self.count_elements(count)?;
        match item {
            Item::Fixed(size) => self.skip(count.saturating_mul(*size)),
            Item::Text => (0..count).try_for_each(|_| {
                let length = self.text_length(false)?;
                self.skip(length)
            }),
            Item::Struct(shape) => (0..count).try_for_each(|_| self.fields(shape)),
        }
    }

    /// The tagged fields at the end of a struct: count, then number, size and value of each.
    fn tagged(&mut self, shape: &Shape) -> Result<(), Fault> {
        let count = self.varint()?;
        for _ in 0..count {
            let tag = self.varint()?;
            if i32::try_from(tag).is_err() {
                return Err(Fault::LongTag);
            }
            let size = self.varint()? as usize;
            if size > self.rest.len() {
                return Err(Fault::Truncated);
            }
            match shape.0.iter().find(|field| field.tag == Some(tag) && field.is_in(self.version)) {
                Some(field) => {
                    let before = self.rest.len();
                    self.one(field)?;
                    if before - self.rest.len() != size {
                        return Err(Fault::WrongTagSize);
                    }
                }
                None => {
                    self.count_elements(1)?;
                    self.skip(size)?;
                }
            }
        }
        Ok(())
    }

    fn count_elements(&mut self, count: usize) -> Result<(), Fault> {
        self.elements_left = self.elements_left.checked_sub(count).ok_or(Fault::TooManyElements)?;
        Ok(())
    }

    /// The fewest bytes that one element of an array can take.
    fn least_size(&self, item: &Item) -> usize {
        match item {
            Item::Fixed(size) => *size,
            Item::Text => self.least_text_size(),
            Item::Struct(shape) => self.least_struct_size(shape),
        }
    }

    fn least_text_size(&self) -> usize {
        if self.flexible { 1 } else { 2 }
    }

    fn least_struct_size(&self, shape: &Shape) -> usize {
        let length_size = if self.flexible { 1 } else { 4 };
        let tags_size = usize::from(self.flexible);
        let fields = shape.0.iter().filter(|field| field.tag.is_none() && field.is_in(self.version));
        let sizes = fields.map(|field| match field.kind {
            Kind::Fixed(size) => size,
            Kind::Text => self.least_text_size(),
            Kind::Blob | Kind::List(_) => length_size,
            Kind::Struct(shape) => self.least_struct_size(&shape),
            Kind::Optional(_) => 1,
        });
        sizes.sum::<usize>() + tags_size
    }

    /// The length of a string; null counts as empty.
    fn text_length(&mut self, nullable: bool) -> Result<usize, Fault> {
        if self.flexible {
            return Ok(self.length(nullable)?.unwrap_or(0));
        }
        let length = i16::from_be_bytes(self.array()?);
        Ok(signed_length(length.into(), nullable)?.unwrap_or(0))
    }

    /// The length of bytes or the count of an array; `None` for null.
    fn length(&mut self, nullable: bool) -> Result<Option<usize>, Fault> {
        if !self.flexible {
            let length = i32::from_be_bytes(self.array()?);
            return signed_length(length, nullable);
        }
        match self.varint()? {
            0 if nullable => Ok(None),
            0 => Err(Fault::Null),
            length => Ok(Some(length as usize - 1)),
        }
    }

    fn varint(&mut self) -> Result<u32, Fault> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        match self.byte()? {
            last @ 0..=0x0f => Ok(value | u32::from(last) << 28),
            _ => Err(Fault::LongVarint),
        }
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (&byte, rest) = self.rest.split_first().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Fault> {
        self.rest = self.rest.get(bytes..).ok_or(Fault::Truncated)?;
        Ok(())
    }
}

fn signed_length(length: i32, nullable: bool) -> Result<Option<usize>, Fault> {
    match length {
        0.. => Ok(Some(length as usize)),
        -1 if nullable => Ok(None),
        -1 => Err(Fault::Null),
        _ => Err(Fault::NegativeLength),
    }
}
