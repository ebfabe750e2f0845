//! nginx in front of servers, with the file of `deploy/`: who goes where, what passes, and what the
//! servers know of their clients.
//!
//! `scripts/test` installs nginx and its stream module.

#[path = "common/http.rs"]
mod api;
mod common;
#[path = "common/deployed.rs"]
mod deployed;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/program.rs"]
mod program;
#[path = "common/raw.rs"]
mod raw;

use api::Api;
use common::Server;
use deployed::{Folder, read, with};
use observed::{Metrics, wait_until};
use raw::{RawClient, request};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const FILE: &str = "deploy/nginx/nginx.conf";
const LONG: Duration = Duration::from_secs(30);

/// The end of what the file says before it shows how TCP is balanced.
const TCP: &str = "the addresses of clients from that alone.\n";

/// nginx in front of servers; ended when dropped.
struct Balancer {
    child: Child,
    address: SocketAddr,
    _folder: Folder,
}

impl Balancer {
    /// With the file of `deploy/`, of which `change` makes another.
    fn start(nodes: [SocketAddr; 2], change: impl Fn(&str) -> String) -> Self {
        let folder = Folder::new();
        // Somebody else may get the port before nginx does; the next is tried then.
        let started = (0..3).find_map(|_| {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = free.local_addr().expect("an address");
            drop(free);
            let text = configuration(&change(&read(FILE)), &folder, address, nodes);
            let config = folder.write("nginx.conf", &text);
            nginx_takes(&config, &folder);
            let mut child = nginx(&config, &folder).spawn().expect("nginx starts");
            let mut has_ended = false;
            wait_until(LONG, || {
                has_ended = child.try_wait().expect("it can be waited for").is_some();
                let is_up = ask(address, "/healthz").is_some();
                (has_ended || is_up).then_some(()).ok_or_else(|| "nginx is not up".to_owned())
            });
            (!has_ended).then_some((child, address))
        });
        let (child, address) = started.expect("nginx serves on one of three ports");
        Self { child, address, _folder: folder }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // SIGTERM: the workers are to end with it.
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.child.wait();
    }
}

/// The head of the answer to a request for a page; none where nobody listens.
fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LONG)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.0.to_owned())
}

/// The file without what it shows for TCP.
fn for_requests(text: &str) -> String {
    let (text, _) = text.split_once(TCP).expect("the hint for TCP");
    text.to_owned()
}

/// What the file shows for TCP, in place of all that is for requests.
fn for_bytes(text: &str) -> String {
    let (_, hint) = text.split_once(TCP).expect("the hint for TCP");
    let lines = hint.lines().map(|line| line.strip_prefix('#').expect("it is a comment"));
    let (module, stream): (Vec<&str>, Vec<&str>) =
        lines.partition(|line| line.starts_with("load_module"));
    let (before, _) = text.split_once("\nhttp {\n").expect("the part for requests");
    format!("{}\n{before}\n{}\n", module.join("\n"), stream.join("\n"))
}

/// A configuration with the addresses of this test, and places that anybody may write to.
fn configuration(text: &str, folder: &Path, listen: SocketAddr, nodes: [SocketAddr; 2]) -> String {
    let mut text = with(text, "listen 80 ", &format!("listen {listen} "));
    text = with(&text, "server 10.0.0.11:8080 ", &format!("server {} ", nodes[0]));
    text = with(&text, "server 10.0.0.12:8080 ", &format!("server {} ", nodes[1]));
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {}/{kind};\n", folder.display()));
    text = text.replace("/var/log/nginx/", &format!("{}/", folder.display()));
    text.replace("\nhttp {\n", &format!("\nhttp {{\n{}", paths.concat()))
}

