#!/usr/bin/env bash
# Sees to the Debian packages that tests and benchmarks use. As root it installs
# what is missing; otherwise it says what will be left out. In CI (CI is set)
# nothing may be left out.
set -euo pipefail

# program, package, what needs it
needs=(
	"curl curl the test of the banner's curl line"
	"chromium chromium the test of the login page in a browser"
	"wrk wrk the throughput section of make bench"
)

missing=()
for need in "${needs[@]}"; do
	read -r program package _ <<<"$need"
	command -v "$program" >/dev/null || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "install Debian packages: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	if apt-get -qq update && apt-get -qq -y install --no-install-recommends "${missing[@]}" >/dev/null; then
		exit 0
	fi
fi
for need in "${needs[@]}"; do
	read -r program package what <<<"$need"
	command -v "$program" >/dev/null || echo "LEFT OUT: $what, because $program is missing (Debian package $package)" >&2
done
[ -z "${CI:-}" ]
