//! Who may come, over real sockets: tokens, origins, and the share of one client address.

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::Server;
use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto};
use raw::{End, RawClient, request};
use serde_json::{Value, json};

const SECRET: &[u8] = include_bytes!("keys/hs256.secret");
const RSA_PUBLIC: &[u8] = include_bytes!("keys/rsa.public.pem");
const RSA_PRIVATE: &[u8] = include_bytes!("keys/rsa.private.pem");
const P256_PRIVATE: &[u8] = include_bytes!("keys/p256.private.pem");
const ED25519_PRIVATE: &[u8] = include_bytes!("keys/ed25519.private.pem");

fn key_file(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A server that knows all keys of the tests, and says as much as it can.
fn token_server(more: &[&str]) -> Server {
    let names = ["hs256.secret", "rsa.public.pem", "p256.public.pem", "ed25519.public.pem"];
    let files = names.map(key_file);
    let mut args = vec!["--auth", "token", "--shards", "2", "--log-level", "trace"];
    for file in &files {
        args.extend(["--auth-key", file]);
    }
    args.extend(more);
    Server::start(&args)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_secs()
}

fn hs256(claims: &Value) -> String {
    signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET), claims)
}

fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).expect("the key can sign")
}

/// A token with this header, signed with the secret whatever the header says.
fn with_header(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HS256 signs");
    format!("{message}.{signature}")
}

/// The status that a request gets.
fn status(server: &Server, request: &[u8]) -> u16 {
    status_of(&mut RawClient::connect(server.address()), request)
}

fn status_of(client: &mut RawClient, request: &[u8]) -> u16 {
    client.send(request);
    let head = client.read_head();
    head.get(9..12).and_then(|status| status.parse().ok()).expect("a response has a status")
}

fn in_query(token: &str) -> Vec<u8> {
    request(&format!("/echo?token={token}"), "")
}

fn in_header(token: &str) -> Vec<u8> {
    request("/echo", &format!("Authorization: Bearer {token}\r\n"))
}

fn good_tokens() -> Vec<(&'static str, String)> {
    let ada = json!({ "sub": "Ada", "exp": now() + 3600, "nbf": now() - 10, "aud": "x" });
    let rsa = EncodingKey::from_rsa_pem(RSA_PRIVATE).unwrap();
    let p256 = EncodingKey::from_ec_pem(P256_PRIVATE).unwrap();
    let ed25519 = EncodingKey::from_ed_pem(ED25519_PRIVATE).unwrap();
    vec![
        ("HS256", hs256(&ada)),
        ("RS256", signed(Algorithm::RS256, &rsa, &ada)),
        ("ES256", signed(Algorithm::ES256, &p256, &ada)),
        ("EdDSA", signed(Algorithm::EdDSA, &ed25519, &ada)),
        ("without expiry", hs256(&json!({ "sub": "Ada" }))),
        ("50 characters", hs256(&json!({ "sub": "é".repeat(50) }))),
        ("unknown kid", with_header(&json!({ "alg": "HS256", "kid": "x" }), &ada)),
    ]
}

