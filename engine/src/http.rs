//! This file knows how to speak HTTP/1.1 to one server: connections kept alive, one retry when an idle one was reset.
//!
//! Plain TCP only: the execution client and the node's own API listen on loopback, or on the operator's own network.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use ultramarine_types::url::HttpUrl;
pub use ultramarine_types::url::UrlError;

/// Idle connections kept: as many as calls of different kinds overlap.
const IDLE_MAX: usize = 8;

/// A server, named by URL, and the connections to it that are free.
#[derive(Debug)]
pub struct HttpClient {
    authority: String,
    path: String,
    answer_bytes_max: usize,
    idle: Mutex<Vec<Connection>>,
}

/// A connection, and the task that drives it.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The task ends by itself, unless it is writing to a server that does not read.
        self.task.abort();
    }
}

/// A whole answer, whatever its status.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    pub status: StatusCode,
    /// Where a redirecting server points to.
    pub location: Option<String>,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nothing listens there, or the name does not resolve.
    #[error("cannot connect to {authority}: {source}")]
    Connect { authority: String, source: std::io::Error },
    /// The exchange broke off.
    #[error("the exchange with {authority} broke off: {source}")]
    Broken { authority: String, source: hyper::Error },
    /// The request itself cannot be written down.
    #[error("the request is not valid HTTP: {0}")]
    Request(#[from] hyper::http::Error),
    /// The answer is larger than any answer to our calls can be.
    #[error("the answer is above {max} bytes")]
    Oversize {
        /// In bytes, and without the head.
        max: usize,
    },
    /// The answer is compressed, which we do not read.
    #[error(
        "{authority} compresses its answers ({encoding}), which we did not ask for: turn that off there, or in the \
         proxy before it"
    )]
    Encoded { authority: String, encoding: String },
}

impl HttpError {
    /// Whether something answers that speaks another protocol.
    pub fn is_foreign(&self) -> bool {
        match self {
            Self::Broken { source, .. } => source.is_parse(),
            Self::Request(_) | Self::Oversize { .. } | Self::Encoded { .. } => true,
            Self::Connect { .. } => false,
        }
    }
}

impl HttpClient {
    /// A client of `url`; no answer may be larger than `answer_bytes_max`. Connects when first used.
    pub fn new(url: &str, answer_bytes_max: usize) -> Result<Self, UrlError> {
        let url: HttpUrl = url.parse()?;
        Ok(Self {
            authority: url.authority().to_string(),
            path: url.path,
            answer_bytes_max,
            idle: Mutex::new(Vec::new()),
        })
    }

    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Posts JSON to the URL's path, with a bearer token if one is given.
    pub async fn post(&self, body: Bytes, token: Option<&str>) -> Result<HttpAnswer, HttpError> {
        self.exchange(&Method::POST, &self.path, &body, token).await
    }

    /// Gets a path below the URL's; `path` begins with a slash.
    pub async fn get(&self, path: &str) -> Result<HttpAnswer, HttpError> {
        let path = format!("{}{path}", self.path.trim_end_matches('/'));
        self.exchange(&Method::GET, &path, &Bytes::new(), None).await
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: &Bytes,
        token: Option<&str>,
    ) -> Result<HttpAnswer, HttpError> {
        // A server may close an idle connection just while we write. All our requests may safely be repeated, so if a
        // kept connection fails, we try once more with a fresh one.
        if let Some(mut kept) = self.take_idle().await {
            match kept
                .sender
                .send_request(self.request(method, path, body.clone(), token)?)
                .await
            {
                Ok(response) => return self.finish(kept, response).await,
                Err(error) => tracing::debug!(
                    "a kept connection to {} failed, trying a fresh one: {error}",
                    self.authority
                ),
            }
            self.free().clear();
        }
        let mut fresh = self.connect().await?;
        let response = fresh
            .sender
            .send_request(self.request(method, path, body.clone(), token)?)
            .await;
        let response = response.map_err(|source| self.broken(source))?;
        self.finish(fresh, response).await
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        token: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        Ok(request.body(Full::new(body))?)
    }

    async fn finish(&self, connection: Connection, response: Response<Incoming>) -> Result<HttpAnswer, HttpError> {
        let status = response.status();
        let header = |name: HeaderName| response.headers().get(name)?.to_str().ok();
        let location = header(LOCATION).map(str::to_owned);
        let announced = header(CONTENT_LENGTH).and_then(|value| value.parse().ok());
        if let Some(encoding) = header(CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err(HttpError::Encoded {
                authority: self.authority.clone(),
                encoding: encoding.chars().take(40).collect(),
            });
        }
        let oversize = HttpError::Oversize {
            max: self.answer_bytes_max,
        };
        if announced.is_some_and(|bytes: usize| bytes > self.answer_bytes_max) {
            return Err(oversize);
        }
        let mut frames = response.into_body();
        let mut body = Vec::with_capacity(announced.unwrap_or(4096));
        while let Some(frame) = frames.frame().await {
            let Ok(data) = frame.map_err(|source| self.broken(source))?.into_data() else {
                continue;
            };
            if body.len() + data.len() > self.answer_bytes_max {
                return Err(oversize);
            }
            body.extend_from_slice(&data);
        }
        let mut free = self.free();
        if free.len() < IDLE_MAX {
            free.push(connection);
        }
        Ok(HttpAnswer {
            status,
            location,
            body: body.into(),
        })
    }

