//! The pages: one file each, and here the paths that lead to them.
//!
//! Each page asks the controller, draws what it says with the frame around it, and offers forms. A form is answered with
//! a page to go to, so that to load that again repeats nothing.

mod assets;
mod change;
mod create;
mod disks;
mod dump;
mod enter;
mod event;
mod global;
mod help;
mod lab;
mod logical;
mod mail;
mod maintenance;
mod physical;
mod repair;
mod restore;
mod runs;
mod schedule;
mod series;
mod setting;
mod shi;
mod snapshots;
mod spares;
mod tapes;
mod user;
mod webhook;

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};

use super::{
    guard::guard,
    live::live,
    server::Shared,
    visit::{Problem, Visit},
};

/// All paths, behind the guard.
pub fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(global::page))
        .route("/live", get(live))
        .route("/login", get(enter::form).post(enter::login))
        .route("/open", get(enter::invited).post(enter::open))
        .route("/logout", post(enter::logout))
        .route("/rescan", post(physical::rescan))
        .route("/logical", get(logical::page))
        .route("/logical/spares", get(spares::page).post(spares::change))
        .route("/logical/create", get(create::page).post(create::create))
        .route("/logical/array/{name}", get(maintenance::page))
        .route(
            "/logical/array/{name}/delete",
            get(maintenance::ask_delete).post(maintenance::delete),
        )
        .route(
            "/logical/array/{name}/rename",
            get(maintenance::ask_rename).post(maintenance::rename),
        )
        .route(
            "/logical/array/{name}/add",
            get(maintenance::choose).post(maintenance::add),
        )
        .route("/logical/array/{name}/change", get(change::page).post(change::change))
        .route("/logical/array/{name}/repair", get(repair::page).post(repair::repair))
        .route("/logical/array/{name}/{verb}", post(maintenance::work))
        .route("/physical", get(physical::page))
        .route("/physical/identify", post(physical::identify))
        .route("/shi", get(shi::page))
        .route("/shi/schedule", get(schedule::page).post(schedule::change))
        .route("/shi/disk/{name}", get(shi::detail))
        .route("/shi/disk/{name}/plot/{attribute}", get(shi::plot))
        .route("/series", get(series::page))
        .route("/series/snapshot", post(snapshots::change))
        .route("/series/{kind}/{name}", get(series::browse))
        .route("/plot/{kind}/{name}", get(series::plot))
        .route("/tapes", get(tapes::page))
        .route("/tapes/dump", post(dump::begin))
        .route("/tapes/resume", post(dump::resume))
        .route("/tapes/restore", get(restore::page).post(restore::begin))
        .route("/tapes/runs", get(runs::page).post(runs::stop))
        .route("/lab", get(lab::page))
        .route("/lab/disk", post(lab::disk))
        .route("/lab/scenario", post(lab::replay))
        .route("/event", get(event::page))
        .route("/event/download", get(event::download))
        .route("/event/clear", get(event::confirm).post(event::clear))
        .route("/setting", get(setting::page).post(setting::change))
        .route("/setting/mail", post(mail::server_change))
        .route("/setting/recipient", post(mail::recipient_change))
        .route("/setting/webhook", post(webhook::change))
        .route("/setting/password", post(user::password))
        .route("/setting/user", post(user::set))
        .route("/help", get(help::page))
        .route("/assets/{name}", get(assets::asset))
        .fallback(nowhere)
        .layer(from_fn_with_state(Arc::clone(&shared), guard))
}

async fn nowhere(visit: Visit) -> Problem {
    Problem::missing(format!("there is no page {}", visit.path()))
}
