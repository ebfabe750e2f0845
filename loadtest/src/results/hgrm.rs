//! The percentile distribution of HdrHistogram, as its C version and wrk2 print it.
//!
//! Three readers are satisfied. hdr-plot wants white space in front of four numbers, and the lines
//! of the mean and the maximum at the very left. plotFiles.html wants four words in each line
//! without `#`, joins files line by line, which takes the same steps in all, and drops `inf`.
//! gnuplot takes columns 1 and 4.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Steps until half of what remains to 100 % is left: those of all other writers.
const TICKS_PER_HALF: u32 = 5;

/// Positions in the first bucket of a histogram of three digits.
const SUB_BUCKETS: u32 = 2_048;

/// A file: what it is about in lines that readers skip, and the table. Values are microseconds.
pub(super) fn file(about: &[String], histogram: &Histogram<u64>) -> String {
    let mut out = String::new();
    for line in about {
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        out += &format!("#[{line}]\n");
    }
    out + &table(histogram)
}

/// The table alone.
pub(super) fn table(histogram: &Histogram<u64>) -> String {
    let mut out = String::new();
    write_table(&mut out, histogram).expect("a string takes everything");
    out
}

fn write_table(out: &mut String, histogram: &Histogram<u64>) -> std::fmt::Result {
    let microseconds = |nanoseconds: f64| nanoseconds / 1_000.0;
    writeln!(
        out,
        "{:>12} {:>12} {:>12} {:>12}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        // The blank is what hdr-plot needs in front of a value of 12 characters and more.
        writeln!(
            out,
            " {:11.3} {quantile:12.6} {total:12} {:12.2}",
            microseconds(step.value_iterated_to() as f64),
            1.0 / (1.0 - quantile)
        )?;
    }
    let (mean, deviation) = (microseconds(histogram.mean()), microseconds(histogram.stdev()));
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    let (max, count) = (microseconds(histogram.max() as f64), histogram.len());
    writeln!(out, "#[Max     = {max:12.3}, Total count    = {count:12}]")?;
    let buckets = histogram.buckets();
    writeln!(out, "#[Buckets = {buckets:12}, SubBuckets     = {SUB_BUCKETS:12}]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::examples::recorded;
    use crate::results::new_histogram;

    /// What hdr-plot does: lines of white space and four numbers, the first match of each legend.
    fn as_hdr_plot(text: &str) -> (Vec<[f64; 4]>, f64, f64) {
        let numeric = |word: &str| word.chars().all(|c| c.is_ascii_digit() || c == '.');
        let rows = text
            .lines()
            .filter(|line| line.starts_with(char::is_whitespace))
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.len() >= 4 && words[..4].iter().all(|word| numeric(word)))
            .map(|words| [0, 1, 2, 3].map(|column| words[column].parse().unwrap()))
            .collect();
        let after = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            let rest = line[start.len()..].trim_start().strip_prefix('=').unwrap();
            rest.split(',').next().unwrap().trim().parse().unwrap()
        };
        (rows, after("#[Mean"), after("#[Max"))
    }

    /// What plotFiles.html does: the last column over the first, of lines without `#`; anything
    /// that is no number is dropped, but for the word `Infinity`, which JavaScript knows.
    fn as_plot_files(text: &str) -> Vec<(f64, f64)> {
        assert!(!text.contains("Infinity"));
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let words = lines.skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let points = words.inspect(|words| assert_eq!(words.len(), 4, "{words:?}"));
        points
            .filter(|words| words[3] != "inf")
            .map(|words| (words[3].parse().unwrap(), words[0].parse().unwrap()))
            .collect()
    }

    #[test]
    fn three_readers_understand_it() {
        let histogram = recorded((1..=40_000).map(|step| step * 10_000));
        let text = file(&["Scenario: echo\nand more".to_owned()], &histogram);
        assert!(
            text.starts_with("#[Scenario: echo and more]\n       Value   Percentile   TotalCount")
        );
        let (rows, mean, max) = as_hdr_plot(&text);
        assert!((mean / 200_005.0 - 1.0).abs() < 0.001 && (max / 400_000.0 - 1.0).abs() < 0.001);
        assert!(rows.len() > 50 && rows.is_sorted_by(|low, high| low[0] <= high[0]));
        assert_eq!(rows[0][1], 0.0);
        let half = rows.iter().find(|row| row[1] == 0.5).unwrap();
        assert!((half[0] / 200_000.0 - 1.0).abs() < 0.002 && half[3] == 2.0, "{half:?}");
        let points = as_plot_files(&text);
        let same: Vec<_> = rows.iter().map(|row| (row[3], row[0])).collect();
        assert_eq!(points, same);
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        assert!(last.ends_with(" inf") && last.contains(" 1.000000 "), "{last}");
    }

    #[test]
    fn the_longest_times_keep_their_distance() {
        let text = table(&recorded([1_000_000_000_000]));
        let rows = as_hdr_plot(&text).0;
        assert_eq!((rows.len(), rows[0][2]), (1, 1.0), "{text}");
    }

    #[test]
    fn nothing_recorded_is_a_table_without_rows() {
        let (rows, mean, max) = as_hdr_plot(&table(&new_histogram()));
        assert_eq!((rows.len(), mean, max), (0, 0.0, 0.0));
    }
}
