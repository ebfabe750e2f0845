//! The `ringwire` program.
fn main() {}
