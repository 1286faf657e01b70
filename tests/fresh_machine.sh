#!/usr/bin/env bash
# Tries the README's two commands on a bare Debian: tests/fresh_machine.sh SUITE [USER ...]
#
# SUITE is bookworm or trixie. By default root tries them, then an ordinary user; each in a folder with a space in its
# name, from what is committed here. The machine has Python and nothing else (no git, ffmpeg, espeak, compiler). What
# is installed comes from the network; then the network is off, and both commands run once more.
# Needs root, debootstrap, git, unshare and ip. The bare system is kept for the next time in BASE, which is a folder
# among the temporary ones. Where your network has a certificate of its own, name it in SSL_CERT_FILE.
set -euo pipefail

suite=${1:?"SUITE is missing: tests/fresh_machine.sh bookworm"}
shift
users=("${@:-root}")
[ $# -gt 0 ] || users=(root me)
project=$(cd "$(dirname "$0")/.." && pwd)
base=${BASE:-${TMPDIR:-/tmp}/fresh-machine-$suite}

if [ ! -d "$base" ]; then
  mkdir -p "$(dirname "$base")"
  debootstrap --variant=minbase --include=python3,ca-certificates "$suite" "$base.partial"
  mv "$base.partial" "$base"
fi

machine=$(mktemp -d --tmpdir "fresh-$suite-XXXXXX")
trap 'rm -rf --one-file-system "$machine"' EXIT
cp -a "$base/." "$machine"
cp /etc/resolv.conf "$machine/etc/resolv.conf"
[ -e "$machine/etc/hosts" ] || echo '127.0.0.1 localhost' >"$machine/etc/hosts" # an installer writes it, debootstrap does not
[ -z "${SSL_CERT_FILE:-}" ] || cp "$SSL_CERT_FILE" "$machine/etc/ssl/certs/ca-certificates.crt"
for user in "${users[@]}"; do
  [ "$user" = root ] || chroot "$machine" useradd --create-home --shell /bin/bash "$user"
done

# The commands as the README shows them: its first two blocks of bash.
readme=$(git -C "$project" show HEAD:README.md)
nth_block() { awk -v n="$1" '/^```bash$/ { on = ++found == n; next } /^```$/ { on = 0 } on' <<<"$readme"; }
first=$(nth_block 1)
second=$(nth_block 2)

# Run a command in the machine, as a user, in the project's folder; its mounts go with it.
# NETWORK=off leaves it loopback alone.
inside() {
  local user=$1 command=$2 namespaces=(--mount --pid --fork --kill-child) up=:
  [ "${NETWORK:-on}" = on ] || { namespaces+=(--net); up='ip link set lo up'; }
  MACHINE=$machine FOLDER=${FOLDER:-$(folder_of "$user")} WHO=$user COMMAND=$command UP=$up \
    unshare "${namespaces[@]}" bash -euc '
      eval "$UP"
      mount -t proc proc "$MACHINE/proc"
      mount --rbind /dev "$MACHINE/dev"
      mount -t tmpfs tmpfs "$MACHINE/tmp"
      exec chroot "$MACHINE" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        PIP_CERT=/etc/ssl/certs/ca-certificates.crt HOME="$(dirname "$FOLDER")" DEBIAN_FRONTEND=noninteractive \
        setpriv --reuid="$WHO" --regid="$WHO" --init-groups bash -euo pipefail -c "cd \"$FOLDER\"; $COMMAND"
    '
}
folder_of() { if [ "$1" = root ]; then echo "/root/Thai audio"; else echo "/home/$1/Thai audio"; fi; }

for user in "${users[@]}"; do
  folder=$machine$(folder_of "$user")
  mkdir -p "$folder"
  git -C "$project" archive HEAD | tar -x -C "$folder"
  chroot "$machine" chown -R "$user:$user" "$(folder_of "$user")"
  # An ordinary user without sudo can't install it: whoever keeps the machine has.
  [ "$user" = root ] || FOLDER=/root inside root 'apt-get -q update && apt-get -q install -y python3-venv'
  echo "== $suite, $user: the first command"
  inside "$user" "$first"
  echo "== $suite, $user: what the second command installs"
  inside "$user" "${second%&&*}"
  echo "== $suite, $user: the command thai-audio, installed into an environment of its own"
  inside "$user" 'python3 -m venv ~/own && ~/own/bin/pip install -q . -c constraints.txt && mkdir ~/empty && cd ~/empty &&
    ~/own/bin/thai-audio --version && ~/own/bin/thai-audio --fresh --all --demo | tail -n 5'
  echo "== $suite, $user: both commands without a network"
  NETWORK=off inside "$user" "rm -rf data logs; $first"
  NETWORK=off inside "$user" "$second"
done
