//! `barge inventory`, and the file that it made where `copy --have` reads it.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::listener::Listener;
use super::{Code, failed, print};
use crate::cli::Form;
use crate::config::InventoryConfig;
use crate::disk;
use crate::endpoint::{Endpoint, standard};
use crate::engine::inventory::{Stocktaking, take};
use crate::error::{Error, Kind, Result};
use crate::event::{Events, Side};
use crate::inventory::Inventory;
use crate::reference::STANDARD;
use crate::report::progress::Style;

/// The longest file that is read: a million digests and more.
const LONGEST: u64 = 128 << 20;

/// Lists what the repositories of `config` hold.
///
/// # Errors
///
/// When standard output cannot be written.
pub async fn run(config: InventoryConfig) -> anyhow::Result<Code> {
    let listener = Listener::new(if config.quiet {
        Style::Quiet
    } else {
        Style::Silent
    });
    if let Err(error) = standard::check_output(&"the inventory") {
        return failed(&error, Form::Text);
    }
    match inventory(&config, &listener.events()).await {
        Ok(inventory) => {
            print(&inventory.text())?;
            Ok(0)
        }
        Err(error) => failed(&error, Form::Text),
    }
}

async fn inventory(config: &InventoryConfig, events: &Events) -> Result<Inventory> {
    let mut inventory = Inventory::default();
    for reference in &config.repositories {
        let place = Endpoint::new(reference, config.access.options(Side::Source, events))?;
        let how = Stocktaking {
            selection: &config.selection,
            referrers: config.referrers.as_ref(),
            check: config.check,
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
    let (name, read) = if path.as_os_str() == STANDARD {
        ("standard input".to_owned(), disk::read_input(LONGEST).await)
    } else {
        let name = path.display().to_string();
        (name, disk::read_named(path, LONGEST).await)
    };
    let bytes = read.map_err(|why| {
        let kind = match why.kind() {
            ErrorKind::FileTooLarge => Kind::Protocol,
            _ => Kind::LocalIo,
        };
        Error::new(kind, "read inventory", &name).because(why)
    })?;
    Inventory::parse(&bytes, &name)
}
