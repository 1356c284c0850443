//! The attribute `timeouts`, which the engine adds to every resource, and the durations it stands for.

use std::time::Duration;

use crate::model;
use crate::schema::validate::{LONGEST, parse_duration};
use crate::schema::{Attribute, Field, Model};
use crate::value::{Dyn, Value};

/// The attribute that the engine adds to every resource.
pub const ATTRIBUTE: &str = "timeouts";

/// How long each call of a resource may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub create: Duration,
    pub read: Duration,
    pub update: Duration,
    pub delete: Duration,
}

impl Timeouts {
    pub const DEFAULT: Self = Self {
        create: Duration::from_secs(600),
        read: Duration::from_secs(120),
        update: Duration::from_secs(600),
        delete: Duration::from_secs(600),
    };

    /// What the user asks for in the object's `timeouts`, else these.
    pub(super) fn overridden(self, object: &Dyn) -> Self {
        let asked = object.attr(ATTRIBUTE).and_then(|value| <Asked as Model>::decode(value).ok()).unwrap_or_default();
        let pick = |asked: Value<String>, default| {
            asked.known().and_then(|text| parse_duration(text)).map_or(default, |length| length.min(LONGEST))
        };
        Self {
            create: pick(asked.create, self.create),
            read: pick(asked.read, self.read),
            update: pick(asked.update, self.update),
            delete: pick(asked.delete, self.delete),
        }
    }

    pub(super) fn attribute(self) -> Attribute {
        Attribute::new(ATTRIBUTE, <Value<Asked> as Field>::shape()).optional().describe(format!(
            "How long each operation may take, as lengths of time such as `90s` or `10m`. \
             By default {} to create, {} to read, {} to update and {} to delete.",
            spelled(self.create),
            spelled(self.read),
            spelled(self.update),
            spelled(self.delete),
        ))
    }
}

model! {
    /// How long each operation may take.
    pub(super) struct Asked {
        /// Time to create the object and wait for it to be ready.
        #[attr(optional, validate(duration()))]
        create: Value<String>,
        /// Time to refresh the state.
        #[attr(optional, validate(duration()))]
        read: Value<String>,
        /// Time to update the object and wait for it to be ready.
        #[attr(optional, validate(duration()))]
        update: Value<String>,
        /// Time to destroy the object and wait until it is gone.
        #[attr(optional, validate(duration()))]
        delete: Value<String>,
    }
}

fn spelled(length: Duration) -> String {
    let seconds = length.as_secs();
    if seconds.is_multiple_of(60) { format!("{}m", seconds / 60) } else { format!("{seconds}s") }
}
