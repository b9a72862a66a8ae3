#!/bin/sh
# Runs as root in a Debian system created for it (xtask/src/package/rootfs.rs), with the packages in /check.
#
#   run.sh by-hand        without a service manager: install, serve like a container, remove, test the archive
#   run.sh with-systemd   with systemd: install, configure, start, use, upgrade, get stuck, stop, remove, purge
set -eu

step() { printf '\n-- %s\n' "$*"; }

fail() {
    printf 'FAILED: %s\n' "$*"
    exit 1
}

# Repeats a command until it succeeds, for at most $1 seconds.
wait_for() {
    seconds=$1
    shift
    while ! "$@" > /dev/null 2>&1; do
        seconds=$((seconds - 1))
        [ "$seconds" -gt 0 ] || fail "it never happened: $*"
        sleep 1
    done
}

ask() {
    curl -sS --fail-with-body --max-time 120 http://127.0.0.1:8473/v1/chat/completions -d '{
        "messages": [{"role": "user", "content": "Name three birds."}], "max_tokens": 8 }' > /check/answer.json ||
        fail "no answer: $(cat /check/answer.json)"
    grep -q '"role":"assistant"' /check/answer.json || fail "not a chat completion: $(cat /check/answer.json)"
    grep -q '"completion_tokens":[1-8]' /check/answer.json || fail "no tokens: $(cat /check/answer.json)"
    echo "answered: $(cat /check/answer.json)"
}

install_package() {
    DEBIAN_FRONTEND=noninteractive dpkg --install /check/hedgerow.deb
    dpkg --status hedgerow | grep -q '^Status: install ok installed' || fail 'it is not installed'
}

