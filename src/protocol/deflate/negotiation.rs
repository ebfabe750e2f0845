//! What both ends agree to in the handshake (RFC 7692 section 7.1).

use super::extensions::{Extension, extensions};
use crate::limits::{DEFLATE_WINDOW_BITS_MAX, DEFLATE_WINDOW_BITS_MIN};
use crate::protocol::Role;

const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// How this end would compress (RFC 7692 section 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeflatePolicy {
    /// Messages may refer to those before them (RFC 7692 section 7.1.1): smaller, for memory of
    /// every connection.
    pub takeover: bool,
    /// Windows of both directions, at most: 9 to 15 (RFC 7692 section 7.1.2).
    pub window_bits: u8,
}

/// What both ends of a connection agreed to (RFC 7692 section 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreement {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: u8,
    client_max_window_bits: u8,
}

// One sits in every idle connection.
const _: () = assert!(size_of::<Option<Agreement>>() <= 4);

/// A response that grants what was not offered: the connection must fail (RFC 7692 section 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotOffered;

impl Agreement {
    /// A server's choice among the offers, in their order: `offers` are the values of the fields
    /// `Sec-WebSocket-Extensions` of the request. Gives the agreement and the value to answer with
    /// (RFC 7692 section 5.1); `None` when nothing acceptable was offered, which is no fault.
    pub fn negotiate<'a>(
        offers: impl Iterator<Item = &'a str>,
        policy: DeflatePolicy,
    ) -> Option<(Self, String)> {
        offers
            .flat_map(extensions)
            .filter(is_deflate)
            .filter_map(|offer| Parameters::of(&offer, Role::Client))
            .find_map(|offer| offer.accept(policy))
    }

    /// The value that a client offers with (RFC 7692 section 7.1).
    #[must_use]
    pub fn offer(policy: DeflatePolicy) -> String {
        let wished = Parameters::wished(policy);
        wished.to_string()
    }

    /// What the server made of [`offer`](Self::offer): `values` are the fields
    /// `Sec-WebSocket-Extensions` of its response. `None` when it declined.
    ///
    /// # Errors
    /// [`NotOffered`] for another extension, a parameter that was not offered or grants less than
    /// was asked for, and for values that do not exist (RFC 7692 section 7.1).
    pub fn of_response<'a>(
        policy: DeflatePolicy,
        values: impl Iterator<Item = &'a str>,
    ) -> Result<Option<Self>, NotOffered> {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return Ok(None);
        }
        let mut chosen = values.flat_map(extensions);
        let (Some(response), None) = (chosen.next(), chosen.next()) else {
            return Err(NotOffered);
        };
        if !is_deflate(&response) {
            return Err(NotOffered);
        }
        let granted = Parameters::of(&response, Role::Server).ok_or(NotOffered)?;
        granted.settle(&Parameters::wished(policy)).ok_or(NotOffered).map(Some)
    }

    /// Whether what an end with this role sends refers to messages before it (RFC 7692 section
    /// 7.1.1).
    #[must_use]
    pub const fn takes_over(&self, sender: Role) -> bool {
        match sender {
            Role::Server => !self.server_no_context_takeover,
            Role::Client => !self.client_no_context_takeover,
        }
    }

    /// The window of what an end with this role sends, as a power of two: 8 to 15 (RFC 7692
    /// section 7.1.2).
    #[must_use]
    pub const fn window_bits(&self, sender: Role) -> u8 {
        match sender {
            Role::Server => self.server_max_window_bits,
            Role::Client => self.client_max_window_bits,
        }
    }
}

/// The parameters of one offer or response.
#[derive(Clone, Copy, Default, Debug)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// An offer may have it without a value, which is 15 then.
    client_max_window_bits: Option<u8>,
}

