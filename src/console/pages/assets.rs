//! Files that pages load: the scripts, the style of plots, the mark. They are part of the program.
//!
//! There is nothing to build and nothing to install: what a browser gets is in the executable, with the licences of others
//! beside it in the source.

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse as _, Response},
};

use crate::console::visit::Problem;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Name, type and bytes.
const FILES: [(&str, &str, &[u8]); 5] = [
    ("console.js", SCRIPT, include_bytes!("../assets/console.js")),
    ("htmx.min.js", SCRIPT, include_bytes!("../assets/htmx.min.js")),
    (
        "uPlot.iife.min.js",
        SCRIPT,
        include_bytes!("../assets/uPlot.iife.min.js"),
    ),
    ("uPlot.min.css", STYLE, include_bytes!("../assets/uPlot.min.css")),
    ("mark.svg", "image/svg+xml", include_bytes!("../assets/mark.svg")),
];

/// `GET /assets/NAME`.
pub async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let found = FILES.iter().find(|(known, ..)| *known == name);
    let (_, kind, bytes) = found.ok_or_else(|| Problem::missing(format!("there is no file {name}")))?;
    let headers = [(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "max-age=600")];
    Ok((headers, *bytes).into_response())
}
