#!/bin/sh
# What the tests use beside Python: servers that nobody here wrote (OpenSSH, dropbear, telnetd with login, FRR), git and
# systemd-analyze. As root, in a container or in CI, they are installed where they are missing; elsewhere this says what
# to install, and the tests that need them are skipped. In CI (CI=true) a missing need is a failure. A machine that runs
# services gets none from here: installing the packages would start some.
set -eu

# package and program
needs='openssh-server:sshd openssh-client:ssh-agent dropbear-bin:dropbear inetutils-telnetd:telnetd login:login
passwd:useradd frr:vtysh git:git systemd:systemd-analyze'

has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

missing() {
    for need in $needs; do
        has "${need#*:}" || printf '%s ' "${need%%:*}"
    done
}

install_packages() {
    policy=/usr/sbin/policy-rc.d
    made=
    if [ ! -e "$policy" ]; then # the packages are wanted for their programs: keep them from starting services
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=1
    fi
    status=0
    {
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" ||
            { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; }
    } >&2 || status=$?
    if [ -n "$made" ]; then rm -f "$policy"; fi
    return "$status"
}

lacking=$(missing)
if [ -z "$lacking" ]; then exit 0; fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && { [ "${CI:-}" = true ] || [ ! -d /run/systemd/system ]; }; then
    echo "netraven: installing for the tests: $lacking" >&2
    for package in $lacking; do
        install_packages "$package" || true
    done
    lacking=$(missing)
    if [ -z "$lacking" ]; then exit 0; fi
fi

echo "netraven: missing for the tests (Debian, Ubuntu: apt-get install $lacking)" >&2
if [ "${CI:-}" = true ]; then
    echo "netraven: in CI every test has to run" >&2
    exit 1
fi
echo "netraven: the tests that need them are skipped" >&2
