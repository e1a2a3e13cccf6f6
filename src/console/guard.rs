//! Who is let in: every request passes here before a page sees it, and every answer on its way back.
//!
//! | what | answer |
//! |---|---|
//! | a request for a host that is not ours (a page elsewhere whose name leads here) | 421 |
//! | a method other than GET, HEAD and POST | 405 |
//! | a change that another site asks for, by `Origin` or `Sec-Fetch-Site` | 403 |
//! | a form that is too long, too slow, or no form | 413, 408, 415 |
//! | no session | the page to log in; 401 where no page is wanted |
//! | a change without the session's token | 403 |

use std::{
    sync::{Arc, LazyLock},
    time::Instant,
};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use data_encoding::BASE64;
use openssl::{memcmp, sha::sha256};
use tokio::time::timeout;

use super::{
    frame,
    listen::PATIENCE,
    server::Shared,
    sessions::Session,
    users::User,
    visit::{Fields, Problem, Visit},
};

/// Longest form.
const FORM_MAX_BYTES: usize = 64 << 10;
/// What a page may load, and from where: from here alone. Of what stands in a page itself only the console's own style and
/// script count, which are known by their digests.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let [script, style] = [frame::LATER, frame::STYLE].map(|text| BASE64.encode(&sha256(text.as_bytes())));
    let policy = format!(
        "default-src 'none'; script-src 'self' 'sha256-{script}'; style-src 'self' 'sha256-{style}'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    // It is ASCII; without it a page loads nothing at all.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});
/// Name of the field of a form that has the session's token.
pub const TOKEN: &str = "token";

/// Hosts that requests may be for.
#[derive(Debug)]
pub struct Hosts {
    allowed: Vec<String>,
    scheme: &'static str,
}

impl Hosts {
    /// This machine's own names and those of a certificate, each with the port.
    pub fn new(names: Vec<String>, port: u16, secure: bool) -> Self {
        let (scheme, usual) = if secure { ("https", 443) } else { ("http", 80) };
        let own = ["127.0.0.1", "localhost", "[::1]"].map(str::to_owned);
        let mut allowed: Vec<String> = own
            .into_iter()
            .chain(names)
            .map(|name| format!("{name}:{port}"))
            .collect();
        if port == usual {
            let bare: Vec<String> = allowed
                .iter()
                .filter_map(|host| host.rsplit_once(':'))
                .map(|(name, _)| name.to_owned())
                .collect();
            allowed.extend(bare);
        }
        Self { allowed, scheme }
    }

    /// Where a browser of this machine goes.
    pub fn url(&self) -> String {
        format!("{}://{}/", self.scheme, self.allowed[0])
    }

    /// True where cookies go over TLS alone.
    pub fn is_secure(&self) -> bool {
        self.scheme == "https"
    }

    fn allows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.allowed.contains(&host)
    }

    fn is_own_origin(&self, origin: &str) -> bool {
        let host = origin.split_once("://").filter(|(scheme, _)| *scheme == self.scheme);
        host.is_some_and(|(_, host)| self.allows(host))
    }
}

/// Lets a request in or answers it, and dresses the answer.
pub async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let is_asset = request.uri().path().starts_with("/assets/");
    let secure = shared.hosts.is_secure();
    let mut visit = None;
    let mut response = match admit(&shared, request, &mut visit).await {
        Ok(request) => next.run(request).await,
        Err(answer) => *answer,
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let status = response.status();
        let mut page = frame::problem(visit.as_ref(), &problem).into_response();
        *page.status_mut() = status;
        page.headers_mut().extend(
            response
                .headers()
                .get(header::RETRY_AFTER)
                .map(|wait| (header::RETRY_AFTER, wait.clone())),
        );
        response = page;
    }
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set("x-content-type-options", "nosniff");
    set("x-frame-options", "DENY");
    // With none at all browsers would call the origin of a form "null".
    set("referrer-policy", "same-origin");
    set("cross-origin-opener-policy", "same-origin");
    set("cross-origin-resource-policy", "same-origin");
    if secure {
        set("strict-transport-security", "max-age=31536000");
    }
    if !is_asset {
        set("cache-control", "no-store");
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}

/// One header of a request, where it is there once and is text.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

type Answered = Box<Response>;

fn answered(problem: Problem) -> Answered {
    Box::new(problem.into_response())
}