impl Parameters {
    /// Reads what an end with the role `sender` wrote; `None` when a parameter is unknown, there
    /// twice, or has a value that it cannot have (RFC 7692 section 7.1).
    fn of(extension: &Extension<'_>, sender: Role) -> Option<Self> {
        let mut parameters = Self::default();
        for (name, value) in extension.parameters() {
            let value = value.as_deref();
            match name {
                SERVER_NO_CONTEXT_TAKEOVER => {
                    set_flag(&mut parameters.server_no_context_takeover, value)?;
                }
                CLIENT_NO_CONTEXT_TAKEOVER => {
                    set_flag(&mut parameters.client_no_context_takeover, value)?;
                }
                SERVER_MAX_WINDOW_BITS => {
                    set_once(&mut parameters.server_max_window_bits, window_bits(value?)?)?;
                }
                CLIENT_MAX_WINDOW_BITS => {
                    let bits = match value {
                        Some(value) => window_bits(value)?,
                        None if sender == Role::Client => DEFLATE_WINDOW_BITS_MAX,
                        None => return None,
                    };
                    set_once(&mut parameters.client_max_window_bits, bits)?;
                }
                _ => return None,
            }
        }
        Some(parameters)
    }

    /// What a client with this policy asks for. It always lets the server choose its window, which
    /// costs nothing.
    fn wished(policy: DeflatePolicy) -> Self {
        let DeflatePolicy { takeover, window_bits } = policy;
        Self {
            server_no_context_takeover: !takeover,
            client_no_context_takeover: !takeover,
            server_max_window_bits: (window_bits < DEFLATE_WINDOW_BITS_MAX).then_some(window_bits),
            client_max_window_bits: Some(window_bits),
        }
    }

    /// The server's answer to this offer.
    fn accept(self, policy: DeflatePolicy) -> Option<(Agreement, String)> {
        let DeflatePolicy { takeover, window_bits } = policy;
        let offered = self.server_max_window_bits.unwrap_or(DEFLATE_WINDOW_BITS_MAX);
        // zlib cannot compress into 256 bytes without a header of its own.
        if offered < DEFLATE_WINDOW_BITS_MIN {
            return None;
        }
        // A client that lets nobody choose its window may use all of 15 (section 7.1.2.2). What is
        // allowed always is to keep none of it.
        let is_unbounded =
            self.client_max_window_bits.is_none() && window_bits < DEFLATE_WINDOW_BITS_MAX;
        let server_max_window_bits = offered.min(window_bits);
        let client_max_window_bits = self.client_max_window_bits.map(|bits| bits.min(window_bits));
        let response = Self {
            server_no_context_takeover: self.server_no_context_takeover || !takeover,
            client_no_context_takeover: self.client_no_context_takeover
                || !takeover
                || is_unbounded,
            // It may be told unasked (section 7.1.2.1), but not every client knows that it may, and
            // to none is a smaller window than expected a hindrance.
            server_max_window_bits: self.server_max_window_bits.map(|_| server_max_window_bits),
            client_max_window_bits,
        };
        let agreement = Agreement { server_max_window_bits, ..response.agreement() };
        Some((agreement, response.to_string()))
    }

    /// The agreement of a response to an offer with the parameters `offered`, if it keeps to them.
    fn settle(self, offered: &Self) -> Option<Agreement> {
        // A parameter of an offer that binds the server is granted by naming it, a window of the
        // same size or a smaller one (sections 7.1.1.1 and 7.1.2.1).
        let keeps_context = offered.server_no_context_takeover && !self.server_no_context_takeover;
        let server_fits = match (offered.server_max_window_bits, self.server_max_window_bits) {
            (Some(offered), granted) => granted.is_some_and(|bits| bits <= offered),
            (None, _) => true,
        };
        // One that binds the client can be named only if it was offered (section 7.1.2.2).
        let client_fits = match (offered.client_max_window_bits, self.client_max_window_bits) {
            (_, None) => true,
            (offered, Some(bits)) => offered.is_some_and(|offered| bits <= offered),
        };
        if keeps_context || !server_fits || !client_fits {
            return None;
        }
        let agreement = self.agreement();
        // The client may always do less than it is allowed to: what it offered, it does.
        let own_bits = offered.client_max_window_bits.unwrap_or(DEFLATE_WINDOW_BITS_MAX);
        Some(Agreement {
            client_no_context_takeover: agreement.client_no_context_takeover
                || offered.client_no_context_takeover,
            client_max_window_bits: agreement.client_max_window_bits.min(own_bits),
            ..agreement
        })
    }

