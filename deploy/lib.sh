# What deploy/lab, deploy/quickstart and deploy/test share: messages, packages, processes, ports.
# Sourced by them, never run. Everything here can be repeated; nothing here touches the host's own services.
# shellcheck shell=bash

DEPLOY=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$DEPLOY")
# shellcheck disable=SC2034  # for the scripts that source this
CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hiendien
# Servers live in sbin, which a person's PATH need not have.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# ---- messages -------------------------------------------------------------------------------------------

say() { printf '%s\n' "$*" >&2; }
step() { printf '\n== %s\n' "$*" >&2; }

# die MESSAGE [HINT...]: says what is wrong, then what to do, and ends.
die() {
  printf '\nerror: %s\n' "$1" >&2
  shift
  local hint
  for hint in "$@"; do printf '  hint: %s\n' "$hint" >&2; done
  exit 1
}

# as_root COMMAND...: runs it as root, by sudo where we are somebody else.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -- "$@"; fi
}

# Ends unless we are root or may become it.
need_root() {
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null ||
    die "this needs root: it starts servers on the ports 25, 53, 80 and 443 of loopback addresses" \
      "run it as root, or install sudo and give $(id -un) the right to use it"
  sudo -n true 2>/dev/null || { say "root is needed to start servers on low ports; sudo asks for your password"; }
  sudo -v || die "sudo did not let $(id -un) become root" "run this script as root"
}

# ---- waiting --------------------------------------------------------------------------------------------

# wait_until SECONDS COMMAND...: repeats the command until it succeeds; fails when the time is over.
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# ---- ports ----------------------------------------------------------------------------------------------

