//! Pages that are part of the program.

/// The page at `/`.
pub const PAGE: &str = include_str!("index.html");
