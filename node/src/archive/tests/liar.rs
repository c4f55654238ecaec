//! A server that lies about an archive: whatever it claims or sends, nothing of ours ends or grows for it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ultramarine_store::archive::HeightSpan;
use ultramarine_types::{Height, fixtures};

use crate::archive::address::{ArchiveAddress, BucketAccess};
use crate::archive::remote::{ArchiveError, ListedObject, Remote};

const MIB: u64 = 1 << 20;
/// More than any memory holds.
const VAST: u64 = 1 << 46;

/// Answers a request. An error means that the client has hung up.
type Lie = fn(&mut Sent, &Request) -> std::io::Result<()>;

struct Request {
    line: String,
    range: Option<String>,
}

/// A connection that counts what was sent.
struct Sent {
    stream: TcpStream,
    bytes: Arc<AtomicU64>,
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// A server that lives as long as the test's process, and the bytes that it could send.
fn server(lie: Lie) -> (Remote, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let bytes = Arc::new(AtomicU64::new(0));
    let sent = Arc::clone(&bytes);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let bytes = Arc::clone(&sent);
            std::thread::spawn(move || {
                let mut request = Request {
                    line: String::new(),
                    range: None,
                };
                let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
                request.line = lines.next().and_then(Result::ok).unwrap_or_default();
                for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
                    if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                        request.range = Some(range.to_owned());
                    }
                }
                // The client hangs up.
                let _ = lie(&mut Sent { stream, bytes }, &request);
            });
        }
    });
    let keys = tempfile::NamedTempFile::new().expect("a file of ours alone");
    std::fs::write(&keys, "aws_access_key_id = a\naws_secret_access_key = b\n").expect("written");
    let access = BucketAccess {
        endpoint: Some(endpoint),
        region: Some("us-east-1".to_owned()),
        credentials_file: Some(keys.path().to_owned()),
    };
    let address = ArchiveAddress::read("s3://bucket/x").expect("an address");
    let remote = Remote::open(&address, &access, fixtures::CHAIN, false).expect("it is not asked yet");
    (remote, bytes)
}

fn wait<T>(asked: impl Future<Output = Result<T, ArchiveError>>) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = runtime.expect("a runtime").block_on(asked);
    answer.err().expect("nobody believes it").to_string()
}

fn object(bytes: u64) -> ListedObject {
    ListedObject {
        span: HeightSpan::new(Height(1), Height(4)),
        bytes,
    }
}

/// Sends what was never asked for until the client has had enough.
fn endless(sent: &mut Sent, request: &Request) -> std::io::Result<()> {
    let range = request.range.as_deref().unwrap_or("0-0");
    write!(
        sent,
        "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nETag: \"1\"\r\nLast-Modified: Mon, 30 Nov 2026 00:00:00 \
         GMT\r\nContent-Range: bytes {range}/1048576\r\nContent-Length: {VAST}\r\n\r\n"
    )?;
    loop {
        sent.write_all(&[0; 65_536])?;
    }
}

/// Claims a length that no machine has memory for.
fn vast(sent: &mut Sent, _: &Request) -> std::io::Result<()> {
    write!(
        sent,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {VAST}\r\n\r\n"
    )?;
    for _ in 0..4 {
        sent.write_all(b"<ListBucketResult>")?;
        sent.flush()?;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(())
}

/// A listing of which each page has another one behind it.
fn pages(sent: &mut Sent, _: &Request) -> std::io::Result<()> {
    let mut page = String::from("<ListBucketResult><IsTruncated>true</IsTruncated>");
    page.push_str("<NextContinuationToken>more</NextContinuationToken>");
    for name in 0..1000 {
        page.push_str(&format!(
            "<Contents><Key>x/{name:01000}</Key><LastModified>2026-11-30T00:00:00.000Z</LastModified>\
             <Size>1</Size></Contents>"
        ));
    }
    page.push_str("</ListBucketResult>");
    let length = page.len();
    write!(
        sent,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{page}"
    )
}

#[test]
fn an_object_that_never_ends_is_cut_off() {
    let (remote, sent) = server(endless);
    let error = wait(remote.get(object(MIB)));
    assert!(error.contains("its answer has more than"), "{error}");
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 64 * MIB, "{sent} bytes were taken of a mebibyte");
}

#[test]
fn a_length_that_no_memory_holds_is_an_error() {
    let (remote, _) = server(vast);
    wait(remote.list());
}

#[test]
fn a_listing_that_never_ends_is_cut_off() {
    let (remote, sent) = server(pages);
    let error = wait(remote.list());
    assert!(error.contains("its answer has more than"), "{error}");
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 400 * MIB, "{sent} bytes were taken");
}