/// Tokens that must not open anything, and why.
fn bad_tokens() -> Vec<(&'static str, String)> {
    let ada = json!({ "sub": "Ada" });
    let good = hs256(&ada);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (_, claims) = message.split_once('.').unwrap();
    let other = EncodingKey::from_secret(b"another secret of the tests, also known");
    let confused = EncodingKey::from_secret(RSA_PUBLIC);
    let rsa = EncodingKey::from_rsa_pem(RSA_PRIVATE).unwrap();
    let none = with_header(&json!({ "alg": "none" }), &ada);
    let (unsigned, _) = none.rsplit_once('.').unwrap();
    let sub = |sub: Value| hs256(&json!({ "sub": sub }));
    vec![
        ("none, without a signature", format!("{unsigned}.")),
        ("none, signed", none.clone()),
        ("None", with_header(&json!({ "alg": "None" }), &ada)),
        ("no algorithm", with_header(&json!({ "typ": "JWT" }), &ada)),
        ("HS256 with the public key", signed(Algorithm::HS256, &confused, &ada)),
        ("RS256, signed with the secret", with_header(&json!({ "alg": "RS256" }), &ada)),
        ("ES256, signed with the secret", with_header(&json!({ "alg": "ES256" }), &ada)),
        ("another algorithm of the key", signed(Algorithm::PS256, &rsa, &ada)),
        ("HS512", signed(Algorithm::HS512, &EncodingKey::from_secret(SECRET), &ada)),
        ("critical header", with_header(&json!({ "alg": "HS256", "crit": ["x"] }), &ada)),
        ("expired", hs256(&json!({ "sub": "Ada", "exp": now() - 1 }))),
        ("expires now", hs256(&json!({ "sub": "Ada", "exp": now() }))),
        ("expiry is a string", hs256(&json!({ "sub": "Ada", "exp": "9999999999" }))),
        ("not yet valid", hs256(&json!({ "sub": "Ada", "nbf": now() + 3600 }))),
        ("another key", signed(Algorithm::HS256, &other, &ada)),
        ("signature of another", format!("{message}.{}", "A".repeat(signature.len()))),
        ("truncated signature", good[..good.len() - 4].to_owned()),
        ("no signature", format!("{message}.")),
        ("two parts", message.to_owned()),
        ("one part", claims.to_owned()),
        ("a dot more in front", format!(".{good}")),
        ("a dot more behind", format!("{good}.")),
        ("four parts", format!("{good}.{signature}")),
        ("only dots", "..".to_owned()),
        ("padding", format!("{good}=")),
        ("no sub", hs256(&json!({ "exp": now() + 60 }))),
        ("sub is a number", sub(json!(7))),
        ("sub is null", sub(json!(null))),
        ("sub is empty", sub(json!(""))),
        ("sub too long", sub(json!("a".repeat(51)))),
        ("sub with a control character", sub(json!("a\nb"))),
        ("claims are a list", hs256(&json!(["Ada"]))),
        ("empty", String::new()),
        ("too long", hs256(&json!({ "sub": "Ada", "x": "x".repeat(5 * 1024) }))),
        ("percent-encoded rubbish", "%00%ff%2e%2e%zz%".to_owned()),
        ("percent-encoded token", good.replace('.', "%2E")),
    ]
}

#[test]
fn good_tokens_open_every_path_and_bad_ones_none() {
    let mut server = token_server(&[]);
    for (name, token) in good_tokens() {
        assert_eq!(status(&server, &in_query(&token)), 101, "{name}, in the query");
        assert_eq!(status(&server, &in_header(&token)), 101, "{name}, in the header");
    }
    let bad = bad_tokens();
    assert!(bad.len() >= 30);
    for (name, token) in &bad {
        assert_eq!(status(&server, &in_query(token)), 401, "{name}, in the query");
        assert_eq!(status(&server, &in_header(token)), 401, "{name}, in the header");
    }
    let token = hs256(&json!({ "sub": "Ada" }));
    assert_eq!(status(&server, &request(&format!("/broadcast?token={token}"), "")), 101);
    assert_eq!(status(&server, &request(&format!("/?token={token}"), "")), 101);
    assert_eq!(status(&server, &request(&format!("/none?token={token}"), "")), 404);
    assert_eq!(status(&server, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), 200);

    server.terminate();
    server.wait_for_exit(Duration::from_secs(20));
    let output = server.output();
    assert!(output.contains("error=\"the token has expired\""), "{output}");
    let (all, secret) = (good_tokens(), String::from_utf8_lossy(SECRET));
    for (name, token) in bad.iter().chain(&all).filter(|(_, token)| token.len() > 20) {
        for part in token.split('.').filter(|part| part.len() > 20) {
            assert!(!output.contains(part), "{name}: the server shows {part}");
        }
    }
    assert!(!output.contains(&*secret), "{output}");
}

