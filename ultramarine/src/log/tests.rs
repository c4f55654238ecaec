//! Claims about what is logged by default, and about colours.

use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn whole(&self) -> String {
        String::from_utf8(self.0.lock().expect("one thread").clone()).expect("text")
    }
}

impl Write for Text {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("one thread").write(line)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged of a line from each library at each level, under a filter.
fn logged(filter: &str) -> Vec<&'static str> {
    let text = Text::default();
    let writer = text.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(wanted(filter).expect("a filter"))
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        tracing::debug!(target: "ultramarine_node::tiles::core", "our debug");
        tracing::info!(target: "ultramarine_node::tiles::core", "our info");
        tracing::warn!(target: "ultramarine_node::tiles::core", "our warn");
        tracing::info!(target: "arc_malachitebft_core_consensus::handle::vote", "its info");
        tracing::warn!(target: "arc_malachitebft_core_driver::driver", "its warn");
        tracing::warn!(target: "ethrex_rpc::rpc", "client warn");
        tracing::error!(target: "ethrex_rpc::rpc", "client error");
    });
    let text = text.whole();
    let all = [
        "our debug",
        "our info",
        "our warn",
        "its info",
        "its warn",
        "client warn",
        "client error",
    ];
    all.into_iter().filter(|line| text.contains(line)).collect()
}

#[test]
fn libraries_are_quiet_unless_the_operator_asks_them() {
    let cases: [(&str, &[&str]); 9] = [
        ("info", &["our info", "our warn", "its warn", "client error"]),
        (
            "debug",
            &["our debug", "our info", "our warn", "its warn", "client error"],
        ),
        // Never more than was asked of everything.
        ("warn", &["our warn", "its warn", "client error"]),
        ("error", &["client error"]),
        ("off", &[]),
        ("ultramarine_node=info", &["our info", "our warn"]),
        // What is asked for by name.
        (
            "info,arc_malachitebft_core_consensus=info",
            &["our info", "our warn", "its info", "its warn", "client error"],
        ),
        (
            "info, arc_malachitebft=debug",
            &["our info", "our warn", "its info", "its warn", "client error"],
        ),
        (
            "ethrex_rpc=warn,arc_malachitebft=error,info",
            &["our info", "our warn", "client warn", "client error"],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(logged(filter), expected, "{filter}");
    }
}

#[test]
fn a_filter_that_is_none_is_named() {
    let error = format!("{:#}", wanted("ultramarine_net=loud").expect_err("no level"));
    assert!(error.contains("ultramarine_net=loud"), "{error}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let wants = |is_terminal, no_color: Option<&str>, term: Option<&str>| {
        wants_colours(is_terminal, no_color.map(OsStr::new), term.map(OsStr::new))
    };
    assert!(wants(true, None, Some("xterm-256color")));
    assert!(wants(true, Some(""), Some("xterm")), "an empty NO_COLOR says nothing");
    assert!(!wants(false, None, Some("xterm")), "a file or a pipe");
    assert!(!wants(true, Some("1"), Some("xterm")));
    assert!(!wants(true, None, Some("dumb")));
    assert!(!wants(true, None, None), "nobody knows what it understands");
}

#[test]
fn a_json_line_has_every_field_and_numbers_stay_numbers() {
    let text = Text::default();
    let writer = text.clone();
    let layer = lines::layer(LogFormat::Json, move || writer.clone(), true);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let missing: Option<f64> = None;
        tracing::info!(
            target: "ultramarine_node::tiles::core",
            height = 7_u64, offset = -3, share = 0.5, synced = false, name = "a\"b",
            value = %format_args!("0x{:02x}", 1), missing, level = "own", "decided\nat last"
        );
        tracing::warn!("no field");
    });
    let text = text.whole();
    let read: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(read.len(), 2, "{text}");
    let timestamp = read[0]["timestamp"].as_str().expect("a time");
    assert!(timestamp.contains('T') && timestamp.ends_with('Z'), "{timestamp}");
    let expected = serde_json::json!({
        "timestamp": timestamp, "level": "INFO", "target": "ultramarine_node::tiles::core",
        "message": "decided\nat last", "height": 7, "offset": -3, "share": 0.5, "synced": false, "name": "a\"b",
        "value": "0x01", "level_": "own",
    });
    assert_eq!(read[0], expected);
    assert_eq!(
        (&read[1]["level"], &read[1]["message"]),
        (&"WARN".into(), &"no field".into())
    );
}

#[test]
fn what_is_said_past_the_log_is_an_object_with_the_names_of_a_line() {
    let line = worded_as(true, Level::WARN, "two\nlines".to_owned());
    assert!(!line.contains('\n'), "{line}");
    let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (&said["level"], &said["message"]),
        (&"WARN".into(), &"two\nlines".into())
    );
    assert!(
        said["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')),
        "{said}"
    );
    assert!(said["target"].is_string(), "{said}");
    assert_eq!(worded_as(false, Level::WARN, "two\nlines".to_owned()), "two\nlines");
}
