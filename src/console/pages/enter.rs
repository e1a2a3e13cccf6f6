//! Coming in and going: the password, the invitation that sets the first one, and the way out.
//!
//! An invitation holds for this machine alone. To look at its page uses it not up; to send its form does.

use std::time::Instant;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use maud::html;
use tokio::task::spawn_blocking;

use crate::console::{
    frame,
    users::{PASSWORD_MIN_CHARS, User},
    visit::{Problem, Visit},
};

/// `GET /login`.
pub async fn form(visit: Visit) -> Result<Response, Problem> {
    if visit.user().is_some() {
        return Ok(Redirect::to("/").into_response());
    }
    let none_yet = visit.shared().register.load()?.all().is_empty();
    Ok(frame::bare(
        "Log in",
        if none_yet { closed(&visit) } else { fields(None) },
    ))
}

/// What is said where nobody has a password.
fn closed(visit: &Visit) -> maud::Markup {
    let store = visit.shared().store.display().to_string();
    html! {
        section.card {
            h2 { "No password is set" }
            p { "There is no default one. Whoever owns the store sets the first, on the machine that it is on, with the link that this prints:" }
            pre { "headstack console open " (store) }
            p { "The same is the way back from a forgotten password, once " code { "state/users.json" } " in the store is deleted." }
        }
    }
}

fn fields(trouble: Option<&str>) -> maud::Markup {
    html! {
        form.card method="post" action="/login" {
            h2 { "Log in" }
            @if let Some(trouble) = trouble { p.trouble role="alert" { (trouble) } }
            label { "Name" input name="name" autocomplete="username" required autofocus; }
            label { "Password" input name="password" type="password" autocomplete="current-password" required; }
            button.primary type="submit" { "Log in" }
            p.hint { "Forgotten? On the machine of the store: " code { "headstack console open STORE" } }
        }
    }
}

/// `POST /login`.
pub async fn login(visit: Visit) -> Result<Response, Problem> {
    let shared = visit.shared();
    let (name, password) = (
        visit.form().text("name").to_owned(),
        visit.form().text("password").to_owned(),
    );
    let address = visit.address().map(|address| address.to_string()).unwrap_or_default();
    let who = format!("{address} {}", name.chars().take(64).collect::<String>());
    if let Some(wait) = shared.sessions.wait(&who, Instant::now()) {
        let seconds = wait.as_secs() + 1;
        let text = format!("Too many wrong passwords: the next try is possible in {seconds} s.");
        let mut answer = frame::bare("Log in", fields(Some(&text)));
        *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        return Ok(answer);
    }
    shared.sessions.tried(&who, Instant::now());
    let Ok(_check) = shared.checks.acquire().await else {
        return Err(Problem::busy("the console is ending", "again later"));
    };
    let register = shared.register.clone();
    let verified = spawn_blocking(move || {
        let users = register.load()?;
        Ok::<_, crate::controller::Error>(users.verified(&name, &password).cloned())
    });
    let gone = |_| Problem::busy("the password was not checked", "again");
    match verified.await.map_err(gone)?? {
        Some(user) => {
            shared.sessions.succeeded(&who);
            welcome(&visit, &user, "logged in").await
        }
        None => {
            let shown: String = visit
                .form()
                .text("name")
                .chars()
                .take(32)
                .filter(|c| !c.is_control())
                .collect();
            visit
                .note_of(&shown, &format!("wrong password, from {address}"))
                .await?;
            let mut answer = frame::bare("Log in", fields(Some("Name or password are wrong.")));
            *answer.status_mut() = StatusCode::UNAUTHORIZED;
            Ok(answer)
        }
    }
}

/// Begins a session.
async fn welcome(visit: &Visit, user: &User, how: &str) -> Result<Response, Problem> {
    let shared = visit.shared();
    let begun = shared.sessions.begin(user, Instant::now());
    let (key, _) = begun.ok_or_else(|| Problem::busy("the host has no randomness", "'headstack doctor'"))?;
    let secure = if shared.hosts.is_secure() { "; Secure" } else { "" };
    let cookie = format!("{}={key}; Path=/; HttpOnly; SameSite=Strict{secure}", shared.cookie);
    visit.note_of(&user.name, how).await?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// `POST /logout`.
pub async fn logout(visit: Visit) -> Result<Response, Problem> {
    visit.leave();
    visit.note("logged out").await?;
    let cookie = format!("{}=; Path=/; Max-Age=0", visit.shared().cookie);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response())
}

fn refuse_elsewhere(visit: &Visit) -> Result<(), Problem> {
    if visit.address().is_some_and(|address| address.is_loopback()) {
        return Ok(());
    }
    let remedy = "a browser on that machine";
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "the link holds on the machine of the store alone",
        remedy,
    ))
}

fn used_up() -> Problem {
    let message = "the link was used before, or is older than a quarter of an hour";
    Problem::new(
        StatusCode::GONE,
        message,
        "'headstack console open STORE' for another one",
    )
}

/// `GET /open?key=..`
pub async fn invited(visit: Visit) -> Result<Response, Problem> {
    refuse_elsewhere(&visit)?;
    let key = visit.query().text("key");
    if !visit.shared().sessions.is_invited(key, Instant::now()) {
        return Err(used_up());
    }
    let admin = visit.shared().register.load()?.first_admin().cloned();
    let body = html! {
        form.card method="post" action="/open" {
            input type="hidden" name="key" value=(key);
            @if let Some(admin) = &admin {
                h2 { "Welcome back" }
                p { "This link, made on this machine, logs in as " strong { (admin.name) } "." }
                button.primary type="submit" autofocus { "Log in" }
            } @else {
                h2 { "Set the first password" }
                p { "You become the admin of this store's console." }
                label { "Name" input name="name" value="admin" autocomplete="username" required; }
                label { "New password" input name="password" type="password" minlength=(PASSWORD_MIN_CHARS) autocomplete="new-password" required autofocus; }
                label { "Confirm" input name="confirm" type="password" minlength=(PASSWORD_MIN_CHARS) autocomplete="new-password" required; }
                button.primary type="submit" { "Submit" }
            }
        }
    };
    Ok(frame::bare("Welcome", body))
}

/// `POST /open`.
pub async fn open(visit: Visit) -> Result<Response, Problem> {
    refuse_elsewhere(&visit)?;
    let shared = visit.shared();
    let (form, register) = (visit.form(), &shared.register);
    let key = form.text("key");
    if !shared.sessions.is_invited(key, Instant::now()) {
        return Err(used_up());
    }
    if let Some(admin) = register.load()?.first_admin() {
        if !shared.sessions.accept(key, Instant::now()) {
            return Err(used_up());
        }
        return welcome(&visit, admin, "logged in with a link").await;
    }
    let (name, password) = (form.text("name").to_owned(), form.text("password").to_owned());
    if password != form.text("confirm") {
        return Err(Problem::usage("the two passwords differ", "the same password twice"));
    }
    let (register, user) = (register.clone(), name.clone());
    let made = spawn_blocking(move || {
        register.change(|users| {
            // Somebody else may have been faster.
            if users.all().is_empty() {
                users.set(&user, &password, None)
            } else {
                Ok(())
            }
        })?;
        register.load()
    });
    let users = made
        .await
        .map_err(|_| Problem::busy("the password was not set", "again"))??;
    if !shared.sessions.accept(key, Instant::now()) {
        return Err(used_up());
    }
    let user = users
        .named(&name)
        .ok_or_else(|| Problem::conflict("another first user was made", "to log in"))?;
    welcome(&visit, user, "set the first password").await
}
