//! This file knows how the program speaks of itself: its name in a command that a reader may copy, and why it failed.

use std::path::PathBuf;

/// Its path; it need not be in anybody's search path.
pub fn name() -> String {
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("ultramarine"));
    path.display().to_string()
}

/// An error with its causes, in one line. Some errors end with their cause's words already; those are not said twice.
pub fn causes(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let words = cause.to_string();
        if line.ends_with(&words) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&words);
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use ultramarine_engine::http::{HttpClient, HttpError};

    use super::*;

    #[test]
    fn a_cause_that_an_error_ends_with_is_said_once() {
        let connect = HttpError::Connect {
            authority: "a:1".to_owned(),
            source: std::io::Error::other("refused"),
        };
        let error = anyhow::Error::from(connect).context("asking").context("putting");
        assert_eq!(causes(&error), "putting: asking: cannot connect to a:1: refused");
        let error = anyhow::anyhow!("inner").context("outer");
        assert_eq!(causes(&error), "outer: inner", "and others are said");
    }

    #[tokio::test]
    async fn a_closed_port_is_named_once() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = closed.local_addr().expect("bound");
        drop(closed);
        let client = HttpClient::new(&format!("http://{address}"), 1000).expect("a URL");
        let asked = client.get("/status").await.context("asking a node");
        let line = causes(&asked.expect_err("nobody listens"));
        assert_eq!(line.matches("refused").count(), 1, "{line}");
        assert_eq!(line.matches(&address.to_string()).count(), 1, "{line}");
    }
}
