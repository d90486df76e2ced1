//! What must be reached, and whether it was.

use super::race::Summary;

/// One number with its bound.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    text: String,
    bound: Bound,
    measured: f64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub(crate) fn new(text: impl Into<String>, measured: f64, bound: Bound) -> Self {
        Self {
            text: text.into(),
            bound,
            measured,
        }
    }

    /// How many times as fast as `other` a run has to be.
    pub(crate) fn faster(text: &str, (own, other): (&Summary, &Summary), times: f64) -> Self {
        let measured = other.usage.wall / own.usage.wall;
        Self::new(
            format!("{text}: times as fast as {}", other.tool),
            measured,
            Bound::AtLeast(times),
        )
    }

    /// How many requests a run may make, at both sides or at one.
    pub(crate) fn requests(text: impl Into<String>, made: usize, bound: u32) -> Self {
        let made = u32::try_from(made).map_or(f64::INFINITY, f64::from);
        Self::new(text, made, Bound::AtMost(bound.into()))
    }

    pub(super) fn row(&self) -> [String; 4] {
        let (bound, reached) = match self.bound {
            Bound::AtLeast(bound) => (format!("≥ {bound}"), self.measured >= bound),
            Bound::AtMost(bound) => (format!("≤ {bound}"), self.measured <= bound),
        };
        [
            self.text.clone(),
            bound,
            format!("{:.2}", self.measured),
            if reached { "reached" } else { "missed" }.to_owned(),
        ]
    }
}
