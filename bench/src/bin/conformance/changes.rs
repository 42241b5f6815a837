//! What happens to a tree between two copies.

use std::path::{Path, PathBuf};

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
        self.swap();
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

    /// With everything in it.
    fn remove_directory(&mut self) {
        if self.directories.len() == 1 {
            return;
        }
        let chosen = 1 + self.below(self.directories.len() - 1);
        let path = self.directories[chosen].clone();
        std::fs::remove_dir_all(&path).expect("cannot remove a directory");
        let outside = |other: &PathBuf| !other.starts_with(&path);
        self.directories.retain(outside);
        self.files.retain(outside);
        self.links.retain(outside);
    }

    fn rewrite(&mut self) {
        if self.files.is_empty() {
            return;
        }
        let chosen = self.below(self.files.len());
        let path = self.files[chosen].clone();
        self.write(&path);
    }

    /// A file becomes a directory, or a link a file.
    fn swap(&mut self) {
        let go = |path: &Path| std::fs::remove_file(path).expect("cannot remove a file");
        match self.below(6) {
            0 if !self.files.is_empty() => {
                let path = self.files.swap_remove(0);
                go(&path);
                std::fs::create_dir(&path).expect("cannot make a directory");
                self.directories.push(path);
            }
            1 if !self.links.is_empty() => {
                let path = self.links.swap_remove(0);
                go(&path);
                self.write(&path);
                self.files.push(path);
            }
            _ => {}
        }
    }
}
