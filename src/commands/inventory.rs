//! `barge inventory`, and the file that it made where `copy --have` reads it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tokio::sync::oneshot;

use super::listener::Listener;
use super::{Code, failed, print};
use crate::cli::Form;
use crate::endpoint::{Endpoint, standard};
use crate::engine::inventory::{Stocktaking, take};
use crate::error::{Error, Kind, Result};
use crate::event::{Events, Side};
use crate::inventory::Inventory;
use crate::reference::STANDARD;
use crate::report::progress::Style;
use crate::request::InventoryRequest;

/// The longest file that is read: a million digests and more.
const LONGEST: u64 = 128 << 20;

/// Lists what the repositories of `request` hold.
///
/// # Errors
///
/// When standard output cannot be written.
pub async fn run(request: InventoryRequest) -> anyhow::Result<Code> {
    let listener = Listener::new(if request.quiet {
        Style::Quiet
    } else {
        Style::Silent
    });
    if let Err(error) = standard::check_output(&"the inventory") {
        return failed(&error, Form::Text);
    }
    match inventory(&request, &listener.events()).await {
        Ok(inventory) => {
            print(&inventory.text())?;
            Ok(0)
        }
        Err(error) => failed(&error, Form::Text),
    }
}

async fn inventory(request: &InventoryRequest, events: &Events) -> Result<Inventory> {
    let mut inventory = Inventory::default();
    for reference in &request.repositories {
        let place = Endpoint::new(reference, request.access.options(Side::Source, events))?;
        let how = Stocktaking {
            selection: &request.selection,
            referrers: request.referrers.as_ref(),
            check: request.check,
            events,
        };
        let held = take(reference.to_string(), &place, how).await?;
        inventory.places.push(held);
    }
    Ok(inventory)
}

/// Reads what a run of `barge inventory` printed; `-` is standard input.
///
/// # Errors
///
/// When it cannot be read, or is something else.
pub(super) async fn read(path: PathBuf) -> Result<Inventory> {
    let (sender, receiver) = oneshot::channel();
    let place = path.display().to_string();
    // A thread of its own: one that waits for a pipe must not keep the process from ending.
    std::thread::spawn(move || {
        // Nobody waits for it where the run has ended.
        let _ = sender.send(read_file(&path));
    });
    let failed = |why| Error::new(Kind::LocalIo, "read inventory", place).because(why);
    receiver.await.map_err(failed)?
}

fn read_file(path: &Path) -> Result<Inventory> {
    let is_standard = path.as_os_str() == STANDARD;
    let name = if is_standard {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let failed = |kind| Error::new(kind, "read inventory", &name);
    let read = |source: &mut dyn Read| {
        let mut bytes = Vec::new();
        source.take(LONGEST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = if is_standard {
        read(&mut std::io::stdin().lock())
    } else {
        File::open(path).and_then(|mut file| read(&mut file))
    };
    let bytes = bytes.map_err(|why: std::io::Error| failed(Kind::LocalIo).because(why))?;
    if bytes.len() as u64 > LONGEST {
        let cause = format!("it has more than {LONGEST} bytes");
        return Err(failed(Kind::Protocol).because(cause));
    }
    Inventory::parse(&bytes, &name)
}
