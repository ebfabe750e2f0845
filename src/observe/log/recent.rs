//! The newest warnings and errors, in memory for operators.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use tracing::Level;

use super::super::overview::LogLine;
use crate::limits::LOG_RECENT_LINES_MAX;

/// A ring for each level: however many warnings there are, they push out no error.
#[derive(Default, Debug)]
pub(super) struct Recent {
    errors: Ring,
    warnings: Ring,
    /// Lines that were kept so far.
    kept: u64,
}

/// At most [`LOG_RECENT_LINES_MAX`] lines, from older to newer, each with its place in the order.
type Ring = VecDeque<(u64, Arc<LogLine>)>;

impl Recent {
    /// Keeps a line in place of the oldest of its kind.
    pub(super) fn keep(&mut self, level: Level, line: LogLine) {
        let is_error = level == Level::ERROR;
        let ring = if is_error { &mut self.errors } else { &mut self.warnings };
        if ring.len() == LOG_RECENT_LINES_MAX {
            ring.pop_front();
        }
        ring.push_back((self.kept, Arc::new(line)));
        self.kept += 1;
    }

    /// The newest lines, the newest first, `lines_max` at most: half of the places go to errors
    /// before all others.
    pub(super) fn newest(&self, lines_max: usize) -> Vec<Arc<LogLine>> {
        let newest_first = |(order, _): &&(u64, Arc<LogLine>)| Reverse(*order);
        let mut errors = self.errors.iter().rev();
        let mut lines: Vec<_> = errors.by_ref().take(lines_max.div_ceil(2)).collect();
        let mut others: Vec<_> = errors.chain(self.warnings.iter().rev()).collect();
        others.sort_unstable_by_key(newest_first);
        lines.extend(others.into_iter().take(lines_max - lines.len()));
        lines.sort_unstable_by_key(newest_first);
        lines.into_iter().map(|(_, line)| Arc::clone(line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown, in `lines_max` places, of lines that were kept in this order.
    fn shown(kept: impl IntoIterator<Item = (Level, usize)>, lines_max: usize) -> Vec<String> {
        let mut recent = Recent::default();
        for (level, number) in kept {
            let (target, message) = (String::new(), number.to_string());
            let line = LogLine { timestamp: 0, level: level.to_string(), target, message };
            recent.keep(level, line);
        }
        let lines = recent.newest(lines_max);
        lines.iter().map(|line| format!("{} {}", line.level, line.message)).collect()
    }

    fn errors(numbers: std::ops::Range<usize>) -> impl Iterator<Item = (Level, usize)> {
        numbers.map(|number| (Level::ERROR, number))
    }

    fn warnings(numbers: std::ops::Range<usize>) -> impl Iterator<Item = (Level, usize)> {
        numbers.map(|number| (Level::WARN, number))
    }

    #[test]
    fn warnings_push_out_no_error() {
        let flood = || warnings(0..10 * LOG_RECENT_LINES_MAX);
        let kept = errors(0..1).chain(flood());
        assert_eq!(shown(kept, 3), ["WARN 999", "WARN 998", "ERROR 0"]);
        assert_eq!(shown(errors(0..9).chain(flood()), 1), ["ERROR 8"]);
        let kept = errors(0..9).chain(flood());
        assert_eq!(shown(kept, 4), ["WARN 999", "WARN 998", "ERROR 8", "ERROR 7"]);
    }

    #[test]
    fn the_newest_have_the_places_that_are_left() {
        let kept = || warnings(0..2).chain(errors(2..5)).chain(warnings(5..6));
        assert_eq!(shown(kept(), 4), ["WARN 5", "ERROR 4", "ERROR 3", "ERROR 2"]);
        let all = ["WARN 5", "ERROR 4", "ERROR 3", "ERROR 2", "WARN 1", "WARN 0"];
        assert_eq!(shown(kept(), 100), all);
        assert_eq!(shown(kept(), 0), [""; 0]);
    }

    #[test]
    fn each_kind_is_bounded() {
        let many = 3 * LOG_RECENT_LINES_MAX;
        let kept = errors(0..many).chain(warnings(0..many));
        assert_eq!(shown(kept, usize::MAX).len(), 2 * LOG_RECENT_LINES_MAX);
    }
}