# port_owner PROTOCOL ADDRESS PORT: prints who holds it, `name (pid N)`; nothing when it is free.
# A server on the unspecified address holds the port of every address.
port_owner() {
  command -v ss >/dev/null || return 0
  local flag=-t
  [ "$1" = udp ] && flag=-u
  as_root ss -Hlnp "$flag" "sport = :$3" 2>/dev/null | awk -v want="$2:$3" -v any="0.0.0.0:$3" -v any6="[::]:$3" -v star="*:$3" '
    $4 == want || $4 == any || $4 == any6 || $4 == star {
      who = "a process of another container or user"
      if (match($0, /\(\("[^"]*",pid=[0-9]+/)) {
        who = substr($0, RSTART + 3, RLENGTH - 3); sub(/",pid=/, " (pid ", who); who = who ")"
      }
      print who " on " $4; exit
    }'
}

# need_port PROTOCOL ADDRESS PORT WHAT: ends with the holder's name when the port is taken.
need_port() {
  local owner
  owner=$(port_owner "$1" "$2" "$3")
  [ -z "$owner" ] ||
    die "the $4 needs port $3 ($1) on $2, but it is taken by $owner" \
      "stop that process, or choose another network: NET=127.90.0 $0" \
      "a server of an earlier run that was killed: deploy/quickstart --down"
}

# ---- processes ------------------------------------------------------------------------------------------
# A server of a stack carries HIENDIEN_STACK=<state directory> in its environment. That mark finds it when its pid
# file is lost, and tells it apart from any other process. A program that writes its title over its environment, as
# nginx does, loses the mark: start it from a shell that stays.

# stack_pids STATE: the processes that carry the mark of that stack.
stack_pids() {
  as_root grep -lszxF "HIENDIEN_STACK=$1" /proc/[0-9]*/environ 2>/dev/null | awk -F/ '{ print $3 }'
}

# server_pid STATE NAME: the pid of a running server of the stack; fails when it does not run.
server_pid() {
  local pid _
  pid=$(cat "$1/run/$2.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
  # While a process is replaced by exec, its environment reads as empty: one look is not enough to say it is gone.
  for _ in 1 2 3; do
    as_root grep -qszxF "HIENDIEN_STACK=$1" "/proc/$pid/environ" && printf '%s\n' "$pid" && return
    running "$pid" || return 1
    sleep 0.05
  done
  return 1
}

# start_server STATE NAME COMMAND...: starts it in a session of its own, output to log/NAME.log, pid to run/NAME.pid.
# Needs root where the command does. Inherits no descriptor of ours, so that no lock outlives us, and works in STATE:
# what a server drops where it stands (Podman's conmon an empty `oom`) must not land in the checkout.
start_server() {
  local state=$1 name=$2
  shift 2
  mkdir -p "$state/run" "$state/log"
  # The number of an earlier one that was killed would look like a server that has ended at once.
  rm -f "$state/run/$name.pid"
  # shellcheck disable=SC2016  # expanded by the inner shell
  HIENDIEN_STACK=$state setsid --fork bash -c '
    for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-" 2>/dev/null; done
    echo $$ >"$1.new"; mv "$1.new" "$1"; exec </dev/null >>"$2" 2>&1; shift 2
    cd "$HIENDIEN_STACK" || exit 1
    exec "$@"' _ "$state/run/$name.pid" "$state/log/$name.log" "$@"
  wait_until 5 test -s "$state/run/$name.pid" || true
}

# stop_pids SECONDS PID...: asks them to end, waits, then insists.
stop_pids() {
  local limit=$1 end pid
  shift
  [ $# -gt 0 ] || return 0
  as_root kill -TERM "$@" 2>/dev/null || true
  end=$((SECONDS + limit))
  for pid in "$@"; do
    while running "$pid" && [ "$SECONDS" -lt "$end" ]; do sleep 0.05; done
    running "$pid" && as_root kill -KILL "$pid" 2>/dev/null
  done
  return 0
}

# running PID: it runs, and is not only waiting to be reaped.
running() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) }
  [ "${stat%% *}" != Z ]
}

# stop_server STATE NAME [SECONDS]
stop_server() {
  local pid
  if pid=$(server_pid "$1" "$2"); then stop_pids "${3:-10}" "$pid"; fi
  as_root rm -f "$1/run/$2.pid"
}

# last_lines FILE: the end of a log, indented, for an error message.
last_lines() { as_root tail -n "${2:-12}" "$1" 2>/dev/null | sed 's/^/    /' >&2 || true; }

# ---- packages -------------------------------------------------------------------------------------------

# has MARK: what deploy/packages looks for is there.
has() {
  case $1 in
    dockerd) command -v dockerd >/dev/null || "$DEPLOY/lab" docker find >/dev/null 2>&1 ;;
    /*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

# missing_packages SET...: prints `package<TAB>why` for what is not there yet.
missing_packages() {
  local mark package set why wanted=" $* "
  while read -r mark package set why; do
    case $mark in '' | '#'*) continue ;; esac
    case $wanted in *" $set "*) ;; *) continue ;; esac
    has "$mark" || printf '%s\t%s\n' "$package" "$why"
  done <"$DEPLOY/packages" | awk -F'\t' '!seen[$1]++'
}

# install_packages SET...: says what it will install and why, then does. Does nothing when all is there.
install_packages() {
  local missing names
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  mapfile -t names < <(cut -f1 <<<"$missing")
  local line="apt-get install --no-install-recommends ${names[*]}"
  command -v apt-get >/dev/null || {
    awk -F'\t' '{ printf "    %-16s %s\n", $1, $2 }' <<<"$missing" >&2
    die "these Debian packages are missing, and there is no apt-get here to install them" \
      "use Debian 12 or newer, or install what they bring by hand and run this again"
  }
  say "These Debian packages are missing and will be installed; their services are not started:"
  awk -F'\t' '{ printf "    %-16s %s\n", $1, $2 }' <<<"$missing" >&2
  say "    by: $line"
  need_root
  as_root env DEBIAN_FRONTEND=noninteractive bash "$DEPLOY/apt-quiet" "${names[@]}" ||
    die "apt-get could not install them; its messages are above" "try by hand: $line"
}

# ---- the Rust toolchain ---------------------------------------------------------------------------------

# find_cargo: puts cargo on the PATH where rustup has left it; fails when there is none.
find_cargo() {
  command -v cargo >/dev/null && return
  [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] || return 1
  PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
}

# install_rust: the toolchain named in rust-toolchain.toml, by rustup, where there is no cargo.
install_rust() {
  find_cargo && return
  if command -v apt-get >/dev/null && apt-cache show rustup >/dev/null 2>&1; then
    say "There is no Rust toolchain. rustup will be installed from the distribution's package \`rustup\`."
    as_root env DEBIAN_FRONTEND=noninteractive bash "$DEPLOY/apt-quiet" rustup
  else
    local installer
    say "There is no Rust toolchain. rustup will be installed for $(id -un) under ${CARGO_HOME:-$HOME/.cargo}"
    say "with its official installer from https://sh.rustup.rs (about 250 MB with the toolchain)."
    installer=$(mktemp)
    curl --proto '=https' --tlsv1.2 --silent --show-error --fail --location --max-time 120 \
      https://sh.rustup.rs --output "$installer" ||
      die "the rustup installer could not be downloaded" \
        "install Rust in your own way, https://www.rust-lang.org/tools/install, and run this again"
    sh "$installer" -y --quiet --no-modify-path --profile minimal --default-toolchain none
    rm -f "$installer"
  fi
  find_cargo || die "cargo is still not found after rustup was installed" "open a new shell and run this again"
}

# need_toolchain: the pinned toolchain answers; rustup fetches it at this first use.
need_toolchain() {
  local found
  found=$(cd "$ROOT" && cargo --version 2>&1) ||
    die "cargo does not run: $found" "run \`rustup toolchain install\` in $ROOT and look at its message"
  say "Rust: $found"
}
