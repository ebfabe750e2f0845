//! What a verdict means: how bad it is, and how the program ends.

use super::Verdict;

impl Verdict {
    /// How the program ends with it.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::CouldNotRun => 1,
            Self::ServerErrors | Self::GateFailed => 3,
            Self::GeneratorBound => 4,
            Self::ConnectionsMissing => 5,
            Self::Interrupted => 130,
        }
    }

    /// Of several verdicts the one with the highest severity holds: the less a run says about the
    /// server, the higher.
    pub(crate) const fn severity(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::GateFailed => 1,
            Self::ServerErrors => 2,
            Self::ConnectionsMissing => 3,
            Self::GeneratorBound => 4,
            Self::Interrupted => 5,
            Self::CouldNotRun => 6,
        }
    }

    /// As it stands in `summary.json`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::CouldNotRun => "COULD-NOT-RUN",
            Self::ServerErrors => "SERVER-ERRORS",
            Self::GateFailed => "GATE-FAILED",
            Self::GeneratorBound => "GENERATOR-BOUND",
            Self::ConnectionsMissing => "CONNECTIONS-MISSING",
            Self::Interrupted => "INTERRUPTED",
        }
    }

    /// In a few words, for people.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Valid => "the figures are those of the server",
            Self::CouldNotRun => "the run could not be made",
            Self::ServerErrors => "the server lost connections or messages, or broke the protocol",
            Self::GateFailed => "a gate failed",
            Self::GeneratorBound => "the figures are those of the generator, not of the server",
            Self::ConnectionsMissing => "not all connections were opened",
            Self::Interrupted => "the figures are those until the run was ended",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_file_and_severities_differ() {
        let all = [
            Verdict::Valid,
            Verdict::GateFailed,
            Verdict::ServerErrors,
            Verdict::ConnectionsMissing,
            Verdict::GeneratorBound,
            Verdict::Interrupted,
            Verdict::CouldNotRun,
        ];
        for verdict in all {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.name());
        }
        assert!(all.map(Verdict::severity).is_sorted_by(|low, high| low < high));
    }
}
