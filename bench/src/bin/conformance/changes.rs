//! What happens to a tree between two copies.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::tree::Tree;

impl Tree {
    /// Some items go, some come, some get another content, some another kind.
    pub fn change(&mut self) {
        for _ in 0..self.below(6) {
            self.remove_file();
        }
        if self.below(3) == 0 {
            self.remove_directory();
        }
        for _ in 0..self.below(6) {
            self.rewrite();
        }
        for _ in 0..self.below(4) {
            self.swap();
        }
        for _ in 0..self.below(3) {
            self.add_directory();
        }
        for _ in 0..self.below(8) {
            self.add_file();
        }
        for _ in 0..self.below(3) {
            self.add_link();
        }
        self.set_attributes();
    }

    fn remove_file(&mut self) {
        if self.files.is_empty() {
            return;
        }
        let chosen = self.below(self.files.len());
        let path = self.files.swap_remove(chosen);
        std::fs::remove_file(path).expect("cannot remove a file");
    }

    /// With everything in it; which one it was.
    fn remove_directory(&mut self) -> Option<PathBuf> {
        if self.directories.len() == 1 {
            return None;
        }
        let chosen = 1 + self.below(self.directories.len() - 1);
        let path = self.directories[chosen].clone();
        std::fs::remove_dir_all(&path).expect("cannot remove a directory");
        let outside = |other: &PathBuf| !other.starts_with(&path);
        self.directories.retain(outside);
        self.files.retain(outside);
        self.links.retain(outside);
        Some(path)
    }

    fn rewrite(&mut self) {
        if self.files.is_empty() {
            return;
        }
        let chosen = self.below(self.files.len());
        let path = self.files[chosen].clone();
        self.write(&path);
    }

    /// An item becomes one of another kind, of the same name.
    fn swap(&mut self) {
        let Some(path) = self.take_any() else {
            return;
        };
        match self.below(3) {
            0 => {
                std::fs::create_dir(&path).expect("cannot make a directory");
                self.directories.push(path.clone());
                // Something in it, which must not go where a link of this name led.
                let inner = path.join("inner");
                self.write(&inner);
                self.files.push(inner);
            }
            1 => {
                self.write(&path);
                self.files.push(path);
            }
            _ => {
                // To a directory, if there is one: what is below must not be followed.
                let chosen = self.below(self.directories.len());
                let target = self.directories[chosen].clone();
                symlink(target, &path).expect("cannot make a link");
                self.links.push(path);
            }
        }
    }

    /// Takes an item away, and everything below it; its name.
    fn take_any(&mut self) -> Option<PathBuf> {
        match self.below(3) {
            0 if !self.files.is_empty() => {
                let path = self.files.swap_remove(0);
                std::fs::remove_file(&path).expect("cannot remove a file");
                Some(path)
            }
            1 if !self.links.is_empty() => {
                let path = self.links.swap_remove(0);
                std::fs::remove_file(&path).expect("cannot remove a link");
                Some(path)
            }
            _ => self.remove_directory(),
        }
    }
}
