//! This file knows how requests to an S3-compatible store travel: by hyper, over TLS unless the address says otherwise.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::BodyExt;
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
    HttpClient::new(Service(client))
}

fn tcp() -> Tcp {
    let mut tcp = Tcp::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_WAIT));
    tcp
}

#[derive(Debug)]
struct Service<C>(Client<C, HttpRequestBody>);

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl<C: Connect + Clone + Send + Sync + fmt::Debug + 'static> HttpService for Service<C> {
    // The trait is made by `async_trait`: this is what its macro would write.
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move { answer(self.0.request(request).await) })
    }
}

fn answer(
    answer: Result<hyper::Response<hyper::body::Incoming>, hyper_util::client::legacy::Error>,
) -> Result<HttpResponse, HttpError> {
    match answer {
        Ok(response) => Ok(response.map(|body| {
            HttpResponseBody::new(body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error)))
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