async fn admit(shared: &Arc<Shared>, request: Request, place: &mut Option<Visit>) -> Result<Request, Answered> {
    let (mut parts, body) = request.into_parts();
    let named = only(&parts.headers, "host").is_some_and(|host| shared.hosts.allows(host));
    let elsewhere = parts
        .uri
        .authority()
        .is_some_and(|authority| !shared.hosts.allows(authority.as_str()));
    if !named || elsewhere {
        let remedy = "the address that 'headstack serve' prints, or a name in its certificate";
        return Err(answered(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this console has another address",
            remedy,
        )));
    }
    let form = match parts.method {
        Method::GET | Method::HEAD => Fields::default(),
        Method::POST => form(shared, &parts, body).await.map_err(answered)?,
        _ => {
            return Err(answered(Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "there is no such method here",
                "GET or POST",
            )));
        }
    };
    let path = parts.uri.path();
    let open = path.starts_with("/assets/") || path == "/login" || path == "/open";
    let found = session(shared, &parts).await.map_err(answered)?;
    if !open {
        let Some((session, _)) = &found else {
            return Err(Box::new(stranger(&parts)));
        };
        if parts.method == Method::POST && !same(form.text(TOKEN), &session.token) {
            let remedy = "to load the page again and send the form from there";
            return Err(answered(Problem::new(
                StatusCode::FORBIDDEN,
                "the form is not of this session",
                remedy,
            )));
        }
    }
    let visit = Visit::new(Arc::clone(shared), &parts, form, found);
    *place = Some(visit.clone());
    parts.extensions.insert(visit);
    Ok(Request::from_parts(parts, Body::empty()))
}

/// Answers one who is not logged in.
fn stranger(parts: &Parts) -> Response {
    let wants_page =
        parts.method == Method::GET && !parts.headers.contains_key("hx-request") && parts.uri.path() != "/live";
    if wants_page {
        return Redirect::to("/login").into_response();
    }
    let headers = [("hx-redirect", "/login"), ("content-type", "text/plain; charset=utf-8")];
    (StatusCode::UNAUTHORIZED, headers, "log in first: /login\n").into_response()
}

/// The form of a change, unless another site asks for it.
async fn form(shared: &Shared, parts: &Parts, body: Body) -> Result<Fields, Problem> {
    let mut origins = parts.headers.get_all("origin").iter();
    let foreign = |origin: &HeaderValue| !origin.to_str().is_ok_and(|origin| shared.hosts.is_own_origin(origin));
    let site = only(&parts.headers, "sec-fetch-site");
    let cross = parts.headers.contains_key("sec-fetch-site") && !matches!(site, Some("same-origin" | "none"));
    if cross || origins.any(foreign) {
        let remedy = "the console's own pages for changes";
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "another site asked for a change",
            remedy,
        ));
    }
    let kind = only(&parts.headers, "content-type").unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/x-www-form-urlencoded") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "that is no form",
            "application/x-www-form-urlencoded",
        ));
    }
    let too_long = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the form is too long",
            format!("at most {FORM_MAX_BYTES} bytes"),
        )
    };
    let length = only(&parts.headers, "content-length").and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > FORM_MAX_BYTES) {
        return Err(too_long());
    }
    let read = timeout(PATIENCE, to_bytes(body, FORM_MAX_BYTES)).await;
    let slow = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the form took too long", "again");
    let bytes = read.map_err(slow)?.map_err(|_| too_long())?;
    Ok(Fields::of(&bytes))
}

/// The session of a request and its user as the user is now.
async fn session(shared: &Arc<Shared>, parts: &Parts) -> Result<Option<(Arc<Session>, User)>, Problem> {
    let Some(key) = cookie(&parts.headers, &shared.cookie) else {
        return Ok(None);
    };
    let active = !parts.headers.contains_key("hx-request") && parts.uri.path() != "/live";
    let Some(session) = shared.sessions.find(key, Instant::now(), active) else {
        return Ok(None);
    };
    let users = shared.register.load()?;
    let user = users.named(&session.user).filter(|user| session.is_of(user)).cloned();
    Ok(user.map(|user| (session, user)))
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let mut pairs = all
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Compares without telling by its time where two texts differ.
fn same(given: &str, known: &str) -> bool {
    given.len() == known.len() && memcmp::eq(given.as_bytes(), known.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_this_machine_and_the_names_of_the_certificate() {
        let local = Hosts::new(Vec::new(), 7402, false);
        for host in ["127.0.0.1:7402", "localhost:7402", "LOCALHOST:7402", "[::1]:7402"] {
            assert!(local.allows(host), "{host}");
        }
        for host in [
            "localhost",
            "localhost:80",
            "evil.example:7402",
            "127.0.0.1.evil.example:7402",
            "",
            "localhost:7402:7402",
        ] {
            assert!(!local.allows(host), "{host}");
        }
        assert!(local.is_own_origin("http://localhost:7402"));
        for origin in [
            "https://localhost:7402",
            "http://localhost:7403",
            "null",
            "http://evil.example",
            "localhost:7402",
        ] {
            assert!(!local.is_own_origin(origin), "{origin}");
        }
        let named = Hosts::new(vec!["nas.example".to_owned()], 443, true);
        assert!(named.allows("nas.example") && named.allows("nas.example:443"));
        assert_eq!(named.url(), "https://127.0.0.1:443/");
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "cookie",
            HeaderValue::from_static("xheadstack-1=a; headstack-1=b;headstack-12=c"),
        );
        assert_eq!(cookie(&headers, "headstack-1"), Some("b"));
        assert_eq!(cookie(&headers, "headstack-12"), Some("c"));
        assert_eq!(cookie(&headers, "headstack"), None);
    }
}
