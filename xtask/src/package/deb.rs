//! The Debian package.

use std::env;
use std::path::{Path, PathBuf};

use super::stage::{self, Stage};
use super::{Release, files};
use crate::shell::{Failure, Shell};

/// The package's revision within a version.
const REVISION: &str = "1";

/// Builds `hedgerow_VERSION_ARCHITECTURE.deb` in a folder.
pub(super) fn make(
    shell: &Shell,
    release: &Release,
    stage: &Stage,
    folder: &Path,
) -> Result<PathBuf, Failure> {
    let version = format!("{}-{REVISION}", release.version);
    let architecture = one_line(shell, "dpkg", &["--print-architecture"])?;
    let root = release.work.join("deb");
    super::fresh_folder(&root)?;
    let copied = root.join("hedgerow");
    shell.run_quietly(shell.program("cp").arg("-a").arg(&stage.root).arg(&copied))?;
    put_debian_documents(shell, release, &version, &copied)?;
    put_control(shell, release, stage, &copied, &[("VERSION", &version), ("ARCHITECTURE", &architecture)])?;
    let maintainer_scripts = copied.join("DEBIAN");
    let is_script = |path: &Path| {
        path.parent() == Some(&maintainer_scripts)
            && ["postinst", "prerm", "postrm"].contains(&files::name_of(path))
    };
    let program = copied.join("usr/lib/hedgerow/hedgerow");
    files::set_modes(&copied, &|path| path == program || is_script(path))?;
    let package = folder.join(format!("hedgerow_{version}_{architecture}.deb"));
    let mut build = shell.program("dpkg-deb");
    // One thread, because the bytes depend on their number. dpkg before 1.21.9 ignores the variable.
    build.env("DPKG_DEB_THREADS_MAX", "1").env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(&copied).arg(&package);
    shell.run_quietly(&mut build)?;
    Ok(package)
}

/// Writes Debian's own documents: the package's changelog and the lintian overrides.
fn put_debian_documents(shell: &Shell, release: &Release, version: &str, root: &Path) -> Result<(), Failure> {
    let date = one_line(shell, "date", &["--utc", "--rfc-email", "--date", &format!("@{}", release.epoch)])?;
    let changelog = root.join("usr/share/doc/hedgerow/changelog.Debian");
    let text = format!(
        "hedgerow ({version}) unstable; urgency=medium\n\n  * Version {}: see changelog.gz beside this file.\n\n -- {}  {date}\n",
        release.version,
        maintainer()
    );
    files::write(&changelog, text)?;
    files::gzip(shell, &changelog)?;
    files::copy_ours(
        shell,
        "packaging/debian/lintian-overrides",
        &root.join("usr/share/lintian/overrides/hedgerow"),
    )
}

fn put_control(
    shell: &Shell,
    release: &Release,
    stage: &Stage,
    root: &Path,
    values: &[(&str, &str)],
) -> Result<(), Failure> {
    let folder = root.join("DEBIAN");
    let template = files::read(&shell.root().join("packaging/debian/control"))?;
    let (size, depends) = (stage::installed_kib(root)?.to_string(), dependencies(shell, release, stage)?);
    let (maintainer, mut all) = (maintainer(), values.to_vec());
    all.extend([("MAINTAINER", maintainer.as_str()), ("INSTALLED_SIZE", &size), ("DEPENDS", &depends)]);
    files::write(&folder.join("control"), files::fill(&template, &all))?;
    files::write(&folder.join("conffiles"), "/etc/hedgerow/hedgerow.toml\n")?;
    for script in ["postinst", "prerm", "postrm"] {
        files::copy_ours(shell, &format!("packaging/debian/{script}"), &folder.join(script))?;
    }
    let mut sums = shell.program("md5sum");
    sums.current_dir(root);
    for path in files::below(root)? {
        let relative = path.strip_prefix(root).expect("it is below the root");
        // Settings are not listed, because administrators change them.
        let is_listed = !relative.starts_with("DEBIAN") && !relative.starts_with("etc");
        if is_listed && path.symlink_metadata().is_ok_and(|found| found.is_file()) {
            sums.arg(relative);
        }
    }
    let output = shell.run_quietly(&mut sums)?;
    files::write(&folder.join("md5sums"), output.stdout)
}

/// The packages, with versions, whose libraries the program and its own libraries need.
fn dependencies(shell: &Shell, release: &Release, stage: &Stage) -> Result<String, Failure> {
    // dpkg-shlibdeps reads a source package's control file and expects the package's tree in debian/hedgerow.
    files::write(
        &release.work.join("debian/control"),
        "Source: hedgerow\n\nPackage: hedgerow\nArchitecture: any\n",
    )?;
    let mut command = shell.program("dpkg-shlibdeps");
    command.current_dir(&release.work).args(["-O", "--ignore-missing-info"]);
    command.arg(format!("-l{}", stage.libraries().display()));
    for path in files::entries(&stage.libraries())? {
        command.arg("-e").arg(path);
    }
    let output = shell.run_quietly(&mut command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let depends = text.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    depends.map(str::to_owned).ok_or_else(|| {
        Failure::new(
            "dpkg-shlibdeps names no dependency",
            "read what it prints about the libraries in target/package-work",
        )
    })
}

/// The maintainer, from Debian's usual environment variables.
fn maintainer() -> String {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
    let name = set("DEBFULLNAME").unwrap_or_else(|| "hedgerow contributors".to_owned());
    // The domain `invalid` is reserved and cannot exist.
    let address = set("DEBEMAIL").unwrap_or_else(|| "contributors@hedgerow.invalid".to_owned());
    format!("{name} <{address}>")
}

fn one_line(shell: &Shell, program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = shell.run_quietly(shell.program(program).args(arguments))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
