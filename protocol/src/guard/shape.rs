//! What a message looks like on the wire: a [`Shape`] lists [`Field`]s, a field has a [`Kind`], and each is there in
//! some versions only.
//!
//! The tables in `request_shapes` and `response_shapes` are written with the constructors below, so that a line reads
//! like the message it describes: `text("name").until(12), uuid("topic_id").since(13)`. Whether a message is in its
//! compact ("flexible") form is the same for all of its structs and is not repeated here; the table of APIs knows it.

/// The fields of a struct, in the order of the wire, those with tags last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape(pub(crate) &'static [Field]);

/// One field of a struct.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Its name, for error messages.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The first and the last version that have it.
    since: i16,
    until: i16,
    /// Whether its length may say "null".
    pub(crate) nullable: bool,
    /// Its number among the tagged fields; `None` when it has a fixed place.
    pub(crate) tag: Option<u32>,
}

/// How a field's bytes are laid out. The form of lengths depends on whether the message is flexible.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string: `i16` length, or a varint of the length plus one.
    Text,
    /// Bytes: `i32` length, or a varint of the length plus one.
    Blob,
    /// A count (`i32`, or a varint of the count plus one) and as many items.
    List(Item),
    /// The fields of the shape, then in flexible versions its tagged fields.
    Struct(Shape),
    /// A byte that is 1 and a struct, or a byte that is -1.
    Optional(Shape),
}

/// What an array holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    /// Items of so many bytes.
    Fixed(usize),
    /// Strings, none of them null.
    Text,
    /// Structs.
    Struct(Shape),
}

impl Field {
    /// The first version that has this field.
    pub(super) const fn since(mut self, version: i16) -> Field {
        self.since = version;
        self
    }

    /// The last version that has this field.
    pub(super) const fn until(mut self, version: i16) -> Field {
        self.until = version;
        self
    }

    /// May be null.
    pub(super) const fn nullable(mut self) -> Field {
        self.nullable = true;
        self
    }

    /// Is the tagged field with this number.
    pub(super) const fn tag(mut self, tag: u32) -> Field {
        self.tag = Some(tag);
        self
    }

    /// Whether `version` has this field.
    pub(crate) const fn is_in(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 0, until: i16::MAX, nullable: false, tag: None }
}

pub(super) const fn boolean(name: &'static str) -> Field {
    field(name, Kind::Fixed(1))
}

pub(super) const fn int8(name: &'static str) -> Field {
    field(name, Kind::Fixed(1))
}

pub(super) const fn int16(name: &'static str) -> Field {
    field(name, Kind::Fixed(2))
}

pub(super) const fn int32(name: &'static str) -> Field {
    field(name, Kind::Fixed(4))
}

pub(super) const fn int64(name: &'static str) -> Field {
    field(name, Kind::Fixed(8))
}

pub(super) const fn uuid(name: &'static str) -> Field {
    field(name, Kind::Fixed(16))
}

pub(super) const fn text(name: &'static str) -> Field {
    field(name, Kind::Text)
}

pub(super) const fn blob(name: &'static str) -> Field {
    field(name, Kind::Blob)
}

pub(super) const fn list_of_int32(name: &'static str) -> Field {
    field(name, Kind::List(Item::Fixed(4)))
}

pub(super) const fn list_of_text(name: &'static str) -> Field {
    field(name, Kind::List(Item::Text))
}

pub(super) const fn list_of_int8(name: &'static str) -> Field {
    field(name, Kind::List(Item::Fixed(1)))
}

pub(super) const fn list_of_int64(name: &'static str) -> Field {
    field(name, Kind::List(Item::Fixed(8)))
}

/// An array of structs.
pub(super) const fn list(name: &'static str, fields: &'static [Field]) -> Field {
    field(name, Kind::List(Item::Struct(Shape(fields))))
}

/// A struct in place.
pub(super) const fn nested(name: &'static str, fields: &'static [Field]) -> Field {
    field(name, Kind::Struct(Shape(fields)))
}

/// A struct that may be absent.
pub(super) const fn optional(name: &'static str, fields: &'static [Field]) -> Field {
    field(name, Kind::Optional(Shape(fields)))
}