# Checks the installed files, for both ways of starting.
look_at_what_is_installed() {
    step "what is installed works"
    [ "$(readlink /usr/bin/hedgerow)" = ../lib/hedgerow/hedgerow ] || fail 'no link to the program'
    hedgerow --version
    # The program finds its libraries in its own folder; the variants use the libraries that it has loaded.
    ! ldd /usr/lib/hedgerow/hedgerow | grep 'not found' || fail 'the program lacks a library'
    for library in /usr/lib/hedgerow/*.so*; do
        ! LD_LIBRARY_PATH=/usr/lib/hedgerow ldd "$library" | grep 'not found' || fail "$library lacks a library"
    done
    [ "$(find /usr/lib/hedgerow -name 'libggml-cpu-*.so' | wc -l)" -gt 1 ] || fail 'there is one variant at most'
    [ -z "$(dpkg --verify hedgerow)" ] || fail "changed files: $(dpkg --verify hedgerow)"
    id hedgerow
    [ "$(stat -c '%U %a' /var/lib/hedgerow)" = 'hedgerow 750' ] || fail 'wrong owner or mode of /var/lib/hedgerow'
    # Sourcing a completion reveals its syntax errors.
    bash -n /usr/share/bash-completion/completions/hedgerow
    bash -c 'source /usr/share/bash-completion/completions/hedgerow && complete -p hedgerow'
    # The program must accept the shipped configuration.
    hedgerow config --config /etc/hedgerow/hedgerow.toml > /dev/null
}

by_hand() {
    ip link set lo up
    step "install"
    install_package
    look_at_what_is_installed

    step "serve as a container does: its user, its variables, no service manager"
    install -d -o hedgerow -g hedgerow /models
    # Reads the variables from the Containerfile.
    sed -n '/^ENV /,/[^\\]$/p' /check/Containerfile | sed 's/^ENV //; s/\\$//' | xargs -n 1 > /check/variables
    grep -q '^HEDGEROW_HOST=0.0.0.0$' /check/variables || fail "the Containerfile's variables are not read"
    # shellcheck disable=SC2046
    (cd /models && exec setpriv --reuid hedgerow --regid hedgerow --clear-groups --no-new-privs env \
        $(cat /check/variables) HEDGEROW_MODEL=/srv/model.gguf hedgerow serve 2> /check/served.log) &
    server=$!
    trap 'cat /check/served.log' EXIT
    wait_for 600 hedgerow health
    ask
    grep -q "Name three birds" /check/served.log && fail 'the log has the text of a request'
    kill -TERM "$server"
    wait "$server" || fail "it ended with $?"
    trap - EXIT
    [ -n "$(find /models/profiles -name '*.json')" ] || fail 'the profile is not kept in /models'

    step "remove, and purge"
    dpkg --purge hedgerow
    [ ! -e /usr/lib/hedgerow ] || fail '/usr/lib/hedgerow is left'
    for folder in /etc/hedgerow /var/lib/hedgerow /var/cache/hedgerow; do
        [ ! -e "$folder" ] || fail "$folder is left"
    done

    step "the archive: install, run, refuse what was changed, uninstall"
    mkdir /check/unpacked
    tar -xzf /check/hedgerow.tar.gz -C /check/unpacked
    folder=$(echo /check/unpacked/hedgerow-*)
    "$folder/bin/hedgerow" --version
    find /opt /usr/local /etc/systemd /etc/hedgerow ! -type d 2> /dev/null | sort > /check/before
    "$folder/install.sh" --prefix /opt/hedgerow --service
    /opt/hedgerow/bin/hedgerow --version
    grep -q '^ExecStart=/opt/hedgerow/bin/hedgerow serve$' /etc/systemd/system/hedgerow.service || fail 'wrong unit'
    systemd-analyze verify --man=no /etc/systemd/system/hedgerow.service
    "$folder/install.sh" --prefix /opt/hedgerow
    "$folder/install.sh" --prefix /opt/hedgerow --uninstall --purge
    find /opt /usr/local /etc/systemd /etc/hedgerow ! -type d 2> /dev/null | sort > /check/after
    cmp /check/before /check/after || fail "install.sh left or took something: $(diff /check/before /check/after)"
    [ ! -e /opt/hedgerow ] || fail "folders are left: $(find /opt/hedgerow)"
    echo changed >> "$folder/share/doc/hedgerow/packages.md"
    ! "$folder/install.sh" --prefix /opt/hedgerow || fail 'a changed file was installed'
    [ ! -e /opt/hedgerow ] || fail 'something of a changed archive was installed'
}

property() { systemctl show --value --property "$1" hedgerow; }
is_active() { systemctl is-active --quiet hedgerow; }
alive_again() { [ "$(property WatchdogTimestampMonotonic)" -gt "$1" ]; }
restarted() { [ "$(property NRestarts)" -gt "$1" ] && is_active; }

with_systemd() {
    step "install: neither enabled nor started"
    install_package
    look_at_what_is_installed
    ! is_active || fail 'it was started by the installation'
    ! systemctl is-enabled --quiet hedgerow || fail 'it was enabled by the installation'
    systemd-analyze verify --man=no hedgerow.service

    step "configure and start: returns when READY=1 has come"
    sed -i 's,^#name = .*,name = "/srv/model.gguf",' /etc/hedgerow/hedgerow.toml
    systemctl enable hedgerow
    systemctl start hedgerow || { journalctl --no-pager -u hedgerow; fail 'it did not start'; }
    journalctl --no-pager -o cat -u hedgerow
    [ "$(property SubState)" = running ] || fail "it is $(property SubState)"
    property StatusText | grep -q '^serving http://127.0.0.1:8473' || fail "its status is $(property StatusText)"
    main=$(property MainPID)
    [ "$(ps -o user= -p "$main")" = hedgerow ] || fail 'it runs as another user'
    grep -q '^NoNewPrivs:.1$' "/proc/$main/status" || fail 'it could get privileges'
    grep -q '^CapBnd:.0000000000000000$' "/proc/$main/status" || fail 'it could have capabilities'
    grep -q '^Seccomp:.2$' "/proc/$main/status" || fail 'its system calls are not filtered'
    echo "scheduling of its threads: $(ps -L -o comm=,cls= -p "$main" | sort | uniq -c | tr -s ' \n' ' ')"

    step "use"
    hedgerow health
    ask
    ! journalctl --no-pager -o cat -u hedgerow | grep 'Name three birds' || fail 'the log has the text of a request'
    [ -n "$(find /var/cache/hedgerow/profiles -name '*.json')" ] || fail 'the profile was not saved'

    step "the watchdog: WATCHDOG=1 comes again and again"
    wait_for 120 alive_again "$(property WatchdogTimestampMonotonic)"

    step "upgrade: the running service is restarted with the new version"
    install_package
    is_active || fail 'the upgrade stopped it'
    [ "$(property MainPID)" != "$main" ] || fail 'the old version still runs'
    systemctl is-enabled --quiet hedgerow || fail 'the upgrade disabled it'
    grep -q '^name = "/srv/model.gguf"' /etc/hedgerow/hedgerow.toml || fail 'the upgrade changed the settings'
    ask

    step "a stuck process is killed and started again by the watchdog"
    mkdir -p /run/systemd/system/hedgerow.service.d
    printf '[Service]\nWatchdogSec=6\n' > /run/systemd/system/hedgerow.service.d/watchdog.conf
    systemctl daemon-reload
    systemctl restart hedgerow
    before=$(property NRestarts)
    kill -STOP "$(property MainPID)"
    wait_for 300 restarted "$before"
    journalctl --no-pager -o cat -u hedgerow | grep 'Watchdog timeout' || fail 'it was not the watchdog'
    ask

    step "stop: STOPPING=1, and a clean end"
    systemctl stop hedgerow
    [ "$(property Result)" = success ] || fail "its result is $(property Result)"
    journalctl --no-pager -o cat -u hedgerow | tail -n 5

    step "remove: settings, cache and state stay"
    systemctl start hedgerow
    dpkg --remove hedgerow
    ! is_active || fail 'it still runs'
    for path in /usr/bin/hedgerow /usr/lib/hedgerow; do
        [ ! -e "$path" ] || fail "$path is left"
    done
    for path in /etc/hedgerow/hedgerow.toml /var/cache/hedgerow/profiles; do
        [ -e "$path" ] || fail "$path was removed"
    done

    step "purge: they go too"
    dpkg --purge hedgerow
    for folder in /etc/hedgerow /var/lib/hedgerow /var/cache/hedgerow; do
        [ ! -e "$folder" ] || fail "$folder is left"
    done
    [ -z "$(find /etc/systemd -name '*hedgerow*')" ] || fail "left: $(find /etc/systemd -name '*hedgerow*')"
    systemctl --failed --no-pager --no-legend
}

touch /check/started
case "$1" in
    by-hand) by_hand ;;
    with-systemd) with_systemd ;;
esac
touch "/check/passed-$1"
printf '\n-- passed: %s\n' "$1"
