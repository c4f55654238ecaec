//! This file knows how requests to an S3-compatible store travel: by hyper, over TLS unless the address says otherwise.
//!
//! Keeps: whatever a server claims or sends, an answer takes no more memory than what was asked for may have.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::RANGE;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector as Tcp};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};

/// How the words of a failed connection begin.
pub const NO_CONNECTION: &str = "cannot connect";
/// A server that does not take a connection within this time is away.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Connections that nobody uses are closed after this time.
const IDLE_WAIT: Duration = Duration::from_secs(60);
/// Bytes of an answer beside those of an object: a page of a listing has a thousand names, each of a few KB at most.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a whole listing. It names half a million objects.
const LISTING_BYTES_MAX: u64 = 256 << 20;

/// Makes clients over TLS, whose roots are the machine's.
#[derive(Debug)]
pub struct TlsClients;

/// Makes clients without TLS, for an address that begins with `http://`.
#[derive(Debug)]
pub struct PlainClients;

impl HttpConnector for TlsClients {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let provider = rustls::crypto::ring::default_provider();
        let builder = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|source| object_store::Error::Generic {
                store: "S3",
                source: format!("no root certificates on this machine ({source}); install ca-certificates").into(),
            })?;
        let connector = builder.https_only().enable_http1().wrap_connector(tcp());
        Ok(client(connector))
    }
}

impl HttpConnector for PlainClients {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(client(tcp()))
    }
}

fn client<C: Connect + Clone + Send + Sync + fmt::Debug + 'static>(connector: C) -> HttpClient {
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_WAIT)
        .pool_timer(TokioTimer::new())
        .build(connector);
    HttpClient::new(Service {
        client,
        listed_bytes: Arc::default(),
    })
}

fn tcp() -> Tcp {
    let mut tcp = Tcp::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_WAIT));
    tcp
}

#[derive(Debug)]
struct Service<C> {
    client: Client<C, HttpRequestBody>,
    /// Of the pages of a listing, since its first.
    listed_bytes: Arc<AtomicU64>,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl<C: Connect + Clone + Send + Sync + fmt::Debug + 'static> HttpService for Service<C> {
    // The trait is made by `async_trait`: this is what its macro would write.
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let wanted_bytes = wanted_bytes(&request);
            let listed_bytes = match page(&request) {
                Some(Page::First) => {
                    self.listed_bytes.store(0, Ordering::Relaxed);
                    Some(Arc::clone(&self.listed_bytes))
                }
                Some(Page::Next) if self.listed_bytes.load(Ordering::Relaxed) > LISTING_BYTES_MAX => {
                    return Err(HttpError::new(HttpErrorKind::Decode, TooLong(LISTING_BYTES_MAX)));
                }
                Some(Page::Next) => Some(Arc::clone(&self.listed_bytes)),
                None => None,
            };
            answer(self.client.request(request).await, wanted_bytes, listed_bytes)
        })
    }
}

/// What an answer may have at most. A server that sends no part of an object sends all of it, and is cut off.
fn wanted_bytes(request: &HttpRequest) -> u64 {
    let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let bytes = range.and_then(|(from, to)| to.parse::<u64>().ok()?.checked_sub(from.parse().ok()?));
    ANSWER_BYTES_MAX.saturating_add(bytes.unwrap_or(0))
}

enum Page {
    First,
    Next,
}

/// The page of a listing that is asked for, if one is.
fn page(request: &HttpRequest) -> Option<Page> {
    let query = request.uri().query().filter(|query| query.contains("list-type=2"))?;
    Some(if query.contains("continuation-token=") {
        Page::Next
    } else {
        Page::First
    })
}

/// A server sends more than anybody asked for.
#[derive(Debug, thiserror::Error)]
#[error("its answer has more than {0} bytes")]
struct TooLong(u64);

fn answer(
    answer: Result<hyper::Response<hyper::body::Incoming>, hyper_util::client::legacy::Error>,
    wanted_bytes: u64,
    listed_bytes: Option<Arc<AtomicU64>>,
) -> Result<HttpResponse, HttpError> {
    match answer {
        Ok(response) => Ok(response.map(|body| {
            let limit = usize::try_from(wanted_bytes).unwrap_or(usize::MAX);
            let body = Limited::new(body, limit).map_err(move |error| {
                if error.is::<LengthLimitError>() {
                    HttpError::new(HttpErrorKind::Decode, TooLong(wanted_bytes))
                } else {
                    HttpError::new_boxed(HttpErrorKind::Interrupted, error)
                }
            });
            HttpResponseBody::new(body.map_frame(move |frame| {
                if let (Some(listed), Some(data)) = (&listed_bytes, frame.data_ref()) {
                    listed.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
                frame
            }))
        })),
        Err(error) if error.is_connect() => Err(HttpError::new(HttpErrorKind::Connect, Unconnected::of(&error))),
        Err(error) => Err(HttpError::new(HttpErrorKind::Request, error)),
    }
}

/// Why there is no connection, in the innermost words: those around it only say that there is none.
#[derive(Debug, thiserror::Error)]
#[error("{NO_CONNECTION}: {0}")]
struct Unconnected(String);

impl Unconnected {
    fn of(error: &dyn Error) -> Self {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        Self(innermost.to_string())
    }
}
