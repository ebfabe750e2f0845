//! The sentence under the two latencies, for readers who have never met them side by side.

use super::units::time;
use super::{LoadModel, Percentiles};

/// The most by which both may differ at p99 and still say the same.
const SAME: f64 = 1.1;

/// What the gap between latencies counted from the intended times (`corrected`) and from the real
/// sends means. `model` is absent when the scenario sends no messages.
pub(crate) fn latency_gap(
    model: Option<LoadModel>,
    corrected: &Percentiles,
    uncorrected: &Percentiles,
) -> String {
    let (due, sent) = (time(corrected.p99), time(uncorrected.p99));
    let what = if model.is_some() { "Messages" } else { "Handshakes" };
    if corrected.count == 0 {
        "No latency was measured.".to_owned()
    } else if model == Some(LoadModel::Closed) {
        "Closed loop: whoever waits for an answer sends nothing, so a stall of the server shows in \
         a few latencies only, where users would meet it in many; --rate measures those."
            .to_owned()
    } else if corrected.p99 <= uncorrected.p99 * SAME {
        format!(
            "{what} began when they were due: p99 is {due} from the intended time and {sent} from \
             the real one, so both tell what users would see."
        )
    } else {
        format!(
            "{what} began late: p99 is {due} from the time they were due and {sent} from when \
             they really began. Users would wait the longer time; the shorter one leaves out what \
             passed before."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_fits_the_figures() {
        let latency = |p99| Percentiles { count: 1, p99, ..Percentiles::default() };
        let open = Some(LoadModel::Open);
        let none = Percentiles::default();
        assert!(latency_gap(open, &none, &none).contains("No latency"));
        let says = |model, due, sent| latency_gap(model, &latency(due), &latency(sent));
        assert!(says(Some(LoadModel::Closed), 5.0, 5.0).contains("--rate"));
        assert!(says(open, 105.0, 100.0).contains("began when they were due"));
        let late = says(open, 2_000_000.0, 100.0);
        assert!(late.contains("began late: p99 is 2.00s") && late.contains("100.00us"), "{late}");
    }
}
