//! One request of a browser: what a page is given, how it asks the controller, and how it answers.
//!
//! A page asks with the typed requests of the controller's interface, on another thread, so that a controller that thinks
//! holds up no other page. A change needs a role, and is noted as an event with the user's name.

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Bytes,
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use super::{
    listen::Peer,
    server::Shared,
    sessions::Session,
    users::{Role, User},
};
use crate::controller::{
    error::{Error, Kind, Told},
    interface::{Ask, StoreAsk},
};

/// Fields of a form or of a query, in their order.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The fields of a text in the form of URLs.
    pub fn of(bytes: &Bytes) -> Self {
        Self(
            form_urlencoded::parse(bytes)
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// The first value of a name; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a name, where it has one that is not empty.
    pub fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name).trim()).filter(|text| !text.is_empty())
    }

    /// A number; none where the field is empty.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let wrong = |_| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                format!("{name} is no number"),
                "a whole number",
            )
        };
        self.given(name).map(|text| text.parse().map_err(wrong)).transpose()
    }

    /// True where a box is ticked.
    pub fn ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }
}

/// Why there is no page, or no change: what happened and what to try.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The status of the answer.
    pub status: StatusCode,
    /// What happened.
    pub message: String,
    /// What to try.
    pub remedy: Option<String>,
}

impl Problem {
    /// A problem with a remedy.
    pub fn new(status: StatusCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// What is not there.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message, "one that the page before lists")
    }

    /// What cannot be in the state that things are in.
    pub fn conflict(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message, remedy)
    }

    /// What there is no room for at the moment.
    pub fn busy(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message, remedy)
    }

    /// What cannot be understood.
    pub fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message, remedy)
    }
}

impl From<Told> for Problem {
    fn from(told: Told) -> Self {
        let status = match told.kind {
            Kind::Usage => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Exists | Kind::Refused | Kind::Busy => StatusCode::CONFLICT,
            Kind::NotPermitted => StatusCode::FORBIDDEN,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            message: told.message,
            remedy: told.remedy,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        error.told().into()
    }
}

impl IntoResponse for Problem {
    /// A bare answer that carries the problem; the guard makes a page of it.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// One request of a browser.
#[derive(Clone)]
pub struct Visit(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    peer: Option<Peer>,
    path: String,
    query: Fields,
    form: Fields,
    /// Asked for by a page itself, for a part of it.
    partial: bool,
    session: Option<(Arc<Session>, User)>,
    key: Option<String>,
}

impl Visit {
    /// The visit of a request.
    pub fn new(shared: Arc<Shared>, parts: &Parts, form: Fields, session: Option<(Arc<Session>, User)>) -> Self {
        let key = super::guard::cookie(&parts.headers, &shared.cookie).map(str::to_owned);
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        Self(Arc::new(Inner {
            peer: parts.extensions.get().copied(),
            path: parts
                .uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
            query: Fields::of(&Bytes::copy_from_slice(query)),
            form,
            partial: parts.headers.contains_key("hx-request"),
            session,
            key,
            shared,
        }))
    }

    /// What all requests share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The query.
    pub fn query(&self) -> &Fields {
        &self.0.query
    }

    /// The form of a change.
    pub fn form(&self) -> &Fields {
        &self.0.form
    }

    /// Who asks, where somebody is logged in.
    pub fn user(&self) -> Option<&User> {
        self.0.session.as_ref().map(|(_, user)| user)
    }

    /// The session's token.
    pub fn token(&self) -> &str {
        self.0.session.as_ref().map_or("", |(session, _)| &session.token)
    }

    /// Ends the session.
    pub fn leave(&self) {
        if let Some(key) = &self.0.key {
            self.0.shared.sessions.end(key);
        }
    }

    /// What the last change wants to be said on this page.
    pub fn notice(&self) -> Option<String> {
        let session = self.0.session.as_ref().filter(|_| !self.0.partial);
        session.and_then(|(session, _)| session.notice())
    }

    /// The address that the request comes from, without its port.
    pub fn address(&self) -> Option<std::net::IpAddr> {
        self.0.peer.map(|Peer(peer)| peer.ip().to_canonical())
    }

    /// True where the user may do what a role may.
    pub fn may(&self, role: Role) -> bool {
        self.user().is_some_and(|user| user.role >= role)
    }

    /// Refuses a user of a lesser role.
    ///
    /// # Errors
    /// 403.
    pub fn need(&self, role: Role) -> Result<(), Problem> {
        if self.may(role) {
            return Ok(());
        }
        let message = format!("that needs the role {role}");
        Err(Problem::new(StatusCode::FORBIDDEN, message, "to ask an admin for it"))
    }

    /// Asks the controller.
    ///
    /// # Errors
    /// What it says.
    pub async fn ask(&self, ask: Ask) -> Result<Map<String, Value>, Problem> {
        let answerer = Arc::clone(&self.0.shared.answerer);
        let answered = spawn_blocking(move || answerer(ask, &mut |_| Ok(()))).await;
        let gone = |_| Problem::busy("the controller does not answer", "again a little later");
        Ok(answered.map_err(gone)??)
    }

    /// Asks the controller of the store.
    ///
    /// # Errors
    /// What it says.
    pub async fn ask_store(&self, ask: StoreAsk) -> Result<Map<String, Value>, Problem> {
        self.ask(Ask::Store(ask)).await
    }

    /// How all is.
    ///
    /// # Errors
    /// What the controller says.
    pub async fn status(&self) -> Result<Value, Problem> {
        Ok(Value::Object(self.ask_store(StoreAsk::Status).await?))
    }

    /// Asks for a change, in the name of the user.
    ///
    /// # Errors
    /// 403 for a user of a lesser role; what the controller says.
    pub async fn change(&self, role: Role, what: &str, ask: Ask) -> Result<Map<String, Value>, Problem> {
        self.need(role)?;
        let done = self.ask(ask).await?;
        self.note(what).await?;
        Ok(done)
    }

    /// Notes what the user did, as an event.
    ///
    /// # Errors
    /// What the controller says.
    pub async fn note(&self, what: &str) -> Result<(), Problem> {
        self.note_of(self.user().map_or("nobody", |user| &user.name), what)
            .await
    }

    /// Notes what somebody did who is not logged in yet, or not any more.
    ///
    /// # Errors
    /// What the controller says.
    pub async fn note_of(&self, user: &str, what: &str) -> Result<(), Problem> {
        let (user, text) = (user.to_owned(), what.to_owned());
        self.ask_store(StoreAsk::Note { user, text }).await.map(drop)
    }

    /// Goes to a page, which says what was done.
    pub fn done(&self, page: &str, notice: impl Into<Cow<'static, str>>) -> Response {
        if let Some((session, _)) = &self.0.session {
            session.note(notice.into());
        }
        Redirect::to(page).into_response()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts.extensions.get().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
