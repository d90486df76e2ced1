//! The requests of one run, written down to be looked at: what crossed the wire, and when.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use super::support::wire::Request;

/// Writes the requests at the source and at the destination, in order of arrival, into a file in `directory`.
///
/// A line has the milliseconds from the first request to arrival, those that it took, the side, and the request.
pub(crate) fn write(directory: &Path, run: &str, [source, destination]: &[Vec<Request>; 2]) {
    let source = source.iter().map(|request| ("source", request));
    let mut all: Vec<_> = destination
        .iter()
        .map(|request| ("destination", request))
        .chain(source)
        .collect();
    all.sort_by_key(|(_, request)| request.began);
    let Some((_, first)) = all.first() else {
        return;
    };
    let mut text = String::new();
    for (side, request) in &all {
        writeln!(text, "{}", line(side, request, first.began)).expect("a string takes every write");
    }
    let words: Vec<&str> = run
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    fs::create_dir_all(directory).expect("the directory for requests can be made");
    let file = directory.join(format!("{}.txt", words.join("-")));
    fs::write(file, text).expect("the requests can be written");
}

fn line(side: &str, request: &Request, start: Instant) -> String {
    let milliseconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1000.0;
    let took = request
        .ended
        .map_or(f64::NAN, |ended| milliseconds(request.began, ended));
    format!(
        "{:9.1} {took:8.1} {side:11} {} {} {}{}{}",
        milliseconds(start, request.began),
        request.status,
        request.method,
        request.path,
        if request.query.is_empty() { "" } else { "?" },
        request.query
    )
}