fn nginx(config: &Path, folder: &Path) -> Command {
    let program = Path::new("/usr/sbin/nginx");
    program::require(program);
    let mut command = Command::new(program);
    let globals = format!("daemon off; pid {}/nginx.pid;", folder.display());
    command.args(["-e", "stderr", "-g", &globals, "-c"]).arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// `nginx -t`.
fn nginx_takes(config: &Path, folder: &Path) {
    let mut command = nginx(config, folder);
    let output = command.arg("-t").stderr(Stdio::piped()).output();
    let output = output.expect("nginx starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("syntax is ok"), "{said}");
    assert!(!said.contains("[warn]") && !said.contains("[emerg]"), "{said}");
}

#[test]
fn behind_nginx_a_client_stays_with_its_server_and_moves_when_that_ends() {
    let arguments = ["--admin", "127.0.0.1:0", "--shards", "1", "--drain", "1s"];
    let mut servers = [Server::start(&arguments), Server::start(&arguments)];
    let balancer = Balancer::start(servers.each_ref().map(Server::address), for_requests);
    let opened =
        |server: &Server| Metrics::scrape(server.admin_address()).value("connections_opened_total");
    let visit = |source: [u8; 4]| {
        let mut client = RawClient::connect_from(source, balancer.address);
        client.upgrade("/echo");
        client.echo("through nginx");
        client.close();
    };
    // The address counts by its first three octets.
    let mut visited = [0; 2];
    for network in 1..=12 {
        let before = [opened(&servers[0]), opened(&servers[1])];
        for host in 1..=3 {
            visit([127, 0, network, host]);
        }
        let here = opened(&servers[0]) - before[0];
        let there = opened(&servers[1]) - before[1];
        assert!(matches!((here, there), (3, 0) | (0, 3)), "{network}: {here} and {there}");
        visited[usize::from(there > 0)] += 1;
    }
    assert!(visited[0] > 0 && visited[1] > 0, "{visited:?}");

    servers[0].terminate();
    assert!(servers[0].wait_for_exit(LONG).success());
    for network in 1..=12 {
        visit([127, 0, network, 1]);
    }

    servers[1].terminate();
    assert!(servers[1].wait_for_exit(LONG).success());
    let head = ask(balancer.address, "/chat").expect("nginx answers");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("\r\nRetry-After: 5"), "{head}");
}

#[test]
fn nginx_shows_pages_and_nothing_of_the_operators() {
    let arguments = ["--admin", "127.0.0.1:0", "--shards", "1"];
    let servers = [Server::start(&arguments), Server::start(&arguments)];
    let balancer = Balancer::start(servers.each_ref().map(Server::address), for_requests);
    for (path, status) in [
        ("/", "200"),
        ("/client.js", "200"),
        ("/healthz", "200"),
        ("/metrics", "404"),
        ("/readyz", "404"),
        ("/api/rooms", "404"),
        ("/api/drain", "404"),
    ] {
        let head = ask(balancer.address, path).expect("nginx answers");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
    }
}

/// Comes from `source` with more fields; a member of the chat, or the status instead.
fn come(balancer: &Balancer, source: [u8; 4], more: &str) -> Result<RawClient, u16> {
    let mut client = RawClient::connect_from(source, balancer.address);
    client.send(&request("/chat", more));
    let head = client.read_head();
    match head.get(9..12) {
        Some("101") => Ok(client),
        status => Err(status.and_then(|status| status.parse().ok()).expect("a status")),
    }
}

/// The address of a member, and of nobody else, as the admin API of its server shows it.
fn peer_of(server: &Server, client: &mut RawClient) -> String {
    let welcome = client.read_frame().expect("the chat greets");
    let welcome: Value = serde_json::from_slice(&welcome.payload).expect("the chat speaks JSON");
    let id = welcome["connectionId"].as_str().expect("a connection has a name");
    let figures = Api::new(server.admin_address()).get(&format!("/api/connections/{id}")).json();
    figures["peer"].as_str().expect("it is still there").to_owned()
}

/// One server, in both places behind nginx, that lets an address have two connections.
fn limited(more: &[&str]) -> Server {
    let arguments = ["--admin", "127.0.0.1:0", "--drain", "1s", "--trusted-proxy", "127.0.0.1"];
    let limit = ["--max-connections-per-address", "2"];
    Server::start(&[&arguments, &limit[..], more].concat())
}

#[test]
fn behind_nginx_limits_logs_and_the_admin_api_go_by_the_address_of_the_client() {
    let mut server = limited(&[]);
    let balancer = Balancer::start([server.address(); 2], for_requests);
    let mut here = Vec::new();
    for host in 1..=3 {
        let source = [127, 0, 1, host];
        let forged = format!("X-Forwarded-For: 203.0.113.{host}\r\nX-Real-IP: 203.0.113.9\r\n");
        for more in ["", &forged] {
            let mut client = come(&balancer, source, more).expect("an address may have two");
            assert_eq!(peer_of(&server, &mut client), format!("127.0.1.{host}"), "{more}");
            here.push(client);
        }
        for more in ["", &forged, "X-Forwarded-For: unknown\r\n"] {
            assert_eq!(come(&balancer, source, more).err(), Some(429), "{more}");
        }
    }
    drop((here, balancer));
    server.terminate();
    assert!(server.wait_for_exit(LONG).success());
    let said = server.output();
    assert!(said.contains("peer=127.0.1.2 endpoint=chat"), "{said}");
    assert!(said.contains("peer=127.0.1.3 status=429"), "{said}");
    assert!(!said.contains("peer=203.0.113.") && !said.contains("peer=127.0.0.1"), "{said}");
}

#[test]
fn behind_a_balancer_of_bytes_the_proxy_header_says_who_the_client_is() {
    let server = limited(&["--proxy-protocol"]);
    let balancer = Balancer::start([server.address(); 2], for_bytes);
    let mut here = Vec::new();
    for host in 1..=3 {
        let source = [127, 0, 1, host];
        for more in ["", "X-Forwarded-For: 203.0.113.1\r\nX-Real-IP: 203.0.113.1\r\n"] {
            let mut client = come(&balancer, source, more).expect("an address may have two");
            let local = client.stream().local_addr().expect("it is connected").to_string();
            assert_eq!(peer_of(&server, &mut client), local, "{more}");
            here.push(client);
            assert!(here.len() % 2 == 1 || come(&balancer, source, more).err() == Some(429));
        }
    }
}

#[test]
fn by_user_the_clients_of_one_address_are_spread_and_each_stays() {
    let arguments = ["--admin", "127.0.0.1:0", "--shards", "1", "--drain", "1s"];
    let servers = [Server::start(&arguments), Server::start(&arguments)];
    let by_user = |text: &str| {
        let text = with(&for_requests(text), "        ip_hash;\n", "");
        with(&text, "#hash $cookie_user consistent;", "hash $cookie_user consistent;")
    };
    let balancer = Balancer::start(servers.each_ref().map(Server::address), by_user);
    let opened =
        |server: &Server| Metrics::scrape(server.admin_address()).value("connections_opened_total");
    let mut visited = [0; 2];
    for user in 1..=12 {
        let before = servers.each_ref().map(opened);
        for _ in 0..3 {
            let cookie = format!("Cookie: user={user}\r\n");
            come(&balancer, [127, 0, 0, 1], &cookie).expect("everybody may come");
        }
        let [here, there] = servers.each_ref().map(opened);
        let came = (here - before[0], there - before[1]);
        assert!(matches!(came, (3, 0) | (0, 3)), "{user}: {came:?}");
        visited[usize::from(came.1 > 0)] += 1;
    }
    assert!(visited[0] > 0 && visited[1] > 0, "{visited:?}");
}
