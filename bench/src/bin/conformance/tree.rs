//! A generated tree: directories, files of all sizes, holes, links, odd modes and times.

use std::fs::{File, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use blk_bench::wire::random::Random;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::names::name;

/// Lengths at which something begins or ends: sectors, pages, inline data, messages of small files, and what can be resumed.
const LENGTHS: [u64; 14] = [
    0, 1, 59, 60, 511, 512, 513, 4095, 4096, 4097, 65_536, 131_073, 1_048_576, 4_194_304,
];

/// Permission bits, with those that few people set. The others (set-user-ID and the like) are not copied, as owners are not
/// (docs/operations.md).
const FILE_MODES: [u32; 8] = [0o644, 0o600, 0o755, 0o444, 0o000, 0o111, 0o666, 0o007];
const DIRECTORY_MODES: [u32; 6] = [0o755, 0o700, 0o555, 0o777, 0o000, 0o500];

/// A tree that is made, and can be changed.
pub struct Tree {
    root: PathBuf,
    random: Random,
    /// Names that were given out.
    named: u64,
    /// Directories, the root among them.
    pub directories: Vec<PathBuf>,
    /// Regular files; hard links are in it with each of their names.
    pub files: Vec<PathBuf>,
    /// Symbolic links.
    pub links: Vec<PathBuf>,
}

impl Tree {
    /// Makes the tree of a seed below `root`, which is there and empty; one of its files has so many GiB, nearly all of
    /// them holes, if it is not 0.
    pub fn make(root: &Path, seed: u64, sparse: u64) -> Self {
        let mut tree = Self {
            root: root.to_owned(),
            random: Random::new(seed),
            named: 0,
            directories: vec![root.to_owned()],
            files: Vec::new(),
            links: Vec::new(),
        };
        for _ in 0..tree.random.below(12) {
            tree.add_directory();
        }
        if tree.random.chance(0.1) {
            tree.add_depth();
        }
        for _ in 0..tree.random.below(40) {
            tree.add_file();
        }
        for _ in 0..tree.random.below(8) {
            tree.add_link();
        }
        if sparse > 0 {
            tree.add_sparse(sparse << 30);
        }
        tree.set_attributes();
        tree
    }

    /// Everything in it.
    pub fn items(&self) -> u64 {
        (self.directories.len() + self.files.len() + self.links.len()) as u64
    }

    /// A number below a bound, of the tree's own sequence.
    pub fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn place(&mut self) -> PathBuf {
        let parent = self.below(self.directories.len());
        self.named += 1;
        self.directories[parent].join(name(&mut self.random, self.named))
    }

    /// One more directory, anywhere.
    pub fn add_directory(&mut self) {
        let path = self.place();
        std::fs::create_dir(&path).expect("cannot make a directory");
        self.directories.push(path);
    }

    /// Directories within directories.
    fn add_depth(&mut self) {
        let mut path = self.root.join("deep");
        for level in 0..40 {
            std::fs::create_dir(&path).expect("cannot make a directory");
            self.directories.push(path.clone());
            path.push(format!("{level}"));
        }
    }

    /// One more file, anywhere; of some there is a second name.
    pub fn add_file(&mut self) {
        let path = self.place();
        self.write(&path);
        if self.random.chance(0.08) {
            let other = self.place();
            std::fs::hard_link(&path, &other).expect("cannot make a hard link");
            self.files.push(other);
        }
        self.files.push(path);
    }

    /// Gives a file some content, in place.
    pub fn write(&mut self, path: &Path) {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path);
        let file = file.expect("cannot make a file");
        let length = match self.random.below(10) {
            0..4 => LENGTHS[self.below(LENGTHS.len())],
            4..9 => self.random.below(20_000),
            _ => self.random.below(6 << 20),
        };
        if length > 65_536 && self.random.chance(0.5) {
            return self.scatter(&file, length);
        }
        let bytes: Vec<u8> = (0..length.div_ceil(8))
            .flat_map(|_| self.random.bits().to_le_bytes())
            .take(length as usize)
            .collect();
        file.write_all_at(&bytes, 0).expect("cannot write a file");
    }

    /// Data here and there, holes between.
    fn scatter(&mut self, file: &File, length: u64) {
        file.set_len(length).expect("cannot set a file's size");
        for _ in 0..4 {
            let offset = self.random.below(length);
            let bytes = [self.random.bits() as u8 | 1; 5_000];
            let within = (length - offset).min(bytes.len() as u64) as usize;
            file.write_all_at(&bytes[..within], offset)
                .expect("cannot write a file");
        }
    }

    fn add_sparse(&mut self, length: u64) {
        let path = self.root.join("sparse");
        let file = File::create(&path).expect("cannot make a file");
        self.scatter(&file, length);
        self.files.push(path);
    }

    /// One more symbolic link: to something there, to nothing, or somewhere else.
    pub fn add_link(&mut self) {
        let path = self.place();
        let target = match self.random.below(5) {
            0 => PathBuf::from("nothing there"),
            1 => PathBuf::from("/etc/hostname"),
            2 => PathBuf::from(std::ffi::OsString::from_vec(b"../\xff\n x".to_vec())),
            3 => PathBuf::from("y/".repeat(1 + self.below(400))),
            _ => {
                let chosen = self.below(self.directories.len());
                self.directories[chosen].clone()
            }
        };
        symlink(target, &path).expect("cannot make a link");
        self.links.push(path);
    }

    /// Modes and times of everything; directories last, as what happens in them changes theirs.
    pub fn set_attributes(&mut self) {
        for file in self.files.clone() {
            self.set(&file, &FILE_MODES);
        }
        for link in self.links.clone() {
            self.set_time(&link);
        }
        for directory in self.directories.clone().iter().rev() {
            self.set(directory, &DIRECTORY_MODES);
        }
    }

    fn set(&mut self, path: &Path, modes: &[u32]) {
        // Mostly what is usual.
        let index = match self.random.chance(0.6) {
            true => 0,
            false => self.below(modes.len()),
        };
        let mode = Permissions::from_mode(modes[index]);
        std::fs::set_permissions(path, mode).expect("cannot set a mode");
        self.set_time(path);
    }

    fn set_time(&mut self, path: &Path) {
        let seconds = match self.random.below(20) {
            0 => 0,
            1 => -1_000_000,
            2 => 4_000_000_000,
            _ => 1_000_000_000 + self.random.below(800_000_000) as i64,
        };
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: self.random.below(1_000_000_000) as i64,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("cannot set a time");
    }
}
