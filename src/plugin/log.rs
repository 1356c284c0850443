//! Logs as go-plugin reads them: one JSON object per line on standard error.
//!
//! go-plugin is strict: the time has exactly six decimals or the line counts as raw text, numbers are read as floating
//! point (so we write them as text), a line of 64 KiB or more is cut in pieces. Values of attributes never enter a
//! log, since what is sensitive is not marked on the wire.

use std::fmt::{self, Write as _};
use std::io::Write;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use super::mask;

/// The crate whose events are the provider's own, and its part that is the protocol's.
const OWN: &str = "terraform_provider_mesh";
const PROTOCOL: &str = "terraform_provider_mesh::plugin";

/// Where the requests' spans belong. Their fields are wanted by the provider's lines as well as by the protocol's.
pub(super) const SPAN_TARGET: &str = "terraform_provider_mesh::plugin::span";

/// go-plugin's buffer for a line is 64 KiB; what JSON's escapes add must fit as well.
const LONGEST_TEXT: usize = 8 << 10;
const LONGEST_LINE: usize = 60 << 10;

/// Sends the process's events to standard error, as far as the environment asks for them.
pub fn start(variable: impl Fn(&str) -> Option<String>) {
    let levels = Levels::parse(variable);
    if levels.all_off() {
        return;
    }
    let subscriber = Registry::default().with(HclogLayer::new(std::io::stderr).with_filter(levels.targets()));
    // Fails only where somebody started logging before, who then gets the events.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// A panic leaves a line in the log instead of go-plugin's "panic" mode, in which everything after it is an error.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // What was put together at run time may hold a secret.
        let text = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(its text is not told)");
        tracing::error!(%place, "the provider panicked: {text}");
    }));
}

#[derive(Debug, PartialEq, Eq)]
struct Levels {
    provider: LevelFilter,
    protocol: LevelFilter,
    dependencies: LevelFilter,
}

impl Levels {
    /// The more special variable wins. Dependencies are silent unless asked for: at trace, HTTP/2 alone writes
    /// thousands of lines a plan.
    fn parse(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| names.iter().find_map(|name| level(&variable(name)?)).unwrap_or(LevelFilter::OFF);
        Self {
            provider: first(&["TF_LOG_PROVIDER_MESH", "TF_LOG_PROVIDER", "TF_LOG"]),
            protocol: first(&["TF_LOG_SDK_PROTO", "TF_LOG_SDK", "TF_LOG_PROVIDER", "TF_LOG"]),
            dependencies: first(&["TF_LOG_PROVIDER_MESH_DEPENDENCIES"]),
        }
    }

    fn all_off(&self) -> bool {
        [self.provider, self.protocol, self.dependencies].iter().all(|level| *level == LevelFilter::OFF)
    }

    fn targets(&self) -> Targets {
        Targets::new()
            .with_target(OWN, self.provider)
            .with_target(PROTOCOL, self.protocol)
            .with_target(SPAN_TARGET, self.provider.max(self.protocol))
            .with_default(self.dependencies)
    }
}

fn level(text: &str) -> Option<LevelFilter> {
    match text.to_ascii_uppercase().as_str() {
        "" => None,
        "ERROR" => Some(LevelFilter::ERROR),
        "WARN" => Some(LevelFilter::WARN),
        "INFO" => Some(LevelFilter::INFO),
        "DEBUG" => Some(LevelFilter::DEBUG),
        "OFF" | "NONE" => Some(LevelFilter::OFF),
        // The cores take JSON, and any word they do not know, as their finest level.
        _ => Some(LevelFilter::TRACE),
    }
}

/// Writes events with the fields of the spans they lie in.
struct HclogLayer<W> {
    writer: W,
}

impl<W> HclogLayer<W> {
    fn new(writer: W) -> Self {
        Self { writer }
    }
}

/// What a span contributes to the lines written inside it.
struct SpanFields(Map<String, Value>);

impl<S, W, O> Layer<S> for HclogLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn() -> O + 'static,
    O: Write,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.named));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(span) = context.span(id)
            && let Some(kept) = span.extensions_mut().get_mut::<SpanFields>()
        {
            kept.0.extend(fields.named);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            if let Some(kept) = span.extensions().get::<SpanFields>() {
                fields.named.extend(kept.0.clone());
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        let now = jiff::Timestamp::now();
        let line = line(&Line { level: *metadata.level(), target: metadata.target(), now, fields });
        // The core may have closed its end. Nobody is left to be told.
        let _ = (self.writer)().write_all(line.as_bytes());
    }
}

struct Line<'a> {
    level: Level,
    target: &'a str,
    now: jiff::Timestamp,
    fields: Fields,
}

