//! The integration tests: one binary, so that they link once.
//!
//! `support` has the registries, images and runners; a scenario is a module beside it.

#[cfg(test)]
mod air_gap;
#[cfg(test)]
mod archive;
#[cfg(test)]
mod auth;
#[cfg(test)]
mod concurrent;
#[cfg(test)]
mod contradicted;
mod corners;
#[cfg(test)]
mod denied_heads;
mod descriptors;
mod dry_run;
#[cfg(test)]
mod endless;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod filter;
#[cfg(test)]
mod foreign_layers;
mod forms;
#[cfg(test)]
mod have;
#[cfg(test)]
mod hopeless;
#[cfg(test)]
mod index_blobs;
mod inline_data;
mod inspect;
#[cfg(test)]
mod layout;
#[cfg(test)]
mod missing;
#[cfg(test)]
mod mount;
#[cfg(test)]
mod order;
#[cfg(test)]
mod outsize;
#[cfg(test)]
mod proxies;
#[cfg(test)]
mod pulls;
#[cfg(test)]
mod quay;
mod readme;
#[cfg(test)]
mod recheck;
#[cfg(test)]
mod referrers;
#[cfg(test)]
mod registries_conf;
#[cfg(test)]
mod report;
#[cfg(test)]
mod rollback;
#[cfg(test)]
mod self_check;
#[cfg(test)]
mod signals;
#[cfg(test)]
#[cfg(test)]
mod sparse;
#[cfg(test)]
mod sparse_source;
#[cfg(all(test, unix))]
mod special_files;
#[cfg(test)]
mod subjects;
mod support;
#[cfg(all(test, target_os = "linux"))]
mod system_files;
#[cfg(test)]
mod tags;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod unnamed;
mod verify;
