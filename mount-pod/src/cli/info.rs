//! `carafe info`: what the engine knows of a file.

use carafe_meta::TreeUsage;
use carafe_types::{Attr, BlockKey, Error, FileType, Ino, Slice, block_len};
use clap::Args;

use super::{
    table::{size, table},
    volume::{Volume, shown},
};
use crate::failure::Failure;

/// Show what the metadata engine knows of files and directories
#[derive(Args)]
pub(crate) struct InfoArgs {
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// Paths in the volume, or on a mount of it; or inodes, with -i
    #[arg(required = true, value_name = "PATH/INODE")]
    targets: Vec<String>,
    /// The targets are inodes
    #[arg(long, short)]
    inode: bool,
    /// Count whole trees
    #[arg(long, short)]
    recursive: bool,
    /// Count files where directories' statistics would answer
    #[arg(long)]
    strict: bool,
    /// Show slices as they are on record, not the objects
    #[arg(long)]
    raw: bool,
}

impl InfoArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let volume = Volume::open(&self.meta_url).await?;
        for target in &self.targets {
            let (ino, attr) = self.find(&volume, target).await?;
            println!("{target} :");
            self.show(&volume, ino, &attr).await?;
        }
        Ok(())
    }

    async fn find(&self, volume: &Volume, target: &str) -> Result<(Ino, Attr), Failure> {
        if !self.inode {
            return volume.find(target).await;
        }
        let number = target.parse();
        let ino = Ino(number.map_err(|_| Failure::Usage(format!("{target} is no inode")))?);
        match volume.meta.getattr(&volume.call, ino).await {
            Err(Error::NotFound) => Err(Failure::Usage(format!("there is no inode {ino}"))),
            other => Ok((ino, other?)),
        }
    }

    async fn show(&self, volume: &Volume, ino: Ino, attr: &Attr) -> Result<(), Failure> {
        let (meta, call) = (&volume.meta, &volume.call);
        let usage = meta.usage(call, ino, self.recursive, self.strict).await?;
        let TreeUsage {
            files,
            dirs,
            length,
            space,
        } = usage;
        println!("  inode: {ino}\n  files: {files}\n   dirs: {dirs}");
        println!(" length: {} ({length} Bytes)", size(length));
        println!("   size: {} ({space} Bytes)", size(space));
        match &meta.paths(call, ino).await?[..] {
            [path] => println!("   path: {}", shown(path)),
            paths => {
                println!("  paths:");
                for path in paths {
                    println!("\t{}", shown(path));
                }
            }
        }
        if attr.kind == FileType::File {
            self.show_data(volume, ino).await?;
        }
        Ok(())
    }

    async fn show_data(&self, volume: &Volume, ino: Ino) -> Result<(), Failure> {
        let (meta, call) = (&volume.meta, &volume.call);
        let mut rows = Vec::new();
        for index in meta.chunk_indexes(call, ino).await? {
            for slice in meta.read_chunk(call, ino, index).await?.iter() {
                if self.raw {
                    rows.push(raw_row(index, slice));
                } else if !slice.id.is_hole() {
                    rows.extend(object_rows(volume, index, slice));
                }
            }
        }
        let (title, heads): (_, &[&str]) = if self.raw {
            (
                " chunks:",
                &["chunkIndex", "sliceId", "size", "offset", "length", "pos"],
            )
        } else {
            (
                " objects:",
                &[
                    "chunkIndex",
                    "objectName",
                    "size",
                    "offset",
                    "length",
                    "pos",
                ],
            )
        };
        println!("{title}\n{}", table(heads, &rows));
        Ok(())
    }
}

fn raw_row(index: u32, slice: &Slice) -> Vec<String> {
    let Slice {
        pos,
        id,
        size,
        off,
        len,
    } = *slice;
    let figures = [
        u64::from(index),
        id.0,
        size.into(),
        off.into(),
        len.into(),
        pos.into(),
    ];
    figures.map(|figure| figure.to_string()).to_vec()
}

/// The blocks that a slice is read from.
fn object_rows(volume: &Volume, index: u32, slice: &Slice) -> Vec<Vec<String>> {
    let block_size = volume.format.block_bytes();
    let (start, end) = (slice.off, slice.off + slice.len);
    let blocks = start / block_size..end.div_ceil(block_size);
    let row = |block: u32| {
        let key = BlockKey {
            slice: slice.id,
            index: block,
            size: block_len(slice.size, block_size, block),
        };
        let first = block * block_size;
        let from = start.max(first);
        let to = end.min(first + key.size);
        let key_text = key.object_key(volume.format.hash_prefix);
        vec![
            index.to_string(),
            format!("{}/{key_text}", volume.format.name),
            key.size.to_string(),
            (from - first).to_string(),
            to.saturating_sub(from).to_string(),
            (slice.pos + from - start).to_string(),
        ]
    };
    blocks.map(row).collect()
}
