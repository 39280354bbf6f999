//! The admin listener: HTTP for people, probes and Prometheus.
//!
//! | path | answer |
//! | --- | --- |
//! | `/livez` | 200 while the process runs |
//! | `/readyz` | 200 when requests are served, else 503 and a line for each reason |
//! | `/metrics` | Prometheus' text format |

use crate::metrics::{Metrics, Readiness};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Starts to listen at `address`; returns where, and what serves until `stop` ends. Needs a tokio runtime.
///
/// # Errors
/// If the address cannot be listened at.
#[allow(clippy::disallowed_types, reason = "HTTP is not part of what is simulated")]
pub async fn listen(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<(SocketAddr, impl Future<Output = io::Result<()>> + Send)> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = routes(metrics, readiness);
    Ok((address, async move { axum::serve(listener, router).with_graceful_shutdown(stop).await }))
}

fn routes(metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move {
                match readiness.missing() {
                    None => (StatusCode::OK, "ok\n".to_owned()),
                    Some(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons),
                }
            }),
        )
        .route(
            "/metrics",
            get(move || async move {
                let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, content_type)], metrics.text()).into_response()
            }),
        )
}
