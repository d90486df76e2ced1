//! A panic is a fault of barge: one line tells of it, and the run still ends in a report.
//!
//! What a panic left half done is not mended here: the engine's tasks have their own ends.

use std::panic::{AssertUnwindSafe, Location, catch_unwind, set_hook, take_hook};

use futures_util::FutureExt as _;

use crate::error::{Error, Result};
use crate::report;

/// Tells of a panic in one line, wherever it is. `RUST_BACKTRACE` asks for the rest.
pub fn tell_in_one_line() {
    let whole = take_hook();
    set_hook(Box::new(move |panic| {
        report::say(&told(panic.location()));
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            whole(panic);
        }
    }));
}

fn told(location: Option<&Location<'_>>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let location = location.map(|location| format!(", {location}"));
    let location = location.unwrap_or_default();
    format!("internal error, please report it (barge {version}{location})")
}

/// Does `work`; a panic in it is an error of what barge was `doing`.
pub(super) async fn caught<T>(doing: &str, work: impl Future<Output = T>) -> Result<T> {
    let work = AssertUnwindSafe(work).catch_unwind();
    work.await.map_err(|_| Error::internal(doing, ""))
}

/// The same for what does not wait.
pub(super) fn caught_at_once<T>(doing: &str, work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Error::internal(doing, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[tokio::test]
    async fn panicking_work_is_an_error_of_barge() {
        let waits = async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        };
        let error = caught("copy", waits).await.expect_err("it panics");
        assert_eq!(error.kind(), Kind::Protocol);
        assert!(error.to_string().contains("please report it"), "{error}");
        assert!(caught_at_once("tell", || panic!("on purpose")).is_err());
        assert_eq!(caught("copy", async { 1 }).await.ok(), Some(1));
    }

    #[test]
    fn one_line_tells_where_a_panic_was() {
        let line = told(Some(Location::caller()));
        assert!(line.contains(file!()), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}
