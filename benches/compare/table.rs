//! The results as people read them: plain text that Markdown shows as tables.

use std::fmt::{Display, Formatter, Result};

use super::race::Summary;
use super::targets::Target;

/// Every workload's rows, and the targets that were looked at.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 7]>,
    targets: Vec<Target>,
}

const HEADS: [&str; 7] = [
    "workload", "tool", "wall s", "CPU s", "peak MiB", "source", "destin.",
];

impl Table {
    /// The rows of one workload, and below them how the first contender stands to each other that is not itself.
    pub(crate) fn add(&mut self, workload: &str, summaries: &[Summary], targets: Vec<Target>) {
        for summary in summaries {
            self.rows.push(row(workload, summary));
        }
        let (ours, others): (Vec<_>, Vec<_>) = summaries
            .iter()
            .partition(|summary| summary.tool.starts_with("barge"));
        for own in ours {
            for other in &others {
                self.rows.push(ratios(workload, own, other));
            }
        }
        self.targets.extend(targets);
    }
}

fn row(workload: &str, summary: &Summary) -> [String; 7] {
    let [source, destination] = summary.requests;
    [
        workload.to_owned(),
        summary.tool.to_owned(),
        format!("{:.3}", summary.usage.wall),
        format!("{:.2}", summary.usage.cpu),
        format!("{:.1}", summary.usage.memory),
        source.to_string(),
        destination.to_string(),
    ]
}

fn ratios(workload: &str, own: &Summary, other: &Summary) -> [String; 7] {
    let count = |summary: &Summary, side: usize| {
        u32::try_from(summary.requests[side]).map_or(f64::INFINITY, f64::from)
    };
    let ratio = |own: f64, other: f64| {
        let ratio = own / other;
        if ratio.is_finite() {
            format!("{ratio:.3}")
        } else {
            "-".to_owned()
        }
    };
    [
        workload.to_owned(),
        format!("{} / {}", own.tool, other.tool),
        ratio(own.usage.wall, other.usage.wall),
        ratio(own.usage.cpu, other.usage.cpu),
        ratio(own.usage.memory, other.usage.memory),
        ratio(count(own, 0), count(other, 0)),
        ratio(count(own, 1), count(other, 1)),
    ]
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "Medians; `source` and `destin.` are requests there. Without a delay the timed runs go straight\n\
             to the registries, and requests are counted in one more run through proxies.\n"
        )?;
        write_table(f, HEADS, &self.rows)?;
        if self.targets.is_empty() {
            return Ok(());
        }
        writeln!(f)?;
        let rows: Vec<[String; 4]> = self.targets.iter().map(Target::row).collect();
        write_table(f, ["target", "must be", "is", ""], &rows)
    }
}

/// The first two columns are words and begin at the left, the others end at the right.
fn write_table<const N: usize>(
    f: &mut Formatter<'_>,
    heads: [&str; N],
    rows: &[[String; N]],
) -> Result {
    let heads = heads.map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&heads]).map(|row| row[column].len());
        cells.max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let rule: [String; N] = std::array::from_fn(|column| {
        let dashes = "-".repeat(widths[column] + 1);
        if column < 2 {
            format!("{dashes}-")
        } else {
            format!("{dashes}:")
        }
    });
    write_row(f, &heads, widths)?;
    writeln!(f, "|{}|", rule.join("|"))?;
    rows.iter().try_for_each(|row| write_row(f, row, widths))
}

fn write_row<const N: usize>(
    f: &mut Formatter<'_>,
    row: &[String; N],
    widths: [usize; N],
) -> Result {
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        if column < 2 {
            write!(f, "| {cell:<width$} ")?;
        } else {
            write!(f, "| {cell:>width$} ")?;
        }
    }
    writeln!(f, "|")
}