#[test]
fn tokens_are_looked_for_where_they_belong() {
    let server = token_server(&[]);
    let token = hs256(&json!({ "sub": "Ada" }));
    let header = |value: &str| request("/echo", &format!("Authorization: {value}\r\n"));
    let query = |query: &str| request(&format!("/echo?{query}"), "");
    let both =
        request(&format!("/echo?token={token}"), &format!("Authorization: Bearer {token}\r\n"));
    for (name, expected, request) in [
        ("in lower case", 101, header(&format!("bearer {token}"))),
        ("in upper case", 101, header(&format!("BEARER {token}"))),
        ("blanks between", 101, header(&format!("Bearer   {token}"))),
        ("behind others", 101, query(&format!("a=b&token={token}&c"))),
        ("nowhere", 401, request("/echo", "")),
        ("nowhere, on /", 401, request("/", "")),
        ("nowhere, on /broadcast", 401, request("/broadcast", "")),
        ("twice in the query", 401, query(&format!("token={token}&token={token}"))),
        ("good and empty in the query", 401, query(&format!("token={token}&token="))),
        ("query and header", 401, both),
        ("another name", 401, query(&format!("Token={token}"))),
        ("encoded name", 401, query(&format!("%74oken={token}"))),
        ("Basic", 401, header("Basic QWRhOmE=")),
        ("no scheme", 401, header(&token)),
        ("no token", 401, header("Bearer")),
        ("two tokens", 401, header(&format!("Bearer {token} {token}"))),
        ("list of tokens", 401, header(&format!("Bearer {token}, Bearer {token}"))),
        ("tab between", 401, header(&format!("Bearer\t{token}"))),
        ("cookie", 401, request("/echo", &format!("Cookie: token={token}\r\n"))),
        ("not ASCII", 400, header("Bearer é")),
    ] {
        assert_eq!(status(&server, &request), expected, "{name}");
    }
    let mut client = RawClient::connect(server.address());
    client.send(&request("/echo", ""));
    let head = client.read_head();
    assert!(head.contains("\r\nWWW-Authenticate: Bearer\r\n"), "{head}");
    assert_eq!(client.read_rest().1, End::Fin);
}

#[test]
fn authentication_by_message_still_asks_where_no_message_can() {
    let users = TemporaryFile::new(
        "users",
        "ada:$argon2id$v=19$m=8,t=1,p=1$c2FsdCBvZiAxNiBieXRlcw$\
         mk96eLbeITGl1A2rRnGb6wcyqi8Lk150YdjSzuZI4HA\n",
    );
    let key = key_file("hs256.secret");
    let server =
        Server::start(&["--auth", "message", "--auth-users", users.path(), "--auth-key", &key]);
    let token = hs256(&json!({ "sub": "Ada" }));
    for path in ["/echo", "/broadcast"] {
        assert_eq!(status(&server, &request(path, "")), 401, "{path}");
        assert_eq!(status(&server, &request(&format!("{path}?token={token}"), "")), 101, "{path}");
        assert_eq!(status(&server, &request(&format!("{path}?token=x"), "")), 401, "{path}");
    }
}

#[test]
fn without_authentication_tokens_mean_nothing() {
    let server = Server::start(&[]);
    assert_eq!(status(&server, &in_query("x")), 101);
    assert_eq!(status(&server, &in_header("x")), 101);
}

