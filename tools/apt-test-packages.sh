#!/usr/bin/env bash
# Programs that some tests need and pip does not bring, on Debian or Ubuntu and as root: a browser and letters for Chinese
# (100 MB), or the packages that are named. Without them these tests are skipped with the reason; so this never fails.
set -u
packages=("${@:-chromium}")
[ $# -gt 0 ] || packages+=(fonts-wqy-microhei)

missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Not installed (that takes root and apt-get): ${missing[*]}. Tests that need them are skipped."
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
timeout 90 apt-get update -qq >/dev/null 2>&1
if ! timeout 240 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
    echo "apt-get could not install: ${missing[*]}. Tests that need them are skipped."
fi
exit 0
