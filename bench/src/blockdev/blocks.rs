//! The bytes of a disk: sparse, in memory, with an unchanged lower layer that many images share.

use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of one stored block.
pub const BLOCK: usize = 4096;

type Block = Arc<[u8; BLOCK]>;

/// Blocks that have been written. What is not here reads as zeros.
#[derive(Clone, Debug, Default)]
pub struct Blocks(HashMap<u64, Block>);

impl Blocks {
    fn get(&self, index: u64) -> Option<&Block> {
        self.0.get(&index)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.0.len() * BLOCK
    }

    /// Every block with its index, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8; BLOCK])> {
        self.0.iter().map(|(index, block)| (*index, &**block))
    }
}

/// What a disk holds: the blocks of `base`, which never change, below those written since.
#[derive(Clone, Debug, Default)]
pub struct Image {
    base: Arc<Blocks>,
    top: Blocks,
}

impl Image {
    /// An image that shows `base` until something is written.
    pub fn over(base: Arc<Blocks>) -> Self {
        Self {
            base,
            top: Blocks::default(),
        }
    }

    fn block(&self, index: u64) -> Option<&Block> {
        self.top.get(index).or_else(|| self.base.get(index))
    }

    /// Fills `to` with the bytes from `offset` on.
    pub fn read(&self, offset: u64, to: &mut [u8]) {
        for (index, within, part) in pieces(offset, to.len()) {
            let to = &mut to[part];
            match self.block(index) {
                Some(block) => to.copy_from_slice(&block[within..within + to.len()]),
                None => to.fill(0),
            }
        }
    }

    /// Writes bytes at `offset`.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (index, within, part) in pieces(offset, bytes.len()) {
            let bytes = &bytes[part];
            if let Ok(whole) = <&[u8; BLOCK]>::try_from(bytes) {
                self.top.0.insert(index, Arc::new(*whole));
                continue;
            }
            let below = &self.base;
            let block = self.top.0.entry(index).or_insert_with(|| {
                below
                    .get(index)
                    .cloned()
                    .unwrap_or_else(|| Arc::new([0; BLOCK]))
            });
            Arc::make_mut(block)[within..within + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Makes `length` bytes from `offset` on zeros.
    pub fn zero(&mut self, offset: u64, length: u64) {
        let zeros: Block = Arc::new([0; BLOCK]);
        let mut at = offset;
        let end = offset.saturating_add(length);
        while at < end {
            let index = at / BLOCK as u64;
            let next = ((index + 1) * BLOCK as u64).min(end);
            if next - at < BLOCK as u64 {
                self.write(at, &zeros[..(next - at) as usize]);
            } else if self.block(index).is_some() {
                self.top.0.insert(index, Arc::clone(&zeros));
            }
            at = next;
        }
    }

    /// All of it as one layer. Copies no bytes.
    pub fn flattened(&self) -> Blocks {
        let mut blocks = (*self.base).clone();
        blocks
            .0
            .extend(self.top.0.iter().map(|(i, b)| (*i, Arc::clone(b))));
        blocks
    }

    /// Makes what was written part of the lower layer. Copies the table of blocks when another image shares it.
    pub fn settle(&mut self) -> Arc<Blocks> {
        let base = Arc::make_mut(&mut self.base);
        base.0.extend(self.top.0.drain());
        Arc::clone(&self.base)
    }
}

/// The blocks that `length` bytes at `offset` touch: index, first byte within the block, and which part of the bytes.
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < length).then(|| {
            let at = offset + done as u64;
            let within = (at % BLOCK as u64) as usize;
            let part = done..length.min(done + BLOCK - within);
            done = part.end;
            (at / BLOCK as u64, within, part)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::random::Random;

    #[test]
    fn any_mix_of_writes_and_zeros_reads_back_as_from_an_array() {
        const SIZE: u64 = 6 * BLOCK as u64;
        let mut random = Random::new(1);
        let mut plain = vec![0u8; SIZE as usize];
        let mut image = Image::default();
        for round in 0..2_000 {
            let offset = random.below(SIZE);
            let length = random.below(SIZE - offset + 1) as usize;
            let at = offset as usize..offset as usize + length;
            match random.below(4) {
                0 => {
                    plain[at].fill(0);
                    image.zero(offset, length as u64);
                }
                1 => {
                    image.settle();
                }
                _ => {
                    let bytes: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
                    plain[at].copy_from_slice(&bytes);
                    image.write(offset, &bytes);
                }
            }
            let mut found = vec![1; SIZE as usize];
            image.read(0, &mut found);
            assert_eq!(found, plain, "round {round}");
        }
    }

    #[test]
    fn images_over_one_base_do_not_see_each_other() {
        let mut first = Image::default();
        first.write(0, &[1; 100]);
        let base = first.settle();
        let (mut left, right) = (Image::over(Arc::clone(&base)), Image::over(base));
        left.write(50, &[2; 100]);
        let mut bytes = [0; 150];
        right.read(0, &mut bytes);
        assert_eq!(bytes[..100], [1; 100]);
        assert_eq!(bytes[100..], [0; 50]);
        Image::over(Arc::new(left.flattened())).read(0, &mut bytes);
        assert_eq!(bytes[..50], [1; 50]);
        assert_eq!(bytes[50..], [2; 100]);
    }
}
