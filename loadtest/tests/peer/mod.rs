//! A server of Python's `websockets`, and certificates for it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::common::{program, report};

/// An issuer of certificates, in a folder of its own.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-of-{name}"));
        // Those of an earlier run may have expired.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let authority = Self { folder };
        authority.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
             -keyout ca.key -out ca.pem -subj /CN={name}"
        ));
        authority
    }

    /// Its own certificate in PEM.
    pub fn file(&self) -> String {
        self.path("ca.pem")
    }

    /// A server's certificate for `names`, as words for [`Peer::start`].
    pub fn server(&self, file: &str, names: &str) -> String {
        let extensions = format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n");
        fs::write(self.path("names"), extensions).expect("a file");
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {file}.key \
             -out {file}.csr -subj /CN=server"
        ));
        self.openssl(&format!(
            "x509 -req -in {file}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile names -out {file}.pem"
        ));
        let (certificate, key) = (format!("{file}.pem"), format!("{file}.key"));
        format!("cert={} key={}", self.path(&certificate), self.path(&key))
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn openssl(&self, words: &str) {
        let mut command = Command::new("openssl");
        command.args(words.split_ascii_whitespace()).current_dir(&self.folder);
        let output = command.output().expect("scripts/test installs openssl");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {words}:\n{said}");
    }
}

/// A server that lives until it is dropped.
pub struct Peer {
    child: Child,
    port: u16,
}

impl Peer {
    /// Starts `tests/clients/python_tls_echo.py` with these words.
    pub fn start(words: &str) -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project");
        let mut child = Command::new(project.join(".deps/venv/bin/python"))
            .arg(project.join("tests/clients/python_tls_echo.py"))
            .args(words.split_ascii_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/test installs Python and its packages");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.as_mut().expect("a pipe"));
        stdout.read_line(&mut line).expect("a line");
        let port = line.trim().parse().expect("a port");
        Self { child, port }
    }

    /// Its URL with this name of the host.
    pub fn url(&self, host: &str) -> String {
        format!("wss://{host}:{}/echo", self.port)
    }

    /// The same without TLS.
    pub fn plain_url(&self) -> String {
        format!("ws://127.0.0.1:{}/echo", self.port)
    }
}

/// A server of the `openssl` command, which answers no upgrade but says what it dislikes.
pub fn openssl_server(certificate: &str, flags: &str) -> Peer {
    let words = certificate.replace('=', " ").replace("cert ", "-cert ").replace("key ", "-key ");
    let words = format!("s_server -accept 127.0.0.1:0 {words} {flags}");
    let mut child = Command::new("openssl")
        .args(words.split_ascii_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("scripts/test installs openssl");
    let lines = BufReader::new(child.stdout.as_mut().expect("a pipe")).lines();
    let port_of = |line: String| line.strip_prefix("ACCEPT ")?.rsplit(':').next()?.parse().ok();
    let port = lines.map_while(Result::ok).find_map(port_of).expect("it listens");
    Peer { child, port }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Valid, or made on a machine that is too busy for more.
pub fn is_good(code: i32) -> bool {
    code == 0 || code == 4
}

/// What stands at a place of a report.
pub fn number(report: &Value, pointer: &str) -> u64 {
    let value = report.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in {report}"));
    value.as_u64().unwrap_or_else(|| panic!("{pointer} is {value}"))
}

/// Runs the program against a peer: its exit code and its report.
pub fn run(url: &str, words: &str) -> (i32, Value) {
    report(program(&format!("{words} --url {url} --interval 100ms --json -")))
}
