//! `/`: one page that says how the proxy is and lists everything else, with links and buttons. No script.

use std::fmt::Write as _;

use super::{AdminState, ROOMS, Room, level};
use crate::telemetry::timestamp;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}table{border-collapse:collapse}td,th{text-align:left;padding:.25rem .8rem .25rem 0;\
vertical-align:top}code,pre{font:13px/1.5 ui-monospace,monospace}pre{background:#f4f4f2;padding:.8rem;overflow:auto}\
.bad{color:#a40e26}.good{color:#116329}form{display:inline}\
@media(prefers-color-scheme:dark){body{color:#e6e6e3;background:#16181b}pre{background:#22252a}a{color:#8ab4f8}\
.bad{color:#ff9492}.good{color:#7ee2a0}}";

/// The page.
pub(super) fn render(state: &AdminState) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Outrigger</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style>\
         <h1>Outrigger {}</h1>",
        env!("CARGO_PKG_VERSION")
    );
    push_state(&mut page, state);
    push_rooms(&mut page, state);
    page
}

fn push_state(page: &mut String, state: &AdminState) {
    let status = &state.status;
    let _ = match status.not_ready() {
        None => write!(page, "<p class=\"good\">Ready.</p>"),
        Some(reason) => write!(page, "<p class=\"bad\">Not ready: {}.</p>", escaped(reason)),
    };
    if let Some(loaded) = status.loaded() {
        let workload = &loaded.resources.workload;
        let _ = write!(
            page,
            "<p>Sidecar <code>{}</code>, policy generation {} since {}, {} destinations.</p>",
            escaped(&workload.name.to_string()),
            loaded.generation,
            timestamp::text(loaded.at),
            loaded.resources.destinations.len()
        );
    }
    let sources = status.sources();
    if !sources.is_empty() {
        let shown: Vec<String> =
            sources.iter().map(|path| format!("<code>{}</code>", escaped(&path.to_string_lossy()))).collect();
        let _ = write!(page, "<p>Policy files: {}.</p>", shown.join(", "));
    }
    if let Some(rejection) = status.rejection() {
        let _ = write!(
            page,
            "<p class=\"bad\">The change of {} was refused; the policy in use stayed.</p><pre>{}</pre>",
            timestamp::text(rejection.at),
            escaped(&rejection.text)
        );
    }
    page.push_str("<table><tr><th>Listener<th>Policy says<th>Bound to");
    for listener in status.listeners().iter() {
        let side = listener.side.as_str();
        let how = if listener.intercepted { ", intercepted" } else { "" };
        let _ = write!(
            page,
            "<tr><td>{side}{how}<td><code>{}</code><td><code>{}</code>",
            listener.bind, listener.bound
        );
    }
    page.push_str("</table>");
}

fn push_rooms(page: &mut String, state: &AdminState) {
    page.push_str("<h2>Everything here</h2><table>");
    for (path, room, text) in ROOMS {
        let text = escaped(text);
        let _ = match room {
            Room::Drain | Room::Quit => write!(
                page,
                "<tr><td><form method=\"post\" action=\"{path}\"><button>{path}</button></form><td>{text}"
            ),
            _ => write!(page, "<tr><td><a href=\"{path}\">{path}</a><td>{text}"),
        };
    }
    page.push_str("</table>");
    if let Some(level) = level(state) {
        let _ = write!(page, "<p>Log level: <code>{}</code></p>", escaped(&level));
    }
}

/// Text that cannot become markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
