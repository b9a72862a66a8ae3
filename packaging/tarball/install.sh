#!/bin/sh
# Installs hedgerow from the folder of this script, or removes it.
set -eu

usage() {
    cat << 'END'
usage: install.sh [--prefix DIR] [--service] [--uninstall [--purge]]

  --prefix DIR   install below DIR [default: /usr/local for root, ~/.local for others]
  --service      also install the systemd service hedgerow, its user and /etc/hedgerow (root only; neither enabled
                 nor started)
  --uninstall    remove what was installed below that prefix, and the service; settings and models stay
  --purge        with --uninstall: also remove /etc/hedgerow, /var/lib/hedgerow and /var/cache/hedgerow
END
}

fail() {
    printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2
    exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
is_root=$([ "$(id -u)" = 0 ] && echo yes || echo no)
prefix=
action=install
with_service=no
purge=no
while [ $# -gt 0 ]; do
    case "$1" in
        --prefix)
            [ $# -ge 2 ] || fail '--prefix names no folder' 'write --prefix DIR'
            prefix=$2
            shift
            ;;
        --prefix=*) prefix=${1#--prefix=} ;;
        --service) with_service=yes ;;
        --uninstall) action=uninstall ;;
        --purge) purge=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) fail "there is no option $1" 'see install.sh --help' ;;
    esac
    shift
done
if [ -z "$prefix" ]; then
    if [ "$is_root" = yes ]; then prefix=/usr/local; else prefix=$HOME/.local; fi
fi
case "$prefix" in
    /*) ;;
    *) fail "the prefix $prefix is not an absolute path" 'begin it with /' ;;
esac
list=$prefix/lib/hedgerow/installed-files
unit=/etc/systemd/system/hedgerow.service
systemd_runs=$([ -d /run/systemd/system ] && echo yes || echo no)

# Runs before anything is written.
check_service() {
    [ "$is_root" = yes ] || fail '--service needs root' 'run install.sh as root, or leave --service out'
    [ ! -e /lib/systemd/system/hedgerow.service ] ||
        fail 'the Debian package hedgerow has a service here' 'leave --service out, or remove that package'
}

install_files() {
    (cd "$here" && sha256sum --quiet --check SHA256SUMS) ||
        fail 'a file of this folder is not as it was packed' 'unpack the archive again'
    if [ -e "$prefix/bin/hedgerow" ] && [ ! -e "$list" ]; then
        fail "$prefix/bin/hedgerow is here and was not installed by this script" 'remove it, or choose another --prefix'
    fi
    mkdir -p "$prefix" 2> /dev/null || true
    [ -w "$prefix" ] || fail "$prefix cannot be written to" 'run install.sh as root, or choose another --prefix'
    # Removes files of an older version that this one lacks, because the program loads libraries from its own folder.
    if [ -e "$list" ]; then remove_files; fi
    mkdir -p "$prefix/lib/hedgerow"
    # The list is written first, so that --uninstall can remove an interrupted installation.
    (cd "$here" && find bin lib share ! -type d | LC_ALL=C sort) > "$list"
    while IFS= read -r file; do
        mkdir -p "$prefix/$(dirname "$file")"
        # Renamed into place, so that a running program keeps its old file.
        cp -P "$here/$file" "$prefix/$file.new"
        mv -f "$prefix/$file.new" "$prefix/$file"
    done < "$list"
    "$prefix/bin/hedgerow" --version ||
        fail 'the program does not start here' 'see README.md for the libraries that it needs, then run install.sh --uninstall or install them'
    echo "installed below $prefix"
    case ":$PATH:" in
        *":$prefix/bin:"*) ;;
        *) echo "$prefix/bin is not on PATH" ;;
    esac
}

remove_files() {
    while IFS= read -r file; do
        rm -f "$prefix/$file" "$prefix/$file.new"
    done < "$list"
    # Removes the folders of these files, deepest first, unless they contain other files.
    sed 's,/[^/]*$,,' "$list" | LC_ALL=C sort -ru | while IFS= read -r folder; do
        [ "$folder" = lib/hedgerow ] || rmdir -p --ignore-fail-on-non-empty "$prefix/$folder" 2> /dev/null || true
    done
    rm -f "$list"
    rmdir -p --ignore-fail-on-non-empty "$prefix/lib/hedgerow" 2> /dev/null || true
}

install_service() {
    if ! id hedgerow > /dev/null 2>&1; then
        useradd --system --user-group --home-dir /var/lib/hedgerow --no-create-home --shell /usr/sbin/nologin hedgerow
    fi
    install -d -m 0755 /etc/hedgerow
    install -d -o hedgerow -g hedgerow -m 0750 /var/lib/hedgerow /var/cache/hedgerow
    [ -e /etc/hedgerow/hedgerow.toml ] || install -m 0644 "$here/service/hedgerow.toml" /etc/hedgerow/hedgerow.toml
    sed "s,^ExecStart=/usr/bin/hedgerow,ExecStart=$prefix/bin/hedgerow,; s,/usr/share/doc/hedgerow,$prefix/share/doc/hedgerow,g" \
        "$here/service/hedgerow.service" > "$unit.new"
    chmod 0644 "$unit.new"
    mv -f "$unit.new" "$unit"
    if [ "$systemd_runs" = yes ]; then
        systemctl daemon-reload
        systemctl try-restart hedgerow
    fi
    cat << END
the service hedgerow is neither enabled nor started. What to do next:
  1. name a model in /etc/hedgerow/hedgerow.toml ([model] name), or keep the small built-in one;
  2. fetch it, unless it is a file:
       sudo -u hedgerow $prefix/bin/hedgerow pull --cache-dir /var/cache/hedgerow MODEL
  3. systemctl enable --now hedgerow
END
}

remove_service() {
    if [ "$is_root" = no ] || ! grep -qs "^ExecStart=$prefix/bin/hedgerow " "$unit"; then return; fi
    if [ "$systemd_runs" = yes ]; then systemctl disable --now hedgerow; fi
    rm -f "$unit"
    if [ "$systemd_runs" = yes ]; then systemctl daemon-reload; fi
}

case "$action" in
    install)
        if [ "$with_service" = yes ]; then check_service; fi
        install_files
        if [ "$with_service" = yes ]; then install_service; fi
        ;;
    uninstall)
        [ -e "$list" ] || fail "nothing is installed below $prefix" 'name the --prefix of the installation'
        remove_service
        remove_files
        if [ "$purge" = yes ] && [ "$is_root" = yes ]; then
            rm -rf /etc/hedgerow /var/lib/hedgerow /var/cache/hedgerow
            echo "the user hedgerow stays; userdel hedgerow removes it"
        fi
        echo "removed from $prefix"
        ;;
esac
