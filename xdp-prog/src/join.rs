//! Joining the program that another process has on the interface.
//!
//! ```text
//!  netlink: program id on the interface ──► name and tag ──► its link and maps, by their ids ──► is it still there?
//!       none: it is going                     another: no        gone: try again from the start
//! ```
//!
//! The link is the right to the program: as long as one process has it, program and maps stay, and all of them go with the last.

use std::collections::HashMap;
use std::error::Error;
use std::os::fd::OwnedFd;

use aya::maps::{Map, MapData, MapError, MapInfo};
use aya::programs::links::LinkType;
use aya::programs::{ProgramInfo, loaded_links, loaded_programs};

use crate::abi::PROGRAM;
use crate::error::{AttachError, WhyUnshared, os_error};
use crate::link::{Attachment, InterfaceId, LinkState, link_state};
use crate::maps::Maps;
use crate::program::AttachMode;
use crate::running::RunningProgram;
use crate::sys;

/// What came of it.
pub(crate) enum Joined {
    /// References to the link, and so to the program, and to its maps.
    Yes {
        link: OwnedFd,
        id: u32,
        maps: Box<Maps>,
    },
    /// It is not there any more, about to go, or about to come: to be tried again.
    Gone,
    /// It cannot be joined; `None`: it is somebody else's, or this process may not see whose.
    No(Option<AttachError>),
}

/// Whose a program is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Identity {
    /// The very program that this process would attach.
    Same,
    /// One of ours, of another version.
    OtherVersion,
    /// Another one.
    Foreign,
}

impl Identity {
    /// By its name and tag: the tag is a hash of the instructions, with nothing in it of this load or that. A process without
    /// CAP_PERFMON, such as one that has just the capabilities that it needs, loads it without a name.
    fn of(name: &[u8], tag: u64, own_tag: u64) -> Self {
        if name == PROGRAM.as_bytes() && tag != own_tag {
            Self::OtherVersion
        } else if tag == own_tag && (name.is_empty() || name == PROGRAM.as_bytes()) {
            Self::Same
        } else {
            Self::Foreign
        }
    }
}

/// Joins the program on the interface, if it is the same as `own`, which is loaded and not attached.
pub(crate) fn join(interface: &LinkState, mode: AttachMode, own: &ProgramInfo) -> Joined {
    let Some((attachment, id)) = attached(interface) else {
        return Joined::Gone;
    };
    let program = match find(id) {
        Ok(Some(program)) => program,
        Ok(None) => return Joined::Gone,
        // Not allowed to look: whose it is stays unknown.
        Err(_) => return Joined::No(None),
    };
    let unshared = |why| {
        Joined::No(RunningProgram::on(interface.index).map(|program| {
            let interface = interface.name.clone();
            AttachError::Unshared {
                interface,
                program,
                why,
            }
        }))
    };
    match Identity::of(program.name(), program.tag(), own.tag()) {
        Identity::Foreign => return Joined::No(None),
        Identity::OtherVersion => return unshared(WhyUnshared::Version),
        Identity::Same if attachment != mode.attachment() => return unshared(WhyUnshared::Mode),
        Identity::Same => {}
    }
    let link = match link_of(id) {
        Ok(Some(link)) => link,
        // A link can be found only some time after its program is on the interface (`bpf_link_settle` in kernel/bpf/syscall.c), and
        // no more some time before that goes (`bpf_link_free`). One that was attached without a link, as by `ip link set .. xdp`,
        // looks the same, and nobody shares that: it is there again when the caller's patience is at its end.
        Ok(None) => return Joined::Gone,
        Err(_) => return Joined::No(None),
    };
    // Somebody may have taken it off by force.
    if attached(interface) != Some((attachment, id)) {
        return Joined::Gone;
    }
    match maps_of(&program) {
        Ok(maps) => Joined::Yes {
            link,
            id,
            maps: Box::new(maps),
        },
        Err(error) => {
            tracing::debug!(%error, "the maps are not as expected");
            unshared(WhyUnshared::Version)
        }
    }
}

fn attached(interface: &LinkState) -> Option<(Attachment, u32)> {
    link_state(&InterfaceId::Index(interface.index)).ok()?.xdp
}

/// The loaded program with this id, if it is still there.
fn find(id: u32) -> Result<Option<ProgramInfo>, i32> {
    for program in loaded_programs() {
        match program {
            Ok(program) if program.id() == id => return Ok(Some(program)),
            Ok(_) => {}
            Err(error) => forbidden(&error)?,
        }
    }
    Ok(None)
}

/// The link that holds the program with this id, if it is still there.
fn link_of(program: u32) -> Result<Option<OwnedFd>, i32> {
    for link in loaded_links() {
        match link {
            Ok(link)
                if link.program_id() == program
                    && link.link_type().is_ok_and(|kind| kind == LinkType::Xdp) =>
            {
                return match sys::link_by_id(link.id()) {
                    Ok(link) => Ok(Some(link)),
                    Err(error) => forbidden(&error).map(|()| None),
                };
            }
            Ok(_) => {}
            Err(error) => forbidden(&error)?,
        }
    }
    Ok(None)
}

/// Passes over errors about objects that went away while they were looked at.
fn forbidden(error: &(dyn Error + 'static)) -> Result<(), i32> {
    match os_error(error) {
        Some(code @ (libc::EPERM | libc::EACCES)) => Err(code),
        _ => Ok(()),
    }
}

/// The maps of a program. Each has to have the type, and keys and values of the size, that this version expects.
fn maps_of(program: &ProgramInfo) -> Result<Maps, Box<dyn Error>> {
    let mut maps = HashMap::new();
    for id in program.map_ids()?.unwrap_or_default() {
        let name = MapInfo::from_id(id)?;
        let name = name.name_as_str().unwrap_or_default().to_owned();
        let map = Map::from_map_data(MapData::from_id(id)?)?;
        maps.insert(name, map);
    }
    Ok(Maps::new(|name| maps.remove(name)).map_err(|error: MapError| error)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_program_is_joined() {
        let cases = [
            (&b"blk_xdp"[..], 7, Identity::Same),
            (b"blk_xdp", 8, Identity::OtherVersion),
            (b"xdp_dispatcher", 7, Identity::Foreign),
            (b"blk_xdp2", 7, Identity::Foreign),
            (b"", 7, Identity::Same),
            (b"", 8, Identity::Foreign),
        ];
        for (name, tag, identity) in cases {
            assert_eq!(Identity::of(name, tag, 7), identity, "{name:?} {tag}");
        }
    }
}
