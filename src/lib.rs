//! A WebSocket server on io_uring for hosts that hold hundreds of thousands of connections.
//!
//! # The map
//!
//! | folder | what it is | may use |
//! |---|---|---|
//! | [`protocol`] | RFC 6455 and RFC 7692 without I/O | `limits` |
//! | [`collections`] | slab, wheel, queue | nothing |
//! | [`connection`] | one connection's life, without I/O | `protocol`, `collections` |
//! | [`hub`] | rooms: members, order, history, the plan of a fan-out | `protocol`, `collections` |
//! | [`security`] | who may come, as whom, and how much | `collections` |
//! | [`app`] | what a message means | `connection`, `hub`, `security` |
//! | [`ring`] | rings, sockets, descriptors: all unsafe code | `limits` |
//! | [`settings`] | what shards are told of the configuration | `config`, `app` |
//! | [`mesh`] | the road between threads | `settings`, `hub`, `security`, `ring` |
//! | [`files`] | reads a file of bounded size | nothing |
//! | [`access_files`] | reads keys and passwords | `config`, `files`, `security` |
//! | [`tls`] | certificates, and sessions over sockets | `config`, `files`, `ring` |
//! | [`password_checker`] | the thread that checks passwords | `security` |
//! | [`cluster`] | rooms that span nodes, over Redis | `config`, `hub`, `mesh` |
//! | [`handshake`] | accept to 101, async on tokio-uring | all above |
//! | [`shard`] | one core: the turn | all above |
//! | [`observe`] | counters, the log and the admin listener | `connection`, `config` |
//! | [`systemd`] | tells the service manager how the server is doing | `limits` |
//! | [`top`] | the overview in a terminal | `observe` |
//! | [`reload`] | the configuration, read again | `config`, `mesh`, `observe` |
//! | [`overload`] | marks of memory and connections | `config`, `mesh`, `observe` |
//! | [`server`] | threads, signals, drain | everything |
//!
//! `docs/ARCHITECTURE.md` follows a frame through them.

pub mod access_files;
pub mod app;
pub mod check;
pub mod cluster;
pub mod collections;
pub mod config;
pub mod connection;
pub mod files;
pub mod handshake;
pub mod hub;
pub mod limits;
pub mod mesh;
pub mod observe;
pub mod overload;
pub mod password_checker;
pub mod protocol;
pub mod reload;
pub mod ring;
pub mod security;
pub mod server;
pub mod settings;
pub mod shard;
pub mod systemd;
pub mod tls;
pub mod top;
pub mod web;
