//! A layer: a tar with one file of pseudo-random bytes, in a gzip stream of stored blocks.
//!
//! Real enough to be unpacked, checked and recognised as compressed; nothing is compressed in earnest.

use bytes::Bytes;

use crate::support::content::{OCI_LAYER, sha256};

/// One layer blob and what a manifest and a config say of it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) bytes: Bytes,
    pub(crate) media_type: String,
    /// The digest of the tar inside.
    pub(crate) diff_id: String,
    /// Where a nondistributable layer is to be had instead.
    pub(crate) urls: Vec<String>,
}

impl Layer {
    /// A layer with one file of `size` bytes; `seed` alone decides its content.
    pub(crate) fn random(seed: u64, size: usize) -> Self {
        let mut content = vec![0; size];
        fastrand::Rng::with_seed(seed).fill(&mut content);
        let tar = tar(&format!("data-{seed:016x}"), &content);
        Self {
            bytes: gzip(&tar).into(),
            media_type: OCI_LAYER.to_owned(),
            diff_id: sha256(&tar),
            urls: Vec::new(),
        }
    }

    /// The same layer as a nondistributable one, to be had from `url`.
    pub(crate) fn foreign(mut self, media_type: &str, url: &str) -> Self {
        media_type.clone_into(&mut self.media_type);
        self.urls.push(url.to_owned());
        self
    }

    pub(crate) fn digest(&self) -> String {
        sha256(&self.bytes)
    }
}

fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", content.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\u{0}").as_bytes());

    let mut tar = header.to_vec();
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    const LARGEST: usize = 0xffff;
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks = bytes.chunks(LARGEST);
    let last = blocks.len() - 1;
    for (number, block) in blocks.enumerate() {
        let length = u16::try_from(block.len()).expect("chunks are at most 0xffff long");
        out.push(u8::from(number == last));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(bytes).to_le_bytes());
    let length = u32::try_from(bytes.len()).expect("layers of tests are small");
    out.extend_from_slice(&length.to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = crc_table();
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8)
    })
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    let mut first = 0_u32;
    while index < 256 {
        let mut value = first;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ 0xedb8_8320
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
        first += 1;
    }
    table
}