    async fn connect(&self) -> Result<Connection, HttpError> {
        let connect = |source| HttpError::Connect {
            authority: self.authority.clone(),
            source,
        };
        let stream = TcpStream::connect(&self.authority).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| self.broken(source))?;
        // The request that it fails sees its error.
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, task })
    }

    /// The most recently used connection that is still open.
    async fn take_idle(&self) -> Option<Connection> {
        loop {
            let mut kept = self.free().pop()?;
            if kept.sender.ready().await.is_ok() {
                return Some(kept);
            }
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Connection>> {
        // The list is whole at every point where a panic could leave it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self, source: hyper::Error) -> HttpError {
        HttpError::Broken {
            authority: self.authority.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one request per connection with `reply`, then closes without a word.
    async fn one_answer_each(listener: TcpListener, reply: &'static str) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(reply.as_bytes()).await;
        }
    }

    async fn server(reply: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(one_answer_each(listener, reply));
        url
    }

    #[test]
    fn only_plain_http_urls_are_taken() {
        for url in [
            "https://h:1",
            "h:1",
            "http://",
            "http://:1",
            "http://h:port",
            "http://a@h:1",
            "",
        ] {
            assert!(HttpClient::new(url, 1).is_err(), "{url}");
        }
        for (url, authority) in [
            ("http://h", "h:80"),
            ("http://h:1/", "h:1"),
            ("http://[::1]:7/x", "[::1]:7"),
        ] {
            assert_eq!(HttpClient::new(url, 1).expect(url).authority(), authority);
        }
    }

    #[tokio::test]
    async fn a_reset_of_an_idle_connection_is_retried_once() {
        let url = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        let client = HttpClient::new(&url, 100).expect("a URL");
        for _ in 0..5 {
            let answer = client
                .post(Bytes::from_static(b"{}"), None)
                .await
                .expect("each is answered");
            assert_eq!(&answer.body[..], b"ok");
        }
    }

    #[tokio::test]
    async fn a_connection_is_kept_until_it_breaks_and_then_replaced() {
        const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let accepted = std::sync::Arc::new(AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 4096];
                for _ in 0..2 {
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(REPLY).await;
                }
                // It closes while the third is written.
                let _ = stream.read(&mut request).await;
            }
        });
        let client = HttpClient::new(&url, 100).expect("a URL");
        for (number, connections) in [1, 1, 2, 2].into_iter().enumerate() {
            let answer = client.get("/").await;
            assert_eq!(&answer.expect("each is answered").body[..], b"ok");
            assert_eq!(accepted.load(Ordering::SeqCst), connections, "request {number}");
        }
    }

    #[tokio::test]
    async fn an_answer_above_the_bound_is_cut_off_whether_announced_or_not() {
        for reply in [
            "HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n",
            concat!(
                "HTTP/1.1 200 OK\r\n\r\n",
                "01234567890123456789012345678901234567890123456789",
                "01234567890123456789012345678901234567890123456789x"
            ),
        ] {
            let client = HttpClient::new(&server(reply).await, 100).expect("a URL");
            let error = client.get("/").await.expect_err("too much");
            assert!(matches!(error, HttpError::Oversize { max: 100 }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_compressed_answer_and_another_protocol_are_named() {
        let packed = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n..";
        let client = HttpClient::new(&server(packed).await, 100).expect("a URL");
        let error = client.get("/").await.expect_err("not read");
        assert!(error.is_foreign() && error.to_string().contains("(gzip)"), "{error}");
        let plain = "HTTP/1.1 200 OK\r\ncontent-encoding: Identity\r\ncontent-length: 2\r\n\r\nok";
        let client = HttpClient::new(&server(plain).await, 100).expect("a URL");
        assert_eq!(&client.get("/").await.expect("it is plain").body[..], b"ok");
        // What a TLS server says to plain text: an alert.
        let client = HttpClient::new(&server("\x15\x03\x01\x00\x02\x02\x46").await, 100).expect("a URL");
        let error = client.get("/").await.expect_err("no HTTP");
        assert!(error.is_foreign(), "{error}");
        let client = HttpClient::new(&server("").await, 100).expect("a URL");
        assert!(!client.get("/").await.expect_err("gone").is_foreign());
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_an_error_that_names_it() {
        let client = HttpClient::new(&server("").await, 100).expect("a URL");
        let error = client.get("/").await.expect_err("no answer").to_string();
        assert!(error.contains(client.authority()), "{error}");
    }
}
