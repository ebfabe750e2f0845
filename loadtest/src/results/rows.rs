//! The time series: `timeseries.ndjson`, a row of JSON in each line, and `timeseries.csv`, the
//! same rows without nesting.

use serde_json::{Map, Value};

use super::{Interval, Percentiles, Row};

/// The columns of the table. A column of percentiles stands for one of each of their fields.
const COLUMNS: [&str; 21] = [
    "t",
    "length",
    "phase",
    "connections",
    "opened",
    "farewells",
    "returned",
    "target_rate",
    "achieved_rate",
    "received_rate",
    "sent",
    "received",
    "errors",
    "shed",
    "max_schedule_lag_us",
    "latency_us",
    "latency_uncorrected_us",
    "generator_cpus",
    "server_cpus",
    "server_resident_bytes",
    "tcp_buffer_bytes",
];

/// The rows as lines of JSON.
///
/// # Errors
/// Never with rows of this program: JSON can hold them all.
pub(super) fn ndjson(intervals: &[Interval]) -> Result<String, String> {
    let mut out = String::new();
    for interval in intervals {
        out += &serde_json::to_string(&interval.row).map_err(|error| error.to_string())?;
        out.push('\n');
    }
    Ok(out)
}

/// The rows of lines of JSON.
///
/// # Errors
/// When a line is no row.
pub(super) fn read(text: &str) -> Result<Vec<Row>, String> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))
        })
        .collect()
}

/// The rows as a table. What a row lacks is an empty field.
///
/// # Errors
/// Never with rows of this program: JSON can hold them all.
pub(super) fn csv(intervals: &[Interval]) -> Result<String, String> {
    let fields = Percentiles::default().fields().map(|(field, _)| field);
    let names = COLUMNS.iter().flat_map(|column| match column.strip_suffix("latency_us") {
        _ if !column.starts_with("latency") => vec![(*column).to_owned()],
        _ => fields.iter().map(|field| percentile_column(column, field)).collect(),
    });
    let mut out = names.collect::<Vec<_>>().join(",") + "\n";
    for interval in intervals {
        let row = serde_json::to_value(&interval.row).map_err(|error| error.to_string())?;
        let cells = COLUMNS.iter().flat_map(|column| match row.get(column) {
            Some(Value::Object(found)) => fields.iter().map(|field| cell(found, field)).collect(),
            found => vec![plain(found)],
        });
        out += &(cells.collect::<Vec<_>>().join(",") + "\n");
    }
    Ok(out)
}

/// `latency_us` and `p50` are `latency_p50_us`, since names end in their unit.
fn percentile_column(column: &str, field: &str) -> String {
    let stem = column.trim_end_matches("_us");
    if field == "count" { format!("{stem}_count") } else { format!("{stem}_{field}_us") }
}

fn cell(percentiles: &Map<String, Value>, field: &str) -> String {
    plain(percentiles.get(field))
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::examples;

    #[test]
    fn the_table_has_every_field_of_a_row() {
        let results = examples::run(1);
        let Value::Object(row) = serde_json::to_value(&results.intervals[2].row).unwrap() else {
            panic!("a row is an object");
        };
        let mut columns = COLUMNS;
        columns.sort_unstable();
        assert_eq!(row.keys().collect::<Vec<_>>(), columns.iter().collect::<Vec<_>>());
        let Value::Object(latency) = &row["latency_us"] else { panic!("it is nested") };
        let mut fields = Percentiles::default().fields().map(|(field, _)| field);
        fields.sort_unstable();
        assert_eq!(latency.keys().collect::<Vec<_>>(), fields.iter().collect::<Vec<_>>());
    }

    #[test]
    fn the_table_says_what_the_rows_say() {
        let results = examples::run(1);
        let text = csv(&results.intervals).unwrap();
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines.len(), 6);
        assert!(lines.iter().all(|line| line.len() == lines[0].len()));
        let column = |name| lines[0].iter().position(|column| *column == name).unwrap();
        let at = |line: usize, name| lines[line][column(name)];
        assert_eq!((at(1, "phase"), at(3, "phase")), ("connect", "measure"));
        assert_eq!((at(1, "target_rate"), at(3, "target_rate")), ("", "100.0"));
        assert_eq!(at(3, "latency_count"), "100");
        let p99: f64 = at(3, "latency_uncorrected_p99_us").parse().unwrap();
        assert_eq!(p99, results.intervals[2].row.latency_uncorrected_us.p99);
    }

    #[test]
    fn rows_come_back_and_damage_is_named_with_its_line() {
        let results = examples::run(1);
        let text = ndjson(&results.intervals).unwrap();
        let rows = read(&text).unwrap();
        assert_eq!((rows.len(), rows[4].t, rows[4].received), (5, 5.0, 99));
        let cut = &text[..text.len() - 20];
        assert!(read(cut).unwrap_err().starts_with("line 5: "));
    }
}
