//! The schema of `summary.json`, out of the code that writes it.

use schemars::schema_for;

use super::Summary;

/// The JSON schema of `summary.json`.
pub(crate) fn schema() -> String {
    let schema = schema_for!(Summary);
    serde_json::to_string_pretty(schema.as_value()).expect("a JSON value can be written") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_schema_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/loadtest-summary.schema.json");
        let documented = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            documented == schema(),
            "run: cargo run -p loadtest -- schema > docs/loadtest-summary.schema.json"
        );
    }
}
