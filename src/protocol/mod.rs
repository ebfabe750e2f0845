//! RFC 6455 and RFC 7692 without I/O, clock or threads: the server's role and the client's.
//!
//! The caller owns the bytes and the time; this module owns the rules.
//!
//! 1. **Upgrade** ([`upgrade`]): feed what was received to a [`upgrade::HeadScanner`] until it
//!    finds the end of the head, give the head to [`upgrade::parse_request`], then write
//!    [`upgrade::accept`] or [`upgrade::refuse`]. Bytes after the head are the first frames. Behind
//!    a balancer a PROXY header may come first: [`parse_proxy_header`].
//! 2. **Receive** ([`Decoder`]): wrap every received chunk in an [`Input`] and call
//!    [`Decoder::next`] until it returns `Ok(None)`; only then is the chunk used up. Chunks may be
//!    cut anywhere. An event borrows the chunk or the decoder, so handle it before the next call.
//! 3. **Send** ([`encode_frame`], [`encode_masked_frame`], [`encode_close`]): frames are appended
//!    to a buffer of the caller.
//! 4. **End**: a [`ProtocolError`] says which close code and reason to send. Whatever the end was,
//!    call [`Decoder::release`], so that the buffers return to the [`AssemblyPool`] of the shard.
//!
//! The caller answers pings and closes; nothing here sends by itself. A frame that lies whole in
//! its chunk is unmasked there and handed out without a copy; only unfinished frames and fragmented
//! messages occupy a buffer of the pool.

mod assembly;
mod close;
mod decoder;
pub mod deflate;
mod encoder;
mod error;
mod event;
mod frames;
mod header;
pub mod mask;
mod proxy;
pub mod upgrade;

pub use assembly::AssemblyPool;
pub use close::CloseCode;
pub use decoder::Decoder;
pub use encoder::{encode_close, encode_fragment, encode_frame, encode_masked_frame, header};
pub use error::ProtocolError;
pub use event::{Event, Input, Limits};
pub use frames::{begun_frame, unsent_messages};
pub use header::{MessageKind, OpCode, Role};
pub use proxy::{ProxyHeader, ProxyHeaderError, ProxySource, parse_proxy_header};
