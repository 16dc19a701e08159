#!/usr/bin/env bash
# Sees to the programs that tests start: installs them where it may, else says
# what to install.
set -euo pipefail

# Programs, and Debian's packages of them where these have other names.
missing=()
for program in redis-server chromium gcc curl npm node:nodejs dockerd:docker.io; do
	PATH=$PATH:/usr/sbin command -v "${program%:*}" >/dev/null || missing+=("${program#*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
	echo "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
	exit 0
fi

cat >&2 <<TEXT
The tests start real programs, and these are missing: ${missing[*]}
Install them and run this again. On Debian and Ubuntu:

    sudo apt-get install ${missing[*]}
TEXT
exit 1
