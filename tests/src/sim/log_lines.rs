//! What the code under test logs while a run lasts.
//!
//! Every line goes into the text of the trace, where it belongs in time. A WARN or an ERROR of a process that lives, which
//! the scenario did not announce, fails the run: somebody would have been woken by it for nothing, or it tells of a
//! defect.

use super::executor::Core;
use super::process::running;
use parking_lot::Mutex;
use std::fmt::{self, Write};
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Parts of the lines that a scenario expects.
pub(super) type Announced = Arc<Mutex<Vec<&'static str>>>;

/// Takes what is logged on the thread of a run.
pub(super) struct LogLines {
    pub(super) core: Arc<Core>,
    pub(super) announced: Announced,
}

/// A line's text: its message, then its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

impl Subscriber for LogLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN || self.core.has_text()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let owner = running();
        let level = *event.metadata().level();
        // A process in its last moment sees errors that are nobody's.
        if owner.as_ref().is_some_and(|incarnation| !incarnation.is_alive()) {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let Text { message, fields } = text;
        self.core.line(&owner, format_args!("{level} {message}{fields}"));
        let announced = self.announced.lock().iter().any(|part| message.contains(part));
        if level <= Level::WARN && owner.is_some() && !announced {
            self.core.violated(format!("a line that nobody announced: {level} {message}{fields}"));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