    /// What a response means: windows that it does not name are of the largest size.
    fn agreement(self) -> Agreement {
        let bits = |bits: Option<u8>| bits.unwrap_or(DEFLATE_WINDOW_BITS_MAX);
        Agreement {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: bits(self.server_max_window_bits),
            client_max_window_bits: bits(self.client_max_window_bits),
        }
    }
}

impl std::fmt::Display for Parameters {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(NAME)?;
        for (name, is_set) in [
            (SERVER_NO_CONTEXT_TAKEOVER, self.server_no_context_takeover),
            (CLIENT_NO_CONTEXT_TAKEOVER, self.client_no_context_takeover),
        ] {
            if is_set {
                write!(formatter, "; {name}")?;
            }
        }
        for (name, bits) in [
            (SERVER_MAX_WINDOW_BITS, self.server_max_window_bits),
            (CLIENT_MAX_WINDOW_BITS, self.client_max_window_bits),
        ] {
            if let Some(bits) = bits {
                write!(formatter, "; {name}={bits}")?;
            }
        }
        Ok(())
    }
}

/// Names are compared as they are written: RFC 7692 section 7 gives no other form.
fn is_deflate(extension: &Extension<'_>) -> bool {
    extension.name == NAME
}

/// A flag without a value, and not for the second time.
fn set_flag(flag: &mut bool, value: Option<&str>) -> Option<()> {
    let is_new = !std::mem::replace(flag, true);
    (is_new && value.is_none()).then_some(())
}

fn set_once(slot: &mut Option<u8>, bits: u8) -> Option<()> {
    slot.replace(bits).is_none().then_some(())
}