#[test]
fn only_the_origins_of_the_list_may_connect() {
    let list = ["https://Example.com", "http://127.0.0.1:3000", "http://[::1]:8080", "app://local"];
    let args: Vec<&str> = list.iter().flat_map(|origin| ["--allow-origin", *origin]).collect();
    let server = Server::start(&args);
    let origin = |origin: &str| request("/echo", &format!("Origin: {origin}\r\n"));
    for (name, expected, request) in [
        ("as listed, in lower case", 101, origin("https://example.com")),
        ("as listed", 101, origin("https://Example.com")),
        ("default port", 101, origin("https://example.com:443")),
        ("other port of the list", 101, origin("http://127.0.0.1:3000")),
        ("IPv6 written otherwise", 101, origin("http://[0:0:0:0:0:0:0:1]:8080")),
        ("scheme of an app", 101, origin("app://local")),
        ("none", 101, request("/echo", "")),
        ("null", 403, origin("null")),
        ("empty", 403, origin("")),
        ("star", 403, origin("*")),
        ("other scheme", 403, origin("http://example.com")),
        ("other port", 403, origin("https://example.com:8443")),
        ("other host", 403, origin("https://example.org")),
        ("no port", 403, origin("http://127.0.0.1")),
        ("subdomain", 403, origin("https://www.example.com")),
        ("longer", 403, origin("https://example.com.evil.example")),
        ("prefix", 403, origin("https://evil-example.com")),
        ("trailing dot", 403, origin("https://example.com.")),
        ("user", 403, origin("https://user@example.com")),
        ("host as user", 403, origin("https://example.com@evil.example")),
        ("path", 403, origin("https://example.com/")),
        ("query", 403, origin("https://example.com?x")),
        ("fragment", 403, origin("https://example.com#x")),
        ("backslash", 403, origin("https://example.com\\@evil.example")),
        ("punycode look-alike", 403, origin("https://xn--xample-2of.com")),
        ("leading zero in the port", 403, origin("https://example.com:0443")),
        ("no number as port", 403, origin("https://example.com:https")),
        ("two in one", 403, origin("https://example.com https://example.com")),
        ("list", 403, origin("https://example.com, https://evil.example")),
        ("without scheme", 403, origin("example.com")),
        ("look-alike", 400, origin("https://ex\u{430}mple.com")),
        ("repeated", 400, origin("https://example.com\r\nOrigin: https://example.com")),
        ("unknown path comes first", 404, request("/none", "Origin: null\r\n")),
    ] {
        assert_eq!(status(&server, &request), expected, "{name}");
    }
}

#[test]
fn an_origin_can_be_required_and_comes_before_credentials() {
    let server = token_server(&["--allow-origin", "https://a.example", "--require-origin"]);
    let token = hs256(&json!({ "sub": "Ada" }));
    let path = format!("/echo?token={token}");
    assert_eq!(status(&server, &request(&path, "")), 403);
    assert_eq!(status(&server, &request(&path, "Origin: https://a.example\r\n")), 101);
    assert_eq!(status(&server, &request("/echo", "Origin: https://b.example\r\n")), 403);
    assert_eq!(status(&server, &request("/echo", "Origin: https://a.example\r\n")), 401);
}

#[test]
fn connections_of_one_address_are_bounded_and_places_come_back() {
    let server = Server::start(&["--shards", "2", "--max-connections-per-address", "3"]);
    let come = |host: u8| {
        let mut client = RawClient::connect_from([127, 0, 0, host], server.address());
        let status = status_of(&mut client, &request("/echo", ""));
        (status, client)
    };
    for round in 0..5 {
        let mut here: Vec<RawClient> = Vec::new();
        for _ in 0..3 {
            here.push(come_in(&come, 2));
        }
        let (status, mut refused) = come(2);
        assert_eq!(status, 429, "round {round}");
        assert_eq!(refused.read_rest().1, End::Fin);
        assert_eq!(come(10 + round).0, 101, "another address has a share of its own");
        for (number, mut client) in here.into_iter().enumerate() {
            client.echo("served");
            match number {
                0 => client.close(),
                1 => client.reset(),
                _ => drop(client),
            }
        }
    }
    // What is no connection takes no place: refused, static, unfinished.
    for _ in 0..10 {
        let mut client = RawClient::connect_from([127, 0, 0, 4], server.address());
        assert_eq!(status_of(&mut client, &request("/none", "")), 404);
    }
    let silent: Vec<RawClient> =
        (0..5).map(|_| RawClient::connect_from([127, 0, 0, 4], server.address())).collect();
    let here: Vec<RawClient> = (0..3).map(|_| come_in(&come, 4)).collect();
    assert_eq!(come(4).0, 429);
    drop((silent, here));
}

/// Comes until there is a place: one comes back when the server has seen the end of a connection,
/// which no client can observe. Bounded in number.
fn come_in(come: &impl Fn(u8) -> (u16, RawClient), host: u8) -> RawClient {
    for _ in 0..1000 {
        match come(host) {
            (101, client) => return client,
            (429, _) => std::thread::yield_now(),
            (status, _) => panic!("status {status}"),
        }
    }
    panic!("no place comes back");
}

