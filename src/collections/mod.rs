//! Generic containers.
