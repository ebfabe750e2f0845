//! A generator that does not get the processor it needs. Alone in its file: no other test is to run
//! beside the threads that take it.

#[allow(unreachable_pub, missing_docs, dead_code)]
mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Manner, Server};
use ringwire::ring::{allowed_cpus, pin_to_cpu};
use serde_json::Value;

#[test]
fn a_generator_whose_processor_is_taken_says_so() {
    let server = Server::start(Manner::Echo);
    let cpu = *allowed_cpus().expect("processors").last().expect("one");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                pin_to_cpu(cpu).expect("an allowed processor");
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let (code, report) = server.run(&format!(
            "rate --rate 5000 --connections 50 --duration 2s --cpus {cpu} --threads 1"
        ));
        is_over.store(true, Ordering::Relaxed);
        assert_eq!((code, &report["verdict"]), (4, &Value::from("GENERATOR-BOUND")), "{report}");
        assert_ne!(report["reasons"], Value::Array(Vec::new()));
    });
}
