//! `report.html`: one file that shows one run, or several over each other, without a network.
//!
//! The page is made in the browser from one block of JSON. Whatever a server or a file said gets
//! into the page as text, never as markup, and a content security policy forbids everything else.

mod data;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use self::data::Page;
use super::Results;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// One script in parts. The last puts the page together from what the others define.
const SCRIPTS: [&str; 7] = [
    include_str!("format.js"),
    include_str!("axis.js"),
    include_str!("chart.js"),
    include_str!("time.js"),
    include_str!("tables.js"),
    include_str!("sections.js"),
    include_str!("page.js"),
];

/// The page of one run, or the comparison of several; the first is what the others are compared
/// with. Each comes with the name that tells it from the others.
pub(crate) fn render(runs: &[(&str, &Results)]) -> String {
    let json = serde_json::to_string(&Page::new(runs)).expect("the data have no maps but of text");
    // With no `<` in it, no text can end the block of data or open a comment. JSON has the
    // character in strings only, where the escape means the same.
    let data = json.replace('<', "\\u003c");
    fill(TEMPLATE, &[("{style}", STYLE), ("{data}", &data), ("{script}", &SCRIPTS.concat())])
}

/// Puts each text in the place of its mark. Marks come in the order of the template, so that one
/// in a text put in stays what it is.
fn fill(template: &str, texts: &[(&str, &str)]) -> String {
    let mut page = String::new();
    let mut rest = template;
    for (mark, text) in texts {
        let (before, after) = rest.split_once(mark).expect("the template has every mark");
        page.push_str(before);
        page.push_str(text);
        rest = after;
    }
    page + rest
}
