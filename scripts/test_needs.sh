#!/bin/sh
# What the tests use beside Python: OpenSSH's server. As root, in a container or in CI, it is installed where it is
# missing; elsewhere this says what to install, and the tests that need it are skipped. In CI (CI=true) a missing
# need is a failure. A machine that runs services gets none from here: installing the package would start one.
set -eu

has_sshd() { command -v sshd >/dev/null 2>&1 || [ -x /usr/sbin/sshd ]; }

install_sshd() {
    policy=/usr/sbin/policy-rc.d
    made=
    if [ ! -e "$policy" ]; then # the package is wanted for its program: keep it from starting the service
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=1
    fi
    status=0
    {
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openssh-server ||
            { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openssh-server; }
    } >&2 || status=$?
    if [ -n "$made" ]; then rm -f "$policy"; fi
    return "$status"
}

if has_sshd; then exit 0; fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && { [ "${CI:-}" = true ] || [ ! -d /run/systemd/system ]; }; then
    echo "netraven: installing openssh-server for the tests" >&2
    install_sshd || true
    if has_sshd; then exit 0; fi
fi

echo "netraven: OpenSSH's server is missing (Debian, Ubuntu: apt-get install openssh-server)" >&2
if [ "${CI:-}" = true ]; then
    echo "netraven: in CI every test has to run" >&2
    exit 1
fi
echo "netraven: the tests that talk to it are skipped" >&2
