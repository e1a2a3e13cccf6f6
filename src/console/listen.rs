//! Connections: how many are taken, how long a browser may dawdle, and what it is told when there are too many.
//!
//! Each connection is a task of the one runtime. A browser that is slow with its handshake, its request or its next
//! request is dropped; one for whom there is no room is told so before it has said anything.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use openssl::ssl::{Ssl, SslContext};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_openssl::SslStream;

/// Connections at a time.
pub const CONNECTIONS_MAX: usize = 256;
/// How long a browser may take for a handshake, for the head of a request, or between two requests.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Longest head of a request.
const HEAD_MAX_BYTES: usize = 32 << 10;
/// How long accepting rests where no descriptor is left.
const REST: Duration = Duration::from_millis(100);

/// Who a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Takes connections for ever.
pub async fn accept(listener: TcpListener, tls: Option<SslContext>, pages: Router, places: Arc<Semaphore>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                log::debug!("console: {error}");
                sleep(REST).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tokio::spawn(turn_away(stream, tls.is_some()));
            continue;
        };
        let (pages, tls) = (pages.clone().layer(Extension(Peer(peer))), tls.clone());
        tokio::spawn(async move {
            match tls {
                Some(context) => match greeted(stream, &context).await {
                    Some(stream) => serve(stream, pages).await,
                    None => log::debug!("console: {peer}: no TLS"),
                },
                None => serve(stream, pages).await,
            }
            drop(place);
        });
    }
}

async fn greeted(stream: TcpStream, context: &SslContext) -> Option<SslStream<TcpStream>> {
    let mut stream = SslStream::new(Ssl::new(context).ok()?, stream).ok()?;
    let greeting = std::pin::Pin::new(&mut stream).accept();
    timeout(PATIENCE, greeting).await.ok()?.ok()?;
    Some(stream)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, pages: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD_MAX_BYTES);
    let service = TowerToHyperService::new(pages);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        log::debug!("console: {error}");
    }
}

/// Tells a browser that there is no room for it, where it can be told in plain text.
async fn turn_away(mut stream: TcpStream, secure: bool) {
    const TEXT: &str = "too many connections are open; close some pages, or try again later\n";
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 5\r\n\
        content-length: {}\r\nconnection: close\r\n\r\n{TEXT}",
        TEXT.len()
    );
    if !secure {
        // It goes away all the same.
        drop(timeout(Duration::from_secs(1), stream.write_all(answer.as_bytes())).await);
    }
}
