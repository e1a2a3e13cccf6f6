//! Users: one's own password, and for an admin everybody's name, role and password.
//!
//! Hashing takes its time on purpose, so it is done on another thread, and not for many at once. A user with another password
//! or role is asked to log in again where that matters.

use axum::response::Response;
use maud::{Markup, html};
use tokio::task::spawn_blocking;

use crate::{
    console::{
        frame,
        users::{PASSWORD_MIN_CHARS, Role, Users},
        visit::{Problem, Visit},
    },
    controller::error::Result as Changed,
};

/// The form of one's own password.
pub fn password_card(visit: &Visit) -> Markup {
    html! {
        form.card method="post" action="/setting/password" {
            h2 { "Password Setting" }
            (frame::token(visit))
            input type="hidden" name="username" autocomplete="username" value=(visit.user().map_or("", |user| &user.name));
            div.field { label for="old" { "Password now" } input #old name="old" type="password" autocomplete="current-password" required; }
            div.field { label for="new" { "New password" } input #new name="new" type="password" minlength=(PASSWORD_MIN_CHARS) autocomplete="new-password" required; }
            div.field { label for="confirm" { "Confirm" } input #confirm name="confirm" type="password" minlength=(PASSWORD_MIN_CHARS) autocomplete="new-password" required; }
            button.primary type="submit" { "Submit" }
            p.hint { "All sessions of yours end; log in with the new one." }
        }
    }
}

/// The users, for an admin.
///
/// # Errors
/// The file of users is damaged.
pub fn users_card(visit: &Visit) -> Result<Markup, Problem> {
    let users = visit.shared().register.load()?;
    Ok(html! {
        section.card {
            h2 { "Users" }
            table.cards {
                thead { tr { th { "Name" } th { "Role" } th {} } }
                tbody {
                    @for user in users.all() {
                        tr {
                            td data-label="Name" { (user.name) }
                            td data-label="Role" { (user.role) }
                            td.actions { (frame::button(visit, "/setting/user", "Remove", &[("verb", "remove"), ("name", &user.name)])) }
                        }
                    }
                }
            }
            form method="post" action="/setting/user" {
                h3 { "Add a user, or give one another role or password" }
                (frame::token(visit))
                input type="hidden" name="verb" value="set";
                div.field { label for="user-name" { "Name" } input #user-name name="name" autocomplete="off" required; }
                div.field {
                    label for="role" { "Role" }
                    select #role name="role" { @for role in Role::ALL { option value=(role.name()) { (role.name()) } } }
                    p.hint { "view looks; operate also keeps arrays whole; admin does everything." }
                }
                div.field { label for="user-new" { "New password" } input #user-new name="new" type="password" autocomplete="new-password"; p.hint { "Empty to keep it." } }
                button type="submit" { "Submit" }
            }
        }
    })
}

/// Changes users on a thread where it may take its time.
async fn changed(
    visit: &Visit,
    change: impl FnOnce(&mut Users) -> Changed<()> + Send + 'static,
) -> Result<(), Problem> {
    let shared = visit.shared();
    let Ok(_check) = shared.checks.acquire().await else {
        return Err(Problem::busy("the console is ending", "again later"));
    };
    let register = shared.register.clone();
    let done = spawn_blocking(move || register.change(change)).await;
    Ok(done.map_err(|_| Problem::busy("the users were not changed", "again"))??)
}

/// `POST /setting/password`.
pub async fn password(visit: Visit) -> Result<Response, Problem> {
    let (form, user) = (
        visit.form(),
        visit.user().map(|user| user.name.clone()).unwrap_or_default(),
    );
    if form.text("new") != form.text("confirm") {
        return Err(Problem::usage("the two passwords differ", "the same password twice"));
    }
    let (old, new, name) = (form.text("old").to_owned(), form.text("new").to_owned(), user.clone());
    changed(&visit, move |users| {
        use crate::controller::{Kind, error::Error};
        if users.verified(&name, &old).is_none() {
            return Err(Error::refused(
                Kind::NotPermitted,
                "the password now is another one",
                "again",
            ));
        }
        users.set(&name, &new, None)
    })
    .await?;
    visit.note("set another password").await?;
    Ok(visit.done("/login", "The password was changed."))
}

/// `POST /setting/user`.
pub async fn set(visit: Visit) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    let form = visit.form();
    let name = form.text("name").to_owned();
    let what = if form.text("verb") == "remove" {
        let name = name.clone();
        changed(&visit, move |users| users.remove(&name)).await?;
        "removed the user"
    } else {
        let role: Role = form
            .text("role")
            .parse()
            .map_err(|error: String| Problem::usage(error, "one of them"))?;
        let (name, password) = (name.clone(), form.text("new").to_owned());
        changed(&visit, move |users| match password.as_str() {
            "" => users.set_role(&name, role),
            password => users.set(&name, password, Some(role)),
        })
        .await?;
        "set the user"
    };
    visit.note(&format!("{what} {name}")).await?;
    Ok(visit.done("/setting", format!("Done: {what} {name}.")))
}