/// A decimal from 8 to 15 without leading zeros (RFC 7692 section 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: DeflatePolicy = DeflatePolicy { takeover: false, window_bits: 15 };
    const SMALL: DeflatePolicy = DeflatePolicy { takeover: false, window_bits: 10 };
    const TAKEOVER: DeflatePolicy = DeflatePolicy { takeover: true, window_bits: 15 };
    const TAKEOVER_12: DeflatePolicy = DeflatePolicy { takeover: true, window_bits: 12 };

    /// The answer without its name, and (takeover, bits) of the server and of the client.
    type Settled = Option<(&'static str, (bool, u8), (bool, u8))>;

    fn facts(agreement: &Agreement) -> [(bool, u8); 2] {
        [Role::Server, Role::Client]
            .map(|role| (agreement.takes_over(role), agreement.window_bits(role)))
    }

    #[track_caller]
    fn check(fields: &[&str], policy: DeflatePolicy, expected: Settled) {
        let settled = Agreement::negotiate(fields.iter().copied(), policy);
        let settled = settled.map(|(agreement, value)| (value, facts(&agreement)));
        let expected = expected.map(|(value, server, client)| {
            (format!("permessage-deflate{value}"), [server, client])
        });
        assert_eq!(settled, expected, "{fields:?} under {policy:?}");
    }

    #[test]
    fn offers_are_answered_within_the_policy() {
        const NEITHER: &str = "; server_no_context_takeover; client_no_context_takeover";
        let rows: [(&str, DeflatePolicy, Settled); 19] = [
            ("", PLAIN, Some((NEITHER, (false, 15), (false, 15)))),
            ("", SMALL, Some((NEITHER, (false, 10), (false, 15)))),
            ("", TAKEOVER, Some(("", (true, 15), (true, 15)))),
            ("", TAKEOVER_12, Some(("; client_no_context_takeover", (true, 12), (false, 15)))),
            (
                ";client_max_window_bits",
                TAKEOVER_12,
                Some(("; client_max_window_bits=12", (true, 12), (true, 12))),
            ),
            (
                ";client_max_window_bits",
                TAKEOVER,
                Some(("; client_max_window_bits=15", (true, 15), (true, 15))),
            ),
            (
                ";client_max_window_bits=10",
                TAKEOVER_12,
                Some(("; client_max_window_bits=10", (true, 12), (true, 10))),
            ),
            (
                ";client_max_window_bits=8",
                TAKEOVER,
                Some(("; client_max_window_bits=8", (true, 15), (true, 8))),
            ),
            (
                "; client_max_window_bits = \"1\\4\"",
                TAKEOVER_12,
                Some(("; client_max_window_bits=12", (true, 12), (true, 12))),
            ),
            (
                ";server_max_window_bits=9",
                TAKEOVER,
                Some(("; server_max_window_bits=9", (true, 9), (true, 15))),
            ),
            (
                ";server_max_window_bits=15;client_max_window_bits=15",
                TAKEOVER_12,
                Some((
                    "; server_max_window_bits=12; client_max_window_bits=12",
                    (true, 12),
                    (true, 12),
                )),
            ),
            (
                ";server_no_context_takeover",
                TAKEOVER,
                Some(("; server_no_context_takeover", (false, 15), (true, 15))),
            ),
            (
                ";client_no_context_takeover",
                TAKEOVER,
                Some(("; client_no_context_takeover", (true, 15), (false, 15))),
            ),
            (
                ";client_no_context_takeover;server_no_context_takeover",
                TAKEOVER,
                Some((NEITHER, (false, 15), (false, 15))),
            ),
            (";server_max_window_bits=8", TAKEOVER, None),
            (
                ";server_max_window_bits=8,permessage-deflate",
                TAKEOVER,
                Some(("", (true, 15), (true, 15))),
            ),
            (
                ";x,permessage-deflate;server_max_window_bits=11,permessage-deflate",
                TAKEOVER,
                Some(("; server_max_window_bits=11", (true, 11), (true, 15))),
            ),
            (",other", TAKEOVER, Some(("", (true, 15), (true, 15)))),
            (";,permessage-deflate", TAKEOVER, None),
        ];
        for (parameters, policy, expected) in rows {
            check(&[&format!("permessage-deflate{parameters}")], policy, expected);
        }
    }

    #[test]
    fn offers_may_be_spread_over_fields() {
        let plain = Some(("", (true, 15), (true, 15)));
        check(&[], TAKEOVER, None);
        check(&["", ","], TAKEOVER, None);
        check(&["other;x=y", "permessage-deflate"], TAKEOVER, plain);
        check(&["other;permessage-deflate"], TAKEOVER, None);
        check(&["x-webkit-deflate-frame, permessage-deflate"], TAKEOVER, plain);
        check(&["Permessage-Deflate"], TAKEOVER, None);
        check(&["permessage-deflate=", "permessage-deflate"], TAKEOVER, plain);
    }

    #[test]
    fn offers_with_impossible_parameters_are_declined() {
        let flags = [SERVER_NO_CONTEXT_TAKEOVER, CLIENT_NO_CONTEXT_TAKEOVER];
        let windows = [SERVER_MAX_WINDOW_BITS, CLIENT_MAX_WINDOW_BITS];
        let mut rows = vec!["x".to_owned(), "x=1".to_owned(), "server_max_window_bits".to_owned()];
        for name in flags {
            rows.extend([format!("{name}=1"), format!("{name}=\"\""), format!("{name};{name}")]);
        }
        for name in windows {
            for value in ["0", "7", "16", "08", "99", "\"\"", "\" 9\"", "+9", "1e1", "a", "150"] {
                rows.push(format!("{name}={value}"));
            }
            rows.push(format!("{name}=10;{name}=10"));
        }
        rows.push("client_max_window_bits;client_max_window_bits".to_owned());
        for row in rows {
            check(&[&format!("permessage-deflate;{row}")], TAKEOVER, None);
        }
    }

    #[test]
    fn our_client_and_our_server_agree() {
        for takeover in [false, true] {
            for (client_bits, server_bits) in (9..=15).flat_map(|a| (9..=15).map(move |b| (a, b))) {
                let client = DeflatePolicy { takeover, window_bits: client_bits };
                let server = DeflatePolicy { takeover: true, window_bits: server_bits };
                let offer = Agreement::offer(client);
                let (of_server, response) =
                    Agreement::negotiate([&*offer].into_iter(), server).expect("acceptable");
                let of_client = Agreement::of_response(client, [&*response].into_iter())
                    .expect("as offered")
                    .expect("accepted");
                // The server may use less than it told.
                assert!(of_server.server_max_window_bits <= of_client.server_max_window_bits);
                let server_max_window_bits = of_server.server_max_window_bits;
                assert_eq!(of_server, Agreement { server_max_window_bits, ..of_client }, "{offer}");
                assert_eq!(of_server.takes_over(Role::Server), takeover);
                assert_eq!(of_server.window_bits(Role::Client), client_bits.min(server_bits));
            }
        }
    }

    #[test]
    fn a_client_refuses_what_it_did_not_offer() {
        let of = |policy, value: &'static str| Agreement::of_response(policy, [value].into_iter());
        let accepted = |policy, value| of(policy, value).ok().flatten().map(|found| facts(&found));
        assert_eq!(Agreement::of_response(PLAIN, std::iter::empty()), Ok(None));
        const FORGETFUL: &str = "permessage-deflate; server_no_context_takeover";
        for (policy, value, expected) in [
            (TAKEOVER, "permessage-deflate", [(true, 15), (true, 15)]),
            (TAKEOVER, FORGETFUL, [(false, 15), (true, 15)]),
            (PLAIN, FORGETFUL, [(false, 15), (false, 15)]),
            (
                TAKEOVER,
                "permessage-deflate;client_no_context_takeover;client_max_window_bits=8",
                [(true, 15), (false, 8)],
            ),
            // Told unasked, which is allowed.
            (TAKEOVER, "permessage-deflate;server_max_window_bits=8", [(true, 8), (true, 15)]),
            (TAKEOVER_12, "permessage-deflate;server_max_window_bits=9", [(true, 9), (true, 12)]),
        ] {
            assert_eq!(accepted(policy, value), Some(expected), "{value}");
        }
        for (policy, value) in [
            (TAKEOVER, ""),
            (TAKEOVER, "other"),
            (TAKEOVER, "permessage-deflate, other"),
            (TAKEOVER, "permessage-deflate, permessage-deflate"),
            (TAKEOVER, "permessage-deflate;x"),
            (TAKEOVER, "permessage-deflate;client_max_window_bits"),
            (TAKEOVER, "permessage-deflate;client_max_window_bits=16"),
            (TAKEOVER, "permessage-deflate;server_max_window_bits"),
            (TAKEOVER, "permessage-deflate;server_no_context_takeover=1"),
            (TAKEOVER_12, "permessage-deflate"),
            (TAKEOVER_12, "permessage-deflate;server_max_window_bits=13"),
            (TAKEOVER_12, "permessage-deflate;server_max_window_bits=12;client_max_window_bits=13"),
            (PLAIN, "permessage-deflate"),
            (PLAIN, "permessage-deflate;client_no_context_takeover"),
        ] {
            assert_eq!(of(policy, value), Err(NotOffered), "{value}");
        }
    }
}