fn line(Line { level, target, now, fields }: &Line<'_>) -> String {
    let mut object = Map::new();
    let mut set = |key: &str, text: String| object.insert(key.to_owned(), Value::String(text));
    set("@level", level.as_str().to_ascii_lowercase());
    set("@message", shortened(&mask::secrets(&fields.message)));
    set("@module", module(target));
    set("@timestamp", now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
    let bare = object.clone();
    object.extend(fields.named.iter().filter(|(key, _)| !key.starts_with('@')).map(|(k, v)| (k.clone(), v.clone())));
    let mut text = Value::Object(object).to_string();
    if text.len() >= LONGEST_LINE {
        text = Value::Object(bare).to_string();
    }
    text.push('\n');
    text
}

/// The names under which the cores' users know the parts of a provider.
fn module(target: &str) -> String {
    if target.starts_with(PROTOCOL) {
        "sdk.proto".to_owned()
    } else if let Some(inner) = target.strip_prefix(OWN) {
        format!("provider.mesh{}", inner.replace("::", "."))
    } else {
        format!("provider.mesh.{}", target.replace("::", "."))
    }
}

fn shortened(text: &str) -> String {
    let mut end = LONGEST_TEXT.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut short = text[..end].to_owned();
    if end < text.len() {
        // Writing to a String cannot fail.
        let _ = write!(short, " … ({} bytes left out)", text.len() - end);
    }
    short
}

#[derive(Default)]
struct Fields {
    message: String,
    named: Map<String, Value>,
}

impl Fields {
    fn set(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            self.message = text.to_owned();
        } else {
            self.named.insert(field.name().to_owned(), Value::String(shortened(&mask::secrets(text))));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, &with_causes(value));
    }
}
/// An error and everything that caused it, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `events` cause.
    fn lines(events: impl FnOnce()) -> Vec<Value> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let levels = Levels::parse(|name| (name == "TF_LOG").then(|| "trace".to_owned()));
        let layer = HclogLayer::new(move || writer.clone()).with_filter(levels.targets());
        tracing::subscriber::with_default(Registry::default().with(layer), events);
        let bytes = buffer.0.lock().unwrap().clone();
        bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| {
                assert!(line.len() < 64 << 10, "a line of {} bytes", line.len());
                serde_json::from_slice(line).unwrap()
            })
            .collect()
    }

    #[test]
    fn line_is_what_go_plugin_parses() {
        let lines = lines(|| {
            let span = tracing::info_span!("rpc", tf_rpc = "ReadResource", tf_req_id = 7);
            let _inside = span.enter();
            tracing::info!(count = 3, fine = true, "read");
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line["@level"], "info");
        assert_eq!(line["@message"], "read");
        assert_eq!(line["@module"], "sdk.proto");
        assert_eq!(line["tf_rpc"], "ReadResource");
        assert_eq!((&line["tf_req_id"], &line["count"], &line["fine"]), (&"7".into(), &"3".into(), &"true".into()));
        let time = line["@timestamp"].as_str().unwrap();
        assert!(regex::Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$").unwrap().is_match(time), "{time}");
    }

    #[test]
    fn whole_second_keeps_its_six_decimals() {
        let fields = Fields::default();
        let text = line(&Line { level: Level::INFO, target: "x", now: jiff::Timestamp::UNIX_EPOCH, fields });
        assert!(text.contains("\"1970-01-01T00:00:00.000000Z\""), "{text}");
    }

    #[test]
    fn secrets_are_masked_and_long_texts_cut() {
        let lines = lines(|| {
            tracing::info!(token = "eyJhbGciOiJSUzI1.eyJpc3MiOiJr.c2ln", "-----BEGIN PRIVATE KEY-----\nMHc");
            tracing::info!("{}", "\u{1}".repeat(1 << 20));
            tracing::info!(a = "\u{1}".repeat(9000), b = "\u{1}".repeat(9000), "kept");
        });
        assert_eq!((&lines[0]["token"], &lines[0]["@message"]), (&"(hidden)".into(), &"(hidden)".into()));
        assert!(lines[1]["@message"].as_str().unwrap().ends_with("bytes left out)"));
        assert_eq!(lines[2]["@message"], "kept");
    }

    #[test]
    fn special_variable_wins_and_dependencies_are_silent() {
        let of = |pairs: &[(&str, &str)]| {
            Levels::parse(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(of(&[]).all_off());
        let levels = of(&[("TF_LOG", "warn"), ("TF_LOG_PROVIDER_MESH", "debug"), ("TF_LOG_SDK_PROTO", "off")]);
        assert_eq!(
            levels,
            Levels { provider: LevelFilter::DEBUG, protocol: LevelFilter::OFF, dependencies: LevelFilter::OFF }
        );
        assert_eq!(of(&[("TF_LOG", "json")]).provider, LevelFilter::TRACE);
        assert_eq!(of(&[("TF_LOG_SDK", "error"), ("TF_LOG", "trace")]).protocol, LevelFilter::ERROR);
    }
}
