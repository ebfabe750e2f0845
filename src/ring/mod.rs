//! The kernel's io_uring: the only place of unsafe code.
#![allow(unsafe_code)]

pub mod probe;
