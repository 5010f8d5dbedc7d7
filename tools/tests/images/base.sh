#!/usr/bin/env bash
# A stand-in for the public slim Python image, for machines that reach a Debian mirror and no image registry:
# Debian and its own Python, from the mirror that this machine installs from, under the paths of the public one.
#     base.sh TAG
set -euo pipefail
tag=$1
for program in debootstrap docker; do
    command -v "$program" > /dev/null || { echo "$program is not installed" >&2; exit 1; }
done
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' | grep -v security | head -n 1)
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
python=python3.13

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include="ca-certificates,netbase,$python,python3-pip" "$suite" "$work" "$mirror" > "$work.log" 2>&1 ||
    { tail -n 20 "$work.log" >&2; exit 1; }
rm -f "$work.log"
for name in python python3 "$python"; do
    ln -s "/usr/bin/$python" "$work/usr/local/bin/$name"
done
ln -s /usr/bin/pip3 "$work/usr/local/bin/pip"
# What the slim images leave out as well.
find "$work"/usr/share/{doc,info,locale,man} "$work"/var/{cache/apt,lib/apt/lists,log} -type f -delete
find "$work/usr" -name __pycache__ -prune -exec rm -r {} +
tar --create --numeric-owner --directory "$work" . | docker import \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' --change 'CMD ["python3"]' - "$tag"
