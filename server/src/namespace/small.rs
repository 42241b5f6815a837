//! Small files: how a batch is stored and fetched.

use blk_datapath::files::{FileError, SmallSource};
use blk_proto::message::{
    Failure, FetchedFile, MAX_INLINE, MAX_MESSAGE, MAX_SMALL_FILES, SmallFile,
};

use super::Outcome;
use super::run::{State, in_pool};
use crate::exports::{AccessError, Export, Places};

/// Longest text of a failure in a batch, in bytes: as many as there can be fit a message.
const TEXT_MAX: usize = 200;
/// What one file takes in a message besides its bytes and text, at most.
const OVERHEAD: usize = 32;
/// What a message takes besides its files, at most.
const FRAME: usize = 64;

// As many failures as there can be fit a message.
const _: () = assert!(FRAME + MAX_SMALL_FILES * (OVERHEAD + TEXT_MAX) <= MAX_MESSAGE);

impl State {
    /// Writes each file, durably, or says why not.
    pub(super) async fn store(
        &self,
        export: &str,
        files: Vec<SmallFile>,
    ) -> Result<Outcome, AccessError> {
        let export = self.exports.get(export)?;
        let mut failures: Vec<Option<Failure>> = files.iter().map(|_| None).collect();
        let (mut places, mut placed, mut indices) = (Places::default(), Vec::new(), Vec::new());
        for (index, file) in files.into_iter().enumerate() {
            match export.place_small(file, &mut places, &self.made).await {
                Ok(file) => {
                    placed.push(file);
                    indices.push(index);
                }
                Err(error) => failures[index] = Some(told(error)),
            }
        }
        let results = self.store.store(placed).await;
        for (index, result) in indices.into_iter().zip(results) {
            failures[index] = result.err().map(told);
        }
        Ok(Outcome::Stored { failures })
    }

    /// Reads each file that is small and fits the answer.
    pub(super) async fn fetch(
        &self,
        export: &str,
        paths: Vec<Vec<u8>>,
    ) -> Result<Outcome, AccessError> {
        let export = self.exports.get(export)?.clone();
        // Whoever waits here holds nothing but paths.
        let _turn = self.reads.acquire().await.ok();
        let files = in_pool("read", b"", move || Ok(read_all(&export, &paths))).await?;
        Ok(Outcome::Fetched { files })
    }
}

/// What became of each path; together they fit a message.
fn read_all(export: &Export, paths: &[Vec<u8>]) -> Vec<FetchedFile> {
    let mut room = MAX_MESSAGE - FRAME;
    let mut left = paths.len();
    let read = |path: &Vec<u8>| {
        left -= 1;
        // Every later one can fail still.
        let spare = room.saturating_sub(OVERHEAD + left * (OVERHEAD + TEXT_MAX));
        let fetched = match export.read_small(path, spare.min(MAX_INLINE)) {
            Ok(SmallSource::Whole { attributes, bytes }) => FetchedFile::Whole(SmallFile {
                path: Vec::new(),
                mode: attributes.mode,
                mtime_ns: attributes.mtime_ns,
                crc: crc32fast::hash(&bytes),
                bytes,
            }),
            Ok(SmallSource::Large(attributes)) => FetchedFile::Large(attributes),
            Err(error) => FetchedFile::Failed(told(error)),
        };
        let taken = match &fetched {
            FetchedFile::Whole(file) => file.bytes.len(),
            FetchedFile::Large(_) => 0,
            FetchedFile::Failed(failure) => failure.message.len(),
        };
        room = room.saturating_sub(OVERHEAD + taken);
        fetched
    };
    paths.iter().map(read).collect()
}

/// A failure as it is told to the peer, in few words.
fn told(error: FileError) -> Failure {
    let mut failure = AccessError::from(error).to_failure();
    failure.message = shortened(failure.message);
    failure
}

/// The text with its middle, which is a path that the peer knows, left out.
fn shortened(text: String) -> String {
    const GAP: &str = " ... ";
    if text.len() <= TEXT_MAX {
        return text;
    }
    let half = (TEXT_MAX - GAP.len()) / 2;
    let starts = || text.char_indices().map(|(start, _)| start);
    let head = starts()
        .take_while(|&start| start <= half)
        .last()
        .unwrap_or(0);
    let tail = starts()
        .find(|&start| start >= text.len() - half)
        .unwrap_or(text.len());
    format!("{}{GAP}{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_keep_both_ends() {
        assert_eq!(shortened("short".to_owned()), "short");
        for inner in ["x", "\u{fffd}", "äx"] {
            let text = format!("cannot open \"{}\": no such file", inner.repeat(500));
            let short = shortened(text);
            assert!(short.len() <= TEXT_MAX, "{short}");
            assert!(short.starts_with("cannot open") && short.ends_with("no such file"));
        }
    }
}
