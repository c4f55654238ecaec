//! This file knows how to fetch one document over HTTP from a node on this machine.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longest wait for a node that is busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest document: eight histograms of 150 KB each, in base64, is 1.6 MB.
const BODY_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Fetches `path` below `base` (`http://127.0.0.1:1234`) and returns the body of a 200 answer.
pub fn get(base: &str, path: &str) -> Result<String> {
    let authority = base
        .strip_prefix("http://")
        .with_context(|| format!("{base} is no http:// address"))?
        .trim_end_matches('/');
    let address = authority
        .to_socket_addrs()
        .with_context(|| format!("resolving {authority}"))?
        .next()
        .with_context(|| format!("{authority} has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connecting to {base}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0 and a closed connection mean that the body is neither chunked nor followed by anything. One write is one
    // packet: `write!` on the socket itself would send each piece by itself.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .with_context(|| format!("asking {base}"))?;
    let mut answer = Vec::new();
    stream
        .take(BODY_BYTES_MAX)
        .read_to_end(&mut answer)
        .with_context(|| format!("reading {base}{path}"))?;
    let answer = String::from_utf8(answer).with_context(|| format!("{base}{path} is no text"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("{base}{path} answered no HTTP"))?;
    let status = head.split_whitespace().nth(1).unwrap_or("none");
    if status != "200" {
        bail!("{base}{path} answered {status}");
    }
    Ok(body.to_owned())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::net::TcpListener;

    /// Serves fixed documents until the process ends; the base address.
    pub fn serve(documents: BTreeMap<String, String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { break };
                let mut request = [0; 2048];
                let read = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split_whitespace().nth(1).unwrap_or("").to_owned();
                let answer = match documents.get(&path) {
                    Some(body) => format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
                    None => "HTTP/1.0 404 Not Found\r\n\r\nno".to_owned(),
                };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        base
    }

    #[test]
    fn a_document_comes_back_whole() {
        let base = serve([("/status".to_owned(), "{\"a\":1}\r\n\r\n2".to_owned())].into());
        assert_eq!(get(&base, "/status").expect("served"), "{\"a\":1}\r\n\r\n2");
        assert!(get(&base, "/none").expect_err("not served").to_string().contains("404"));
        assert!(get("ftp://x", "/").is_err());
    }
}
