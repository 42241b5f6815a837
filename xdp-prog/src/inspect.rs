//! Whose program it is: name and tag of a loaded program.

use aya::programs::loaded_programs;

use crate::abi::PROGRAM;
use crate::error::os_error;

/// What can be told of a loaded BPF program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramInfo {
    /// Its name, at most 15 bytes; empty where it has none.
    pub name: String,
    /// Hash of its instructions (`bpftool prog` shows it in hexadecimal): the same for every load of the same program.
    pub tag: u64,
}

impl ProgramInfo {
    /// Whether it has the name of the program that this crate loads.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.name == PROGRAM
    }
}

/// Why nothing can be told of a program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramInfoError {
    /// The kernel shows programs only to the privileged.
    #[error("only CAP_SYS_ADMIN may ask whose it is")]
    NoPrivileges,
    /// It is gone.
    #[error("it is gone")]
    Gone,
    /// The kernel could not be asked.
    #[error("the kernel does not tell whose it is: {0}")]
    Kernel(String),
}

/// Name and tag of the loaded program with this id.
///
/// # Errors
/// [`ProgramInfoError`].
pub fn program_info(id: u32) -> Result<ProgramInfo, ProgramInfoError> {
    for program in loaded_programs() {
        match program {
            Ok(program) if program.id() == id => {
                return Ok(ProgramInfo {
                    name: String::from_utf8_lossy(program.name()).into_owned(),
                    tag: program.tag(),
                });
            }
            Ok(_) => {}
            Err(error) => match os_error(&error) {
                Some(libc::EPERM | libc::EACCES) => return Err(ProgramInfoError::NoPrivileges),
                // Another one went away in between.
                Some(libc::ENOENT) => {}
                _ => return Err(ProgramInfoError::Kernel(error.to_string())),
            },
        }
    }
    Err(ProgramInfoError::Gone)
}
