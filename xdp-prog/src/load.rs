//! The object in the kernel: program and maps, not attached to anything yet.

use aya::maps::MapError;
use aya::programs::Xdp;
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::abi::{self, SLOTS_PER_QUEUE};
use crate::error::AttachError;
use crate::maps::Maps;

/// The program's object as `scripts/build-ebpf` makes it.
pub(crate) static OBJECT: &[u8] = include_bytes_aligned!("../blk_xdp.o");

/// The loaded object.
pub(crate) struct Loaded {
    ebpf: Ebpf,
    pub(crate) maps: Maps,
}

impl Loaded {
    /// Loads the object with room for `queues` RX queues, at least one.
    pub(crate) fn new(queues: u32) -> Result<Self, AttachError> {
        let slots = queues.max(1).saturating_mul(SLOTS_PER_QUEUE);
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(abi::SOCKETS, slots)
            .map_max_entries(abi::SLOTS, slots)
            .map_max_entries(abi::CPUS, possible_cpus()?)
            .load(OBJECT)?;
        let maps = Maps::new(|name| ebpf.take_map(name))?;
        let mut loaded = Self { ebpf, maps };
        loaded.program_mut()?.load()?;
        Ok(loaded)
    }

    /// The program.
    pub(crate) fn program(&self) -> Result<&Xdp, AttachError> {
        let program = self.ebpf.program(abi::PROGRAM);
        Ok(program.ok_or_else(missing)?.try_into()?)
    }

    fn program_mut(&mut self) -> Result<&mut Xdp, AttachError> {
        let program = self.ebpf.program_mut(abi::PROGRAM);
        Ok(program.ok_or_else(missing)?.try_into()?)
    }
}

/// How many CPUs the CPUMAP has room for: the kernel wants no more than there could be.
fn possible_cpus() -> Result<u32, AttachError> {
    let cpus = nr_cpus().map_err(|(_, error)| AttachError::load(error))?;
    Ok(u32::try_from(cpus).unwrap_or(u32::MAX))
}

/// The error for an object without the program; only a wrong object is like that.
fn missing() -> AttachError {
    AttachError::load(MapError::InvalidName {
        name: abi::PROGRAM.to_owned(),
    })
}
