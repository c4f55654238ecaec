//! This file knows how an event becomes a line: as text, or as one JSON object.

use std::fmt::{self, Debug};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use ultramarine_node::config::LogFormat;

/// Where what is said past the log comes from.
const TARGET: &str = "ultramarine::log";
/// Names that every object has; a field of such a name gets an underscore behind it.
const OWN_NAMES: [&str; 4] = ["timestamp", "level", "target", "message"];

/// Writes lines of this format.
pub fn layer<S, W>(format: LogFormat, to: W, colours: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Internal errors are said by a macro that panics where standard error is closed.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(to)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines.with_ansi(false).event_format(JsonLine).boxed(),
    }
}

/// A line of JSON for what is said past the log: by a panic, by an output about itself, or at the end.
pub fn object(level: Level, text: &str) -> String {
    let mut object = Object::begin(level, TARGET).unwrap_or_else(|_| Object(Map::new()));
    object.0.insert("message".to_owned(), text.into());
    Value::Object(object.0).to_string()
}

/// One object a line: time, level, target, message, and the event's fields beside them.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut object = Object::begin(*metadata.level(), metadata.target())?;
        event.record(&mut object);
        writeln!(writer, "{}", Value::Object(object.0))
    }
}

struct Object(Map<String, Value>);

impl Object {
    fn begin(level: Level, target: &str) -> Result<Self, fmt::Error> {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let own = [
            ("timestamp", time.as_str()),
            ("level", level.as_str()),
            ("target", target),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), Value::from(value)));
        Ok(Self(Map::from_iter(own)))
    }

    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        let is_message = name == "message";
        let name = match OWN_NAMES.contains(&name) && !is_message {
            true => format!("{name}_"),
            false => name.to_owned(),
        };
        self.0.insert(name, value);
    }
}

impl Visit for Object {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    /// What is no number in JSON is null.
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }
}
