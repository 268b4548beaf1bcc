//! Admin HTTP: `/livez`, `/readyz`, `/metrics`, `/api/NAME` (what SHOW NAME shows, as JSON).
//!
//! With `admin.token` every request must show it, but for the two probes; those tell details only to who shows it.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

use super::show::Show;
use super::{Admin, exposition};

/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until the process ends.
pub(super) async fn serve(admin: Arc<Admin>, listener: TcpListener) {
    if let Err(error) = axum::serve(listener, router(admin)).await {
        tracing::error!(%error, "admin HTTP has ended");
    }
}

fn router(admin: Arc<Admin>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/api", get(index))
        .route("/api/{name}", get(show))
        .layer(from_fn_with_state(Arc::clone(&admin), guard));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .merge(guarded)
        .with_state(admin)
}

/// Whether a request shows the token, if there is one to be shown.
fn is_authorized(admin: &Admin, headers: &HeaderMap) -> bool {
    let config = admin.config();
    let Some(token) = &config.admin.token else { return true };
    let shown = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let shown = shown.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    bool::from(shown.ct_eq(token.reveal().as_bytes()))
}

async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    if is_authorized(&admin, request.headers()) {
        return next.run(request).await;
    }
    let told = Json(json!({ "error": "show the token: Authorization: Bearer <admin.token>" }));
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], told).into_response()
}

async fn readyz(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let readiness = admin.readiness().await;
    let code = if readiness.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if is_authorized(&admin, &headers) {
        (code, Json(readiness.details)).into_response()
    } else {
        (code, Json(json!({ "ready": readiness.is_ready }))).into_response()
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    match exposition::page(&admin).await {
        Ok(page) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn index() -> Response {
    Json(json!({ "show": names() })).into_response()
}

async fn show(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Response {
    let show = Show::named(&name.to_ascii_uppercase()).filter(|show| *show != Show::Help);
    if let Some(show) = show {
        return Json(show.table(&admin).await.to_json()).into_response();
    }
    let told = json!({ "error": format!("nothing is called {name}"), "show": names() });
    (StatusCode::NOT_FOUND, Json(told)).into_response()
}

fn names() -> Vec<String> {
    let shown = Show::ALL.iter().filter(|show| **show != Show::Help);
    shown.map(|show| show.name().to_ascii_lowercase()).collect()
}
