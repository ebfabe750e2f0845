//! What a run leaves: a summary and its intervals. They are saved, loaded, merged and compared as
//! they are, so that nothing depends on the process that measured them.

mod compare;
#[cfg(test)]
pub(crate) mod examples;
mod files;
mod gap;
mod gate;
mod hgrm;
mod histogram;
mod hlog;
mod html;
mod load;
mod merge;
mod merge_summary;
mod metric;
mod rows;
mod schema;
mod summary;
mod text;
mod units;
mod verdict;

use hdrhistogram::Histogram;

pub(crate) use self::compare::{Comparison, Side};
pub(crate) use self::files::save_page;
pub(crate) use self::gap::latency_gap;
pub(crate) use self::gate::Gate;
pub(crate) use self::schema::schema;
pub(crate) use self::summary::{
    Compressed, Config, Connections, CpuShare, Environment, ErrorCount, Figure, Generator, Kernel,
    Load, LoadModel, Merge, Messages, NamedHistogram, Percentiles, Rate, Rooms, Row, RowPhase,
    Server, Step, Summary, ThreadShare, TlsChoice, TlsHandshakes, Verdict,
};

/// Of the files that a run leaves; a reader refuses a higher one.
pub(crate) const FORMAT: u32 = 1;

/// The longest time a histogram tells apart: 1,000 s in nanoseconds.
pub(crate) const NANOSECONDS_MAX: u64 = 1_000_000_000_000;

/// A run, complete.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    /// `summary.json`, with every histogram of the whole run.
    pub(crate) summary: Summary,
    /// The intervals of the run, in order: lines of `timeseries.ndjson` and `latency.hlog`. The
    /// histograms of all intervals add up to those of the summary.
    pub(crate) intervals: Vec<Interval>,
}

/// One interval of a run.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    /// Its line of `timeseries.ndjson`.
    pub(crate) row: Row,
    /// The latencies that ended in it, counted from the intended time of each.
    pub(crate) latency: Packed,
    /// The same, counted from when each was really sent.
    pub(crate) latency_uncorrected: Packed,
}

/// A histogram of nanoseconds in the compressed V2 encoding: a tenth of what it takes in use.
/// Empty when nothing was recorded.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Packed(pub(crate) Vec<u8>);

/// A histogram of nanoseconds, exact to three digits. All have the same bounds, so they can be
/// added.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NANOSECONDS_MAX, 3).expect("the bounds are valid")
}
