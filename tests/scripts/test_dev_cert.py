"""Certificates for development: what openssl says of them, and what is kept."""

import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

import common


class DevCert(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "certificates"

    def make(self, *words):
        found = common.call("dev-cert", "--out", self.folder, *words)
        self.assertEqual(found.returncode, 0, found.stderr)
        return found.stdout

    def files(self):
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def verify(self, *words):
        ca, certificate = self.folder / "ca.pem", self.folder / "server.pem"
        command = ["openssl", "verify", "-x509_strict", "-CAfile", ca, *words, certificate]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_openssl_verifies_it_for_every_name(self):
        self.make("*.example.org", "10.0.0.7")
        for purpose in "sslserver", "sslclient":
            found = self.verify("-purpose", purpose)
            self.assertEqual(found.returncode, 0, found.stderr)
        for kind, name in (
            ("hostname", "localhost"),
            ("hostname", "chat.example.org"),
            ("ip", "127.0.0.1"),
            ("ip", "::1"),
            ("ip", "10.0.0.7"),
        ):
            found = self.verify(f"-verify_{kind}", name)
            self.assertEqual(found.returncode, 0, f"{name}: {found.stderr}")
        self.assertNotEqual(self.verify("-verify_hostname", "example.com").returncode, 0)

    def test_the_key_is_that_of_the_certificate_and_its_owners_alone(self):
        self.make()
        public = [
            subprocess.run(["openssl", *words], capture_output=True, check=True).stdout
            for words in (
                ["x509", "-in", self.folder / "server.pem", "-noout", "-pubkey"],
                ["pkey", "-in", self.folder / "server.key", "-pubout"],
            )
        ]
        self.assertEqual(public[0], public[1])
        for path in self.folder.iterdir():
            mode = 0o600 if path.suffix == ".key" else 0o644
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), mode, path.name)

    def test_what_is_good_is_kept(self):
        said = self.make("a.example.org")
        self.assertIn(f"--tls-key {self.folder}/server.key", said)
        self.assertIn(f"curl --cacert {self.folder}/ca.pem", said)
        before = self.files()
        self.assertEqual(set(before), {"ca.key", "ca.pem", "server.key", "server.pem"})
        self.assertIn("still good", self.make("a.example.org"))
        self.assertEqual(self.files(), before)
        self.make("b.example.org")
        after = self.files()
        self.assertEqual(after["ca.pem"], before["ca.pem"], "clients trust it already")
        self.assertNotEqual(after["server.pem"], before["server.pem"])
        self.assertEqual(self.verify("-verify_hostname", "b.example.org").returncode, 0)

    def test_a_certificate_in_its_second_half_and_one_of_another_authority_are_replaced(self):
        self.make("--days=40")
        before = self.files()
        self.assertIn("made", self.make("--days=90"), "40 days are less than half of 90")
        self.assertEqual(self.files()["ca.pem"], before["ca.pem"])
        for name in "ca.pem", "ca.key":
            (self.folder / name).unlink()
        self.make()
        self.assertEqual(self.verify().returncode, 0)

    def test_what_is_no_name_is_refused(self):
        for word in "a b", "a,DNS:b", "", "-", "a..b", "*.", "a\nb":
            with self.subTest(word):
                found = common.call("dev-cert", "--out", self.folder, "--", word)
                self.assertEqual(found.returncode, 2, found.stderr)
        self.assertFalse(self.folder.exists())