#[test]
fn handshakes_of_one_address_are_bounded_in_time() {
    let server = Server::start(&["--shards", "2", "--handshake-rate", "5/1h"]);
    let come = |host: u8, request: &[u8]| {
        status_of(&mut RawClient::connect_from([127, 0, 0, host], server.address()), request)
    };
    let upgrade = request("/echo", "");
    for _ in 0..3 {
        assert_eq!(come(2, &upgrade), 101);
    }
    assert_eq!(come(2, &request("/none", "")), 404, "a bad request is a handshake, too");
    assert_eq!(come(2, &upgrade), 101);
    for _ in 0..10 {
        assert_eq!(come(2, &upgrade), 429);
    }
    assert_eq!(come(2, &request("/none", "")), 404, "what is wrong comes before the share");
    assert_eq!(come(2, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), 200, "pages are not refused");
    assert_eq!(come(3, &upgrade), 101, "another address has a share of its own");
    for _ in 0..20 {
        assert_eq!(come(4, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
        assert_eq!(come(4, b"GET /favicon.ico HTTP/1.1\r\nHost: a\r\n\r\n"), 404);
    }
    for number in 0..10 {
        let expected = if number < 5 { 101 } else { 429 };
        assert_eq!(come(4, &upgrade), expected, "who asks for pages keeps its share");
    }
}

#[test]
fn who_had_its_share_of_handshakes_is_kept_for_less_time() {
    let server = Server::start(&["--shards", "1", "--handshake-rate", "1/1h"]);
    let come = |host: u8| RawClient::connect_from([127, 0, 0, host], server.address());
    let mut slow = come(3);
    assert_eq!(status_of(&mut come(2), &request("/echo", "")), 101);
    let refused: Vec<RawClient> = (0..3).map(|_| come(2)).collect();
    for mut client in refused {
        assert_eq!(client.read_rest().1, End::Fin, "past the rate, and silent");
    }
    assert_eq!(status_of(&mut slow, &request("/echo", "")), 101, "it came before those");
}

#[test]
fn a_full_server_gives_the_ticket_back() {
    let args = ["--shards", "1", "--max-connections", "1", "--max-connections-per-address", "2"];
    let server = Server::start(&args);
    let come = |host: u8| {
        let mut client = RawClient::connect_from([127, 0, 0, host], server.address());
        (status_of(&mut client, &request("/echo", "")), client)
    };
    let (status, first) = come(2);
    assert_eq!(status, 101);
    for _ in 0..10 {
        assert_eq!(come(2).0, 503, "were the ticket lost, it would be 429");
    }
    drop(first);
}

#[test]
fn bad_files_end_the_start_with_the_reason() {
    let private = key_file("rsa.private.pem");
    let short = TemporaryFile::new("short", "too short\n");
    let users = TemporaryFile::new("bad-users", "# users\nada:not a hash\n");
    for (args, expected) in [
        (["--auth", "token", "--auth-key", "/nonexistent/key"], "cannot read the key file"),
        (["--auth", "token", "--auth-key", &private], "is a private key"),
        (["--auth", "token", "--auth-key", short.path()], "9 bytes"),
        (["--auth", "message", "--auth-users", users.path()], "line 2"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringwire"))
            .args(["--listen", "127.0.0.1:0", "--admin", "off"])
            .args(args)
            .output()
            .expect("the server binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected) && said.contains(args[3]), "{said}");
        assert!(!said.contains("too short") && !said.contains("not a hash"), "{said}");
    }
}

/// A file that lives as long as the value.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("ringwire-access-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut file = std::fs::File::create(&path).expect("the temporary directory is writable");
        file.write_all(text.as_bytes()).expect("the disk has room");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the path was made from UTF-8")
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // A left-over file harms nobody, and a panic here would hide the test's own.
        let _ = std::fs::remove_file(&self.0);
    }
}
