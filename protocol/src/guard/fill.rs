//! Messages made up from shapes, for tests: what a shape allows, and the crate must decode.

use super::shape::{Field, Item, Kind, Shape};

/// Makes up bodies; the same seed makes the same ones.
pub(crate) struct Fill {
    seed: u64,
    version: i16,
    flexible: bool,
    /// Nothing null, nothing empty, every tagged field there.
    full: bool,
    /// Tagged fields that no version knows.
    unknown_tags: bool,
    bytes: Vec<u8>,
    /// How many fields could be null.
    nullable: usize,
}

/// Some body of `shape`: null here, empty there, with and without tagged fields, known and unknown.
pub(crate) fn some(shape: &Shape, version: i16, flexible: bool, seed: u64) -> Vec<u8> {
    body(shape, Fill { seed, version, flexible, full: false, unknown_tags: true, bytes: Vec::new(), nullable: 0 })
}

/// As [`some`], without tagged fields that the shape does not name.
#[cfg(test)]
pub(crate) fn known(shape: &Shape, version: i16, flexible: bool, seed: u64) -> Vec<u8> {
    body(shape, Fill { seed, version, flexible, full: false, unknown_tags: false, bytes: Vec::new(), nullable: 0 })
}

/// A body of `shape` in which everything is there that can be, and nothing that the shape does not name.
pub(crate) fn full(shape: &Shape, version: i16, flexible: bool, seed: u64) -> Vec<u8> {
    full_counted(shape, version, flexible, seed).0
}

/// As [`full`], and how many of its fields could have been null.
pub(crate) fn full_counted(shape: &Shape, version: i16, flexible: bool, seed: u64) -> (Vec<u8>, usize) {
    let mut fill = Fill { seed, version, flexible, full: true, unknown_tags: false, bytes: Vec::new(), nullable: 0 };
    fill.fields(shape);
    (fill.bytes, fill.nullable)
}

fn body(shape: &Shape, mut fill: Fill) -> Vec<u8> {
    fill.fields(shape);
    fill.bytes
}

impl Fill {
    fn fields(&mut self, shape: &Shape) {
        for field in shape.0 {
            if field.tag.is_none() && field.is_in(self.version) {
                self.one(field);
            }
        }
        if self.flexible {
            self.tagged(shape);
        }
    }

    fn one(&mut self, field: &Field) {
        self.nullable += usize::from(field.nullable || matches!(field.kind, Kind::Optional(_)));
        if field.nullable && self.sometimes() {
            return self.length(None, matches!(field.kind, Kind::Text));
        }
        match field.kind {
            Kind::Fixed(size) => self.fixed(size),
            Kind::Text => self.text(),
            Kind::Blob => {
                let length = self.some_length(9);
                self.length(Some(length), false);
                self.fixed(length);
            }
            Kind::List(item) => {
                let count = self.some_length(3);
                self.length(Some(count), false);
                for _ in 0..count {
                    match item {
                        Item::Fixed(size) => self.fixed(size),
                        Item::Text => self.text(),
                        Item::Struct(shape) => self.fields(&shape),
                    }
                }
            }
            Kind::Struct(shape) => self.fields(&shape),
            Kind::Optional(_) if self.sometimes() => self.bytes.push(0xff),
            Kind::Optional(shape) => {
                self.bytes.push(1);
                self.fields(&shape);
            }
        }
    }

    fn tagged(&mut self, shape: &Shape) {
        let known = shape.0.iter().filter(|field| field.tag.is_some() && field.is_in(self.version));
        let known: Vec<&Field> = known.collect::<Vec<_>>().into_iter().filter(|_| !self.sometimes()).collect();
        let unknown = if self.unknown_tags && self.sometimes() { self.random(3) } else { 0 };
        self.varint(known.len() as u32 + unknown as u32);
        for field in known {
            let outside = std::mem::take(&mut self.bytes);
            self.one(field);
            let value = std::mem::replace(&mut self.bytes, outside);
            self.varint(field.tag.unwrap_or_default());
            self.varint(value.len() as u32);
            self.bytes.extend(value);
        }
        // The next numbers: were they the crate's, it would not keep their bytes as they are.
        let first_unknown = shape.0.iter().filter_map(|field| field.tag).max().map_or(0, |tag| tag + 1);
        for tag in 0..unknown {
            self.varint(first_unknown + tag as u32);
            let length = self.random(5);
            self.varint(length as u32);
            self.fixed(length);
        }
    }

    /// Bytes that are neither 0 nor 0xff, so that no number is its field's default; booleans are true.
    fn fixed(&mut self, size: usize) {
        for _ in 0..size {
            let byte = 2 + self.random(100) as u8;
            self.bytes.push(byte);
        }
    }

    fn text(&mut self) {
        let length = self.some_length(9);
        self.length(Some(length), true);
        for _ in 0..length {
            let letter = b'a' + self.random(26) as u8;
            self.bytes.push(letter);
        }
    }

    fn length(&mut self, length: Option<usize>, text: bool) {
        match length {
            _ if self.flexible => self.varint(length.map_or(0, |length| length as u32 + 1)),
            _ if text => self.bytes.extend(length.map_or(-1, |length| length as i16).to_be_bytes()),
            _ => self.bytes.extend(length.map_or(-1, |length| length as i32).to_be_bytes()),
        }
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn some_length(&mut self, most: usize) -> usize {
        if self.full { 1 + self.random(most) } else { self.random(most + 1) }
    }

    fn sometimes(&mut self) -> bool {
        !self.full && self.random(3) == 0
    }

    /// Below `bound` (splitmix64).
    fn random(&mut self, bound: usize) -> usize {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
