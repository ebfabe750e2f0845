//! The dashboard in Chromium: what it makes of a feed, and that it tells the truth of a server.

#[path = "common/mod.rs"]
mod common;
#[path = "common/program.rs"]
mod program;

use common::Server;
use ringwire::web;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The files of the dashboard.
const PATHS: [&str; 8] = [
    "/",
    "/dashboard.css",
    "/dashboard.js",
    "/dashboard_charts.js",
    "/dashboard_dom.js",
    "/dashboard_feed.js",
    "/dashboard_format.js",
    "/dashboard_shards.js",
];

#[test]
fn it_shows_what_a_feed_says_and_returns_when_that_is_gone() {
    let headers: Map<String, Value> =
        web::headers().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let assets: Map<String, Value> = PATHS
        .into_iter()
        .map(|path| {
            let asset = web::dashboard_asset(path).expect("the path is served");
            let value = json!({ "contentType": asset.content_type, "body": asset.body });
            (path.to_owned(), value)
        })
        .collect();
    let pages = json!({ "headers": headers, "assets": assets }).to_string();
    let pages = write_file("dashboard.json", &pages);
    assert_eq!(program::run_in_chromium("chromium_dashboard.mjs", &["feed", &pages]), 12);
}

#[test]
fn its_figures_are_the_truth_of_a_server() {
    let server = Server::start(&["--shards", "2", "--admin", "127.0.0.1:0"]);
    let [admin, websocket] = [server.admin_address(), server.address()].map(|at| at.to_string());
    let arguments = ["server", admin.as_str(), websocket.as_str()];
    assert_eq!(program::run_in_chromium("chromium_dashboard.mjs", &arguments), 7);
}

#[test]
fn it_asks_for_the_token_of_a_server() {
    const TOKEN: &str = "of-this/server+only=~1";
    let file = write_file("dashboard-token", TOKEN);
    let arguments = ["--shards", "1", "--admin", "127.0.0.1:0", "--admin-token-file", &file];
    let server = Server::start(&arguments);
    let admin = server.admin_address().to_string();
    let arguments = ["token", admin.as_str(), TOKEN];
    assert_eq!(program::run_in_chromium("chromium_dashboard.mjs", &arguments), 1);
}

/// Writes a file of the tests and returns its path.
fn write_file(name: &str, content: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("the folder for files of tests can be written");
    path.into_os_string().into_string().expect("the path is text")
}
