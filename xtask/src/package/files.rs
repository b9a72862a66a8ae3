//! File operations with errors that name the file.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::shell::{Failure, Shell};

/// Converts an I/O error to a failure that names the operation and the file.
pub(crate) fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Failure {
    let path = path.to_owned();
    move |error| {
        Failure::new(
            format!("{doing} {}: {error}", path.display()),
            "check that the folder exists, has room and is yours",
        )
    }
}

/// Creates a folder and its parents.
pub(crate) fn create_folder(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(failed("making the folder", folder))
}

/// Writes a text file and creates its parent folders.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), Failure> {
    create_folder(path.parent().unwrap_or(Path::new("/")))?;
    fs::write(path, text).map_err(failed("writing", path))
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(failed("reading", path))
}

/// Copies a file and creates the parent folders of the copy.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    create_folder(to.parent().unwrap_or(Path::new("/")))?;
    fs::copy(from, to).map(drop).map_err(failed("copying", from))
}

/// Copies a file of the repository.
pub(crate) fn copy_ours(shell: &Shell, from: &str, to: &Path) -> Result<(), Failure> {
    copy(&shell.root().join(from), to)
}

/// All files and links below a folder, sorted by path, without folders.
pub(crate) fn below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder)? {
            let is_folder = fs::symlink_metadata(&path).map_err(failed("reading", &path))?.is_dir();
            if is_folder { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// The entries of a folder, sorted by name.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut found = read().map_err(failed("reading the folder", folder))?;
    found.sort();
    Ok(found)
}

/// Sets the mode of folders to 0755 and of files to 0644, or 0755 if `is_program`, independent of the umask.
pub(crate) fn set_modes(folder: &Path, is_program: &dyn Fn(&Path) -> bool) -> Result<(), Failure> {
    set_mode(folder, 0o755)?;
    for path in entries(folder)? {
        let kind = fs::symlink_metadata(&path).map_err(failed("reading", &path))?;
        if kind.is_dir() {
            set_modes(&path, is_program)?;
        } else if kind.is_file() {
            set_mode(&path, if is_program(&path) { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("setting the mode of", path))
}

/// Compresses a file to `FILE.gz` reproducibly.
pub(crate) fn gzip(shell: &Shell, path: &Path) -> Result<(), Failure> {
    shell.run_quietly(shell.program("gzip").args(["-9nf"]).arg(path)).map(drop)
}

/// Replaces each `@NAME@` of a template; panics if a name has no value.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    let left = text.split('@').skip(1).step_by(2).find(|word| {
        !word.is_empty() && word.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
    });
    assert!(left.is_none(), "the template has @{}@, which has no value", left.unwrap_or_default());
    text
}

/// The file name of a path as text.
pub(crate) fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled() {
        assert_eq!(fill("@A@ and @B_C@, a@b", &[("A", "1"), ("B_C", "2")]), "1 and 2, a@b");
    }

    #[test]
    #[should_panic(expected = "the template has @B@, which has no value")]
    fn a_name_without_a_value_is_found() {
        fill("@A@ @B@", &[("A", "1")]);
    }

    #[test]
    fn modes_and_order_do_not_depend_on_the_machine() {
        let folder = std::env::temp_dir().join(format!("xtask-files-{}", std::process::id()));
        write(&folder.join("b/run"), "").unwrap();
        write(&folder.join("a"), "").unwrap();
        set_mode(&folder.join("a"), 0o600).unwrap();
        set_modes(&folder, &|path| name_of(path) == "run").unwrap();
        let found = below(&folder).unwrap();
        assert_eq!(found, [folder.join("a"), folder.join("b/run")]);
        let modes: Vec<u32> =
            found.iter().map(|path| fs::metadata(path).unwrap().permissions().mode() & 0o777).collect();
        assert_eq!(modes, [0o644, 0o755]);
        fs::remove_dir_all(folder).unwrap();
    }
}
